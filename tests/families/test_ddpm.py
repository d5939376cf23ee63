"""ddpm: the battery, and its own truth: with the best possible denoiser of a Gaussian the samplers return its mean and variance."""

import itertools
import math

import pytest
import torch
from torch import nn

from genctl.contract import Batch, Progress, Spec
from genctl.families.diffusion.ddpm import DDPM
from genctl.maths import noise, solvers
from genctl.maths.schedules import SCHEDULES
from tests.battery import build, check_family, check_resume, fake

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
BINARY = Spec(shape=(3, 8, 8), levels=2, media="image")
ROW = Spec(shape=(2,))
UNET = {"channels": [8, 16], "width": 16, "steps": 20}
MLP = {"width": 16, "depth": 2, "steps": 20}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (UNET, IMAGE),
        (MLP, ROW),
        ({**UNET, "patch": 2, "predict": "eps", "schedule": "linear"}, BINARY),
        ({**UNET, "conditional": True}, IMAGE),
    ],
)
def test_battery(model, spec):
    check_family(DDPM, model, spec, steps=16)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DDPM, {**UNET, "dropout": 0.1, "conditional": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 1000), ("ddim", 1000), ("ddim", 100), ("dpm", 50)])
def test_samplers_on_a_gaussian_return_its_mean_and_variance(schedule, sampler, steps):
    """x_0 ~ N(m, s^2): the best guess of x_0 is m + sqrt(abar) s^2 (x_t - sqrt(abar) m) / (abar s^2 + 1 - abar)."""
    m, s, abar = 0.7, 0.5, SCHEDULES[schedule](1000)

    def best(x, t):
        a = abar[t]
        x0 = m + a**0.5 * s**2 * (x - a**0.5 * m) / (a * s**2 + 1 - a)
        return x0, (x - a**0.5 * x0) / (1 - a) ** 0.5

    with noise.stream(0):
        x = solvers.SAMPLERS[sampler](best, noise.randn(20_000), abar, solvers.spaced(1000, steps))
    assert x.mean().item() == pytest.approx(m, abs=0.015)
    assert x.std().item() == pytest.approx(s, abs=0.02)


def test_ancestral_sampling_over_all_steps_is_the_textbooks():
    """Ho et al. 2020, algorithm 2 with sigma^2 = beta-tilde, step by step in eps."""
    abar = SCHEDULES["linear"](50)
    guess = nn.Linear(3, 3)
    with torch.no_grad():

        def both(x, t):
            eps = guess(x)
            return (x - (1 - abar[t]) ** 0.5 * eps) / abar[t] ** 0.5, eps

        with noise.stream(1):
            ours = solvers.ddpm(both, noise.randn(5, 3), abar, solvers.spaced(50, 50))
        with noise.stream(1):
            x = noise.randn(5, 3)
            for t in reversed(range(50)):
                before = abar[t - 1] if t else 1.0
                alpha = abar[t] / before
                x = (x - (1 - alpha) / math.sqrt(1 - abar[t]) * guess(x)) / math.sqrt(alpha)
                if t:
                    x = x + math.sqrt((1 - before) / (1 - abar[t]) * (1 - alpha)) * noise.randn(5, 3)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_forward_process_has_the_moments_of_the_paper():
    model = build(DDPM, {**MLP, "steps": 1000, "schedule": "linear"}, ROW)
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    x = torch.full((40_000, 2), 0.8)
    for t in (0, 300, 999):
        a = float((1 - beta)[: t + 1].prod())
        with noise.stream(t):
            x_t = model.noised(x, torch.full((len(x),), t), noise.randn(*x.shape))
        assert x_t.mean().item() == pytest.approx(0.8 * math.sqrt(a), abs=0.02)
        assert x_t.var().item() == pytest.approx(1 - a, rel=0.03)


@pytest.mark.parametrize("predict", ["eps", "v"])
def test_a_network_that_knows_the_answer_has_no_loss_and_gives_x_back(predict):
    model = build(DDPM, {**MLP, "predict": predict}, ROW).eval()
    x, known = fake(ROW, 8).x, {}

    def answer(x_t, t, label):
        a = model.at(t, 2)
        eps = (x_t - a.sqrt() * x) / (1 - a).sqrt()
        return eps if predict == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x

    model.guess = answer
    with torch.no_grad(), noise.stream(0):
        assert model.loss(Batch(x=x, given=known), Progress()).total < 1e-6
        torch.testing.assert_close(model.sample(8, DDPM.Draw(steps=5)), x, atol=1e-4, rtol=1e-4)


def test_guidance_of_zero_is_the_conditional_model_and_the_label_matters():
    model = build(DDPM, {**UNET, "conditional": True}, IMAGE).eval()
    for p in model.net.parameters():  # some begin at zero, and hide the label
        nn.init.normal_(p, std=0.3)
    given = [{"label": torch.full((4,), k)} for k in range(2)]

    def drawn(label, guidance):
        with torch.no_grad(), noise.stream(0):
            return model.sample(4, DDPM.Draw(steps=5, guidance=guidance), given[label])

    assert not torch.equal(drawn(0, 0), drawn(1, 0))
    assert not torch.equal(drawn(0, 0), drawn(0, 2.0))
    torch.testing.assert_close(drawn(0, 1e-9), drawn(0, 0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("total", "steps"), [(1000, 1000), (1000, 50), (1000, 1), (20, 50)])
def test_walks_are_evenly_spaced_and_fall(total, steps):
    walk = solvers.spaced(total, steps)
    assert len(walk) == min(total, steps)
    assert walk == sorted(set(walk), reverse=True)
    assert walk[0] == total - 1 or steps == 1
    if steps > 1:
        gaps = [a - b for a, b in itertools.pairwise(walk)]
        assert walk[-1] == 0
        assert max(gaps) - min(gaps) <= 1
