"""What all diffusion models share, against a Gaussian whose best denoiser is known: any solver, likelihoods, inversion, editing."""

import math

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.families.diffusion.ddpm import DDPM
from genctl.families.diffusion.edm import EDM
from genctl.families.diffusion.flowmatching import FlowMatching
from genctl.families.diffusion.scorematching import ScoreMatching
from genctl.maths import noise, solvers
from tests.battery import build, fake

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
UNET = {"channels": [8, 16], "width": 16}
MLP = {"width": 16, "depth": 2}
LIKELY = [DDPM, EDM, FlowMatching, ScoreMatching]


M, V = torch.tensor([0.7, -0.3]), torch.tensor([0.25, 1.5])


def known(cls, spec=ROW, m=M, v=V, **model):
    """A model whose network is the best one of N(m, diag v): skip z + out F = m + v / (v + s^2) (z - m)."""
    net = build(cls, {**MLP, **model}, spec).eval()
    net.guess = lambda z, s, told: m + v / (v + s.view(-1, *[1] * (z.ndim - 1)) ** 2) * (z - m)
    return net


@pytest.mark.parametrize("cls", LIKELY)
@pytest.mark.parametrize("solver", solvers.SOLVERS)
@pytest.mark.parametrize("spacing", ["own", "karras"])
def test_any_solver_draws_from_any_family(cls, solver, spacing):
    if solver == "renoise":
        pytest.skip("is for consistency models")
    if solver in ("langevin", "pc") and spacing != "own":
        pytest.skip("walks need as many moves at each size of noise")
    model = known(cls)
    how = {"corrections": 5, "snr": 0.3} if solver == "langevin" else {}
    with torch.no_grad(), noise.stream(0):
        x = model.sample(8000, cls.Draw(solver=solver, steps=2000 if how else 300, spacing=spacing, **how))
    torch.testing.assert_close(x.mean(0), M, atol=0.05, rtol=0)
    torch.testing.assert_close(x.std(0), V.sqrt(), atol=0.05, rtol=0)


def density(x):
    return (-0.5 * (x - M).square() / V - 0.5 * torch.log(2 * math.pi * V)).sum(1)


@pytest.mark.parametrize("cls", LIKELY)
def test_the_flow_s_density_is_the_gaussian_s(cls):
    model = known(cls, likelihood="ode", likelihood_steps=200)
    assert model.log_prob_is == "exact"
    x = M + V.sqrt() * torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    with noise.stream(0):
        torch.testing.assert_close(model.log_prob(Batch(x=x)), density(x), atol=0.05, rtol=0)


@pytest.mark.parametrize("cls", LIKELY)
def test_the_bound_of_the_best_denoiser_is_what_it_must_be(cls):
    """The guess is off by v s^2 / (v + s^2) on average: every term of the bound is known. Its excess is what steps of that length cost."""
    model = known(cls, likelihood_steps=300)
    x = M + V.sqrt() * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), noise.stream(0):
        nats = -model.log_prob(Batch(x=x))
    s = torch.tensor(model.bound_levels(), dtype=torch.float64)[:, None]
    off = V * s**2 / (V + s**2)
    path = (0.5 * (1 / s[1:] ** 2 - 1 / s[:-1] ** 2) * off[:-1]).sum()
    share = s[0] ** 2 / (1 + s[0] ** 2)
    prior = 0.5 * (share - 1 - share.log() + (V + M**2) / (1 + s[0] ** 2)).sum()
    rest = 0.5 * (off[-1] / s[-1] ** 2 + math.log(2 * math.pi) + 2 * s[-1].log()).sum()
    entropy = float(0.5 * torch.log(2 * math.pi * math.e * V).sum())
    error = float(nats.std()) / len(x) ** 0.5
    assert nats.mean().item() == pytest.approx(float(path + prior + rest), abs=4 * error)
    assert entropy - 4 * error < nats.mean().item() < entropy + (0.9 if cls is DDPM else 0.06) + 4 * error


def test_the_bound_of_one_grey_is_its_probability():
    """Every picture is one of two levels of 4, half and half: log 2 nats a pixel, given the best denoiser of two points."""
    spec = Spec(shape=(1, 1, 1), levels=4, media="image")
    model = build(EDM, {**UNET, "likelihood_steps": 1000}, spec).eval()
    y = torch.tensor([-1.0, 1 / 3])

    def guess(z, s, told):
        share = (-((z - y) ** 2) / (2 * s.view(-1, 1, 1, 1) ** 2)).softmax(-1)
        return (share * y).sum(-1, keepdim=True)

    model.guess = guess
    x = torch.tensor([0.0, 2 / 3]).repeat(500).view(-1, 1, 1, 1)
    with torch.no_grad(), noise.stream(0):
        nats = -model.log_prob(Batch(x=x))
    assert nats.mean().item() == pytest.approx(math.log(2), abs=0.02 + 3 * float(nats.std()) / len(x) ** 0.5)


