"""realnvp: the battery, and its own truths: it inverts, its log-determinant is autograd's, its density integrates to one, moons are learned."""

import math

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.data import toy2d
from genctl.families.flow.realnvp import RealNVP
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, fake
from tests.families.flows import GREY, PLANE, ROW, SIZES, bent, check_inverse, check_mass, label

BITS = Spec(shape=(1, 2, 3), levels=2, media="image")
SMALL = {"couplings": 3, "hidden": [16]}


@pytest.mark.parametrize("spec", [ROW, GREY, BITS], ids=lambda s: f"{s.kind} of {s.levels} levels")
def test_battery(spec):
    check_family(RealNVP, SMALL, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(RealNVP, SMALL, GREY, tmp_path, cut=cut, steps=8, batch=8)


@SIZES
@pytest.mark.parametrize("couplings", [1, 2, 5])
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(couplings, size):
    check_inverse(bent(RealNVP, {**SMALL, "couplings": couplings}, Spec(shape=(size,))), size)


def test_it_inverts_given_a_label():
    net = bent(RealNVP, {**SMALL, "conditional": True}, label(ROW))
    check_inverse(net, 3, net.context({"label": torch.tensor([0, 1, 2, 0])}))


def test_the_density_integrates_to_one():
    check_mass(bent(RealNVP, {**SMALL, "couplings": 4}, PLANE, strength=0.1))


def test_the_density_of_pictures_integrates_to_one_over_the_unit_cube():
    """The logit squeezes pixels, so a little mass lies outside [0, 1]: none for a flow that keeps to the middle."""
    net = bent(RealNVP, {**SMALL, "couplings": 1}, Spec(shape=(1, 1, 2), levels=17), strength=0.05)
    net.shift.zero_()
    net.scale.fill_(0.4)
    axis = (torch.arange(800) + 0.5) / 800
    mass = float(net.log_density(torch.cartesian_prod(axis, axis)).double().exp().sum()) / 800**2
    assert abs(mass - 1) < 5e-3


def test_pictures_survive_the_latent_space():
    net = bent(RealNVP, SMALL, GREY)
    x = fake(GREY, 5).x
    torch.testing.assert_close(net.decode(net.encode(Batch(x=x))), x)


def test_binary_pictures_have_a_bound_on_their_probability():
    """Over all 2^6 pictures the expected bound sums to at most one."""
    net = bent(RealNVP, SMALL, BITS)
    assert net.log_prob_is == "bound"
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).view(-1, *BITS.shape)
    with noise.stream(0):
        bound = torch.stack([net.log_prob(Batch(x=x)) for _ in range(20)]).mean(0)
    assert float(bound.exp().sum()) <= 1.02


def test_two_moons_are_learned():
    """KL from the truth by exact log-likelihoods; the recipe's long run is in docs/results.md."""
    truth = toy2d.truth("two-moons")
    x = truth.draw(20_000, 0)
    net = build(RealNVP, {"couplings": 6, "hidden": [32, 32]}, Spec(shape=(2,)))
    settings = Train(steps=300, batch=256, lr=5e-3, decay="cosine")
    loop.fit(net.train(), lambda i: Batch(x=x[(i % 78) * 256 : (i % 78) * 256 + 256]), loop.Setting(settings), lambda *a: False)
    y = truth.draw(10_000, 1)
    with torch.no_grad():
        kl = float((truth.log_prob(y) - net.eval().log_prob(Batch(x=y))).mean())
    assert -0.02 < kl < 0.25
    assert math.isfinite(kl)


def test_equalised_pixels_are_normal_and_come_back():
    """A picture of two greys, seven in ten of them black: through their distribution function, all together are N(0, 1)."""
    spec = Spec(shape=(1, 4, 4), levels=8, media="image")
    flow = RealNVP(RealNVP.Config(couplings=1, hidden=[4], squash="equal", margin=1e-6), spec).double()
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(4000, 1, 4, 4, generator=g) > 0.7).double() * 5 / 7
    with noise.stream(0), torch.no_grad():
        flow.standardise(Batch(x=x), Progress())
        u = flow.numbers(Batch(x=x))
        y, _ = flow.line(u)
        assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02 and abs((y < -1).double().mean() - 0.1587) < 0.01
        torch.testing.assert_close(flow.off_line(y), x.flatten(1))
        codes = flow.encode(Batch(x=x))
        torch.testing.assert_close(flow.decode(codes), x)
    by_hand = torch.stack([torch.autograd.functional.jacobian(lambda v: flow.line(v[None])[0][0], v).slogdet()[1] for v in u[:5]])
    torch.testing.assert_close(flow.line(u[:5])[1], by_hand)
