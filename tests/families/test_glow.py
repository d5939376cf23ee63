"""glow: the battery, and its own truths: every shape inverts, 1x1 convolutions know their determinant, ActNorm starts where data is."""

import pytest
import torch

from genctl.contract import Progress, Spec
from genctl.errors import GenctlError
from genctl.families.flow.glow import Glow, Mixing, fold, unfold
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake
from tests.families.flows import GREY, bent, check_inverse, label

SMALL = {"levels": 2, "steps": 2, "hidden": 8}
COLOUR = Spec(shape=(3, 4, 2), levels=256, media="image")


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=lambda s: f"{s.shape[0]} channels")
def test_battery(spec):
    check_family(Glow, SMALL, spec)


def test_battery_given_a_label():
    check_family(Glow, {**SMALL, "conditional": True}, label(GREY))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Glow, SMALL, GREY, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 2, 6), (3, 2, 3), (2, 3, 3), (1, 12, 1)], ids=str)
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(shape, levels):
    spec = Spec(shape=shape, levels=17, media="image")
    check_inverse(bent(Glow, {**SMALL, "levels": levels}, spec, strength=0.2), spec.size)


def test_it_inverts_given_a_label():
    net = bent(Glow, {**SMALL, "conditional": True}, label(GREY))
    check_inverse(net, 16, net.context({"label": torch.tensor([0, 1, 2, 0])}))


def test_levels_end_where_no_side_is_even():
    assert build(Glow, {**SMALL, "levels": 3}, Spec(shape=(1, 28, 28), levels=256, media="image")).top == (8, 7, 7)
    with pytest.raises(GenctlError, match="no even side"):
        build(Glow, SMALL, Spec(shape=(1, 5, 7), levels=2, media="image"))


def test_folding_makes_blocks_of_pixels_channels():
    x = torch.arange(24.0).view(1, 1, 4, 6)
    assert torch.equal(fold(x, 2, 2)[0, :, 0, 0], torch.tensor([0.0, 1.0, 6.0, 7.0]))
    assert all(torch.equal(unfold(fold(x, *sides), *sides), x) for sides in [(1, 1), (2, 1), (1, 2), (2, 2)])


def test_a_1x1_convolution_begins_as_a_rotation_and_knows_its_determinant():
    torch.manual_seed(0)
    mixing = Mixing(6).double()
    with torch.no_grad():
        x = torch.randn(2, 6, 3, 5).double()
        y, log_det = mixing(x)
        torch.testing.assert_close(y.square().sum(1), x.square().sum(1), atol=1e-5, rtol=1e-5)
        assert abs(float(log_det)) < 1e-5
        for p in mixing.parameters():
            p.add_(0.3 * torch.randn_like(p))
        eye = torch.eye(6).double()[:, :, None, None]
        matrix = (mixing(eye)[0] - mixing(0 * eye)[0])[:, :, 0, 0]
        torch.testing.assert_close(mixing(x)[1], 15 * torch.linalg.slogdet(matrix)[1])
        torch.testing.assert_close(mixing.inverse(mixing(x)[0]), x)


def test_act_norm_starts_where_the_first_batch_is_and_only_then():
    net, batch = build(Glow, {**SMALL, "steps": 3}, GREY), fake(GREY, 64)
    mixings = [m for m in net.modules() if isinstance(m, Mixing)]
    with torch.no_grad(), noise.stream(0):
        net.standardise(batch, Progress(1, 9))
        assert not net.ready and all(bool((m.s == 0).all()) for m in mixings)
        y = 3 + 2 * torch.randn(64, 16)
        net.settle(y, None)
        found = []
        for m in mixings:
            m.register_forward_pre_hook(lambda m, args: found.append(args[0] * m.s.exp()[:, None, None] + m.b[:, None, None]))
        net.to_noise(y, None)
        assert len(found) == 6
        for h in found:
            torch.testing.assert_close(h.mean((0, 2, 3)), torch.zeros(h.shape[1]), atol=1e-4, rtol=0)
            torch.testing.assert_close(h.var((0, 2, 3), correction=0), torch.ones(h.shape[1]), atol=1e-3, rtol=0)
        net.standardise(batch, Progress(0, 9))
        first = [m.s.clone() for m in mixings]
        net.standardise(fake(GREY, 64, seed=3), Progress(0, 9))  # once it is ready, as with weights that came along, it stays
        assert net.ready and all(torch.equal(a, m.s) for a, m in zip(first, mixings))