def test_probes_estimate_the_density_of_what_is_large():
    spec = Spec(shape=(1, 3, 4))
    model = known(EDM, spec, torch.tensor(0.2), torch.tensor(0.5), likelihood="ode", likelihood_steps=200, **UNET)
    x = 0.2 + 0.5**0.5 * torch.randn(16, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    truth = (-0.5 * (x - 0.2).square() / 0.5 - 0.5 * math.log(2 * math.pi * 0.5)).flatten(1).sum(1)
    with noise.stream(0):
        torch.testing.assert_close(model.log_prob(Batch(x=x)), truth, atol=0.1, rtol=0)


@pytest.mark.parametrize("cls", LIKELY)
@pytest.mark.parametrize("spec", [ROW, IMAGE], ids=["row", "image"])
def test_x_is_reached_again_from_its_code(cls, spec):
    model = build(cls, UNET if spec is IMAGE else MLP, spec)
    for p in model.net.parameters():
        torch.nn.init.normal_(p, std=0.05)
    x = fake(spec, 8).x
    with torch.no_grad(), noise.stream(0):
        torch.testing.assert_close(model.eval().decode(model.encode(Batch(x=x))), x, atol=2e-3, rtol=0)


@pytest.mark.parametrize("cls", LIKELY)
def test_codes_of_a_gaussian_are_standard_normal(cls):
    model = known(cls, path_steps=500)
    x = M + V.sqrt() * torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        code = model.encode(Batch(x=x))
    torch.testing.assert_close(code.mean(0), torch.zeros(2), atol=0.05, rtol=0)
    torch.testing.assert_close(code.std(0), torch.ones(2), atol=0.05, rtol=0)


@pytest.mark.parametrize("cls", [DDPM, EDM, FlowMatching])
@pytest.mark.parametrize("again", [1, 5])
def test_what_is_missing_follows_what_is_known(cls, again):
    """Two numbers of correlation r: the second given the first has mean r x and variance 1 - r^2. Replacement alone is only near it."""
    r = 0.8
    cov = torch.tensor([[1.0, r], [r, 1.0]])
    model = build(cls, MLP, ROW).eval()

    def guess(z, s, told):
        return z @ torch.linalg.solve(cov + float(s[0]) ** 2 * torch.eye(2), cov)

    model.guess = guess
    x = torch.tensor([[1.5, 0.0]]).expand(4000, 2)
    mask = torch.tensor([[True, False]]).expand(4000, 2)
    with torch.no_grad(), noise.stream(0):
        found = model.impute(Batch(x=x, mask=mask), cls.Draw(steps=100, resample=again))
    assert torch.equal(found[:, 0], x[:, 0])
    assert found[:, 1].mean().item() == pytest.approx(r * 1.5, abs=0.15 if again > 1 else 0.5)
    assert found[:, 1].std().item() == pytest.approx(0.6, abs=0.08 if again > 1 else 0.3)


@pytest.mark.parametrize("cls", [DDPM, EDM, FlowMatching])
def test_a_revision_stays_near_as_its_strength_is_small(cls):
    model, x = known(cls), M + V.sqrt() * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    far = []
    for strength in (0.1, 0.5, 1.0):
        with torch.no_grad(), noise.stream(0):
            y = model.revise(Batch(x=x), strength, cls.Draw(steps=50))
        far.append(float((y - x).square().mean()))
        torch.testing.assert_close(y.mean(0), M, atol=0.1, rtol=0)
    assert far[0] < far[1] < far[2]
    assert far[2] == pytest.approx(2 * float(V.mean()), rel=0.1)  # nothing of x is left


def test_data_of_any_scale_is_standardised_once():
    model = build(EDM, MLP, ROW)
    x = torch.tensor([100.0, -3.0]) + torch.tensor([10.0, 0.01]) * torch.randn(512, 2)
    model.standardise(Batch(x=x), Progress(0, 10))
    y = model.to_line(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(model.off_line(y), x, atol=1e-3, rtol=1e-4)
    model.standardise(Batch(x=2 * x), Progress(0, 10))
    torch.testing.assert_close(model.to_line(x), y)


@pytest.mark.parametrize("spec", [Spec(shape=(2, 9)), Spec(shape=(3, 4, 5)), Spec(shape=(3, 2, 4, 4))])
def test_each_channel_has_a_scale_of_its_own(spec):
    model = build(EDM, UNET, spec)
    axis = len(spec.shape) - min(3, len(spec.shape)) + 1 if len(spec.shape) > 2 else 1
    size = spec.shape[axis - 1]
    x = torch.randn(400, *spec.shape).movedim(axis, -1) * torch.arange(1.0, size + 1)
    model.standardise(Batch(x=x.movedim(-1, axis)), Progress(0, 1))
    torch.testing.assert_close(model.scale.flatten(), torch.arange(1.0, size + 1), rtol=0.06, atol=0)
