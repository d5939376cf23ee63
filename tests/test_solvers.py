"""Solvers against answers known in closed form: a Gaussian, and a mixture of two."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from genctl.maths import noise, solvers
from genctl.maths.schedules import SCHEDULES
from genctl.maths.solvers import SOLVERS, How


def gaussian(m: float = 0.7, v: float = 0.25):
    """E[x_0 | z] of x_0 ~ N(m, v), and where the flow of the ODE takes z from s to t: (z - m) / sqrt(v + s^2) is kept."""

    def denoise(z: Tensor, s: float) -> Tensor:
        return m + v / (v + s * s) * (z - m)

    def flow(z: Tensor, s: float, t: float) -> Tensor:
        return m + (z - m) * math.sqrt((v + t * t) / (v + s * s))

    return denoise, flow


def mixture(z: Tensor, s: float) -> Tensor:
    """E[x_0 | z] of x_0 ~ half N(-1, 0.04) + half N(1, 0.04)."""
    m, v = torch.tensor([-1.0, 1.0], dtype=z.dtype), 0.04
    share = (-((z[..., None] - m) ** 2) / (2 * (v + s * s))).softmax(-1)
    return (share * (m + v / (v + s * s) * (z[..., None] - m))).sum(-1)


ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2, "unipc": 3}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_on_a_gaussian(name):
    denoise, flow = gaussian()
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    errors = []
    for n in (40, 80):
        found = SOLVERS[name](denoise, z, solvers.geometric(3.0, 0.1, n + 1), How())
        errors.append(float((found - flow(z, 3.0, 0.1)).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(ORDERS[name], abs=0.3)


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence_on_a_mixture(name):
    z = torch.linspace(-4, 4, 17, dtype=torch.float64)
    truth = SOLVERS["unipc"](mixture, z, solvers.geometric(4.0, 0.3, 4001), How())
    errors = []
    for n in (80, 160):
        found = SOLVERS[name](mixture, z, solvers.geometric(4.0, 0.3, n + 1), How())
        errors.append(float((found - truth).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(ORDERS[name], abs=0.3)


DRAWN = {
    "euler": How(),
    "ddim": How(eta=0.5),
    "ancestral": How(),
    "heun": How(churn=20),
    "dpmpp_2m": How(),
    "unipc": How(),
    "langevin": How(corrections=10, snr=0.3),
    "pc": How(corrections=1, snr=0.1),
    "renoise": How(),
}


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "renoise"])
def test_draws_of_a_gaussian_have_its_mean_and_variance(name):
    denoise, _ = gaussian()
    with noise.stream(0):
        z = 80 * noise.randn(20_000, 1)
        x = SOLVERS[name](denoise, z, [*solvers.karras(80.0, 0.01, 200), 0.0], DRAWN[name])
    assert x.mean().item() == pytest.approx(0.7, abs=0.02)

    assert x.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "renoise"])
def test_draws_of_a_mixture_fall_half_and_half(name):
    with noise.stream(0):
        x = SOLVERS[name](mixture, 80 * noise.randn(20_000, 1), [*solvers.karras(80.0, 0.01, 200), 0.0], DRAWN[name])
    right = x[x > 0]
    assert len(right) / len(x) == pytest.approx(0.5, abs=0.02)
    assert right.mean().item() == pytest.approx(1.0, abs=0.02)
    assert right.std().item() == pytest.approx(0.2, abs=0.02)


def test_renoise_of_a_perfect_guess_is_a_draw():
    """A consistency model's guess is where the ODE's flow ends, not a mean: then noise anew leaves the distribution as it is."""
    _, flow = gaussian()
    with noise.stream(0):
        x = SOLVERS["renoise"](lambda z, s: flow(z, s, 0.0), 80 * noise.randn(20_000, 1), [80.0, 1.0, 0.3, 0.0], How())
    assert x.mean().item() == pytest.approx(0.7, abs=0.02)
    assert x.std().item() == pytest.approx(0.5, abs=0.02)


def test_ancestral_sampling_over_all_steps_is_the_textbooks():
    """Ho et al. 2020, algorithm 2 with sigma^2 = beta-tilde, step by step in eps and in x_t."""
    abar = SCHEDULES["linear"](50)
    sigmas = [math.sqrt((1 - a) / a) for a in reversed(abar)]
    guess = nn.Linear(3, 3)
    with torch.no_grad():

        def denoise(z, s):
            return z - s * guess(z / math.sqrt(1 + s * s))

        with noise.stream(1):
            ours = SOLVERS["ancestral"](denoise, noise.randn(5, 3) / math.sqrt(abar[-1]), [*sigmas, 0.0], How())
        with noise.stream(1):
            x = noise.randn(5, 3)
            for t in reversed(range(50)):
                before = abar[t - 1] if t else 1.0
                alpha = abar[t] / before
                x = (x - (1 - alpha) / math.sqrt(1 - abar[t]) * guess(x)) / math.sqrt(alpha)
                if t:
                    x = x + math.sqrt((1 - before) / (1 - abar[t]) * (1 - alpha)) * noise.randn(5, 3)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


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


def test_levels_fall_between_their_ends():
    for levels in (solvers.karras(80, 0.002, 18), solvers.geometric(80, 0.002, 18)):
        assert levels[0] == pytest.approx(80)
        assert levels[-1] == pytest.approx(0.002)
        assert levels == sorted(levels, reverse=True)
    assert solvers.karras(80, 0.002, 1) == [80]
