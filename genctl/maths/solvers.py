"""Ways from noise back to data, for whatever a diffusion model was trained with.

Every Gaussian path x_t = alpha_t x_0 + sigma_t eps is, divided by alpha_t, the one path z = x_0 + s eps, s = sigma_t / alpha_t the
noise-to-signal ratio (Karras et al. 2022, https://arxiv.org/abs/2206.00364, section 2). A network that guesses eps, v, x_0 or a velocity
is a guess of x_0 at z, so one set of solvers serves them all. They are of one signature, solver(denoise, z, sigmas, how) -> z at the
last of sigmas:

denoise   (z, s) -> the guess of x_0, E[x_0 | z]
sigmas    falling plain numbers, the first that of z; the last may be 0, where z is x_0
how       what only some of them look at

They follow dz/ds = (z - denoise(z, s)) / s, or with lam = -log s the same as z / s = z_0 / s_0 + integral of e^lam denoise d lam.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genctl.maths import noise

Denoise = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class How:
    """eta: ddim, the share of a step's noise that is drawn anew. churn: heun, noise added before each step (S_churn). corrections, snr:
    langevin and pc, moves at each level, and how long they are."""

    eta: float = 0.0
    churn: float = 0.0
    corrections: int = 1
    snr: float = 0.16


Solver = Callable[[Denoise, Tensor, Sequence[float], How], Tensor]
PLAIN = How()


def _randn(z: Tensor) -> Tensor:
    return noise.randn(*z.shape, device=z.device).to(z.dtype)


def step(z: Tensor, x0: Tensor, s: float, t: float, eta: float = 0.0) -> Tensor:
    """From level s to t given x_0: deterministic for eta 0; for eta 1 a draw of q(z_t | z_s, x_0) (Song et al. 2021, eq. 16)."""
    up = eta * t * math.sqrt(1 - (t / s) ** 2)
    z = x0 + math.sqrt(max(t * t - up * up, 0.0)) / s * (z - x0)
    return z + up * _randn(z) if up else z


def ddim(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Song, Meng and Ermon 2021, https://arxiv.org/abs/2010.02502. Order 1; with eta 0 it is Euler's method in s."""
    for s, t in itertools.pairwise(sigmas):
        z = step(z, denoise(z, s), s, t, how.eta)
    return z


def euler(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Order 1. On the straight path of flow matching it is Euler's method in the time of the flow as well."""
    return ddim(denoise, z, sigmas)


def ancestral(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Ho et al. 2020, https://arxiv.org/abs/2006.11239, algorithm 2, with the variance of the true posterior."""
    return ddim(denoise, z, sigmas, How(eta=1.0))


def renoise(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """A guess of x_0, and noise anew: for consistency models (Song et al. 2023, https://arxiv.org/abs/2303.01469, algorithm 1)."""
    for s, t in itertools.pairwise(sigmas):
        z = denoise(z, s)
        z = z + t * _randn(z) if t else z
    return z


def heun(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Karras et al. 2022, algorithm 2. Order 2, two calls a step; churn above 0 makes it a stochastic one."""
    for s, t in itertools.pairwise(sigmas):
        if how.churn:
            back = s * (1 + min(how.churn / (len(sigmas) - 1), math.sqrt(2) - 1))
            z, s = z + math.sqrt(back**2 - s**2) * _randn(z), back
        slope = (z - denoise(z, s)) / s
        ahead = z + (t - s) * slope
        if t:
            slope = (slope + (ahead - denoise(ahead, t)) / t) / 2
        z = z + (t - s) * slope
    return z


def dpmpp_2m(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """DPM-Solver++(2M), Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2. Order 2, one call a step."""
    old: Tensor | None = None
    past = 0.0
    for s, t in itertools.pairwise(sigmas):
        x0 = ahead = denoise(z, s)
        h = math.log(s / t) if t else math.inf
        if old is not None and t:
            ahead = x0 + h / (2 * past) * (x0 - old)
        z = (t / s) * z - math.expm1(-h) * ahead
        old, past = x0, h
    return z


def unipc(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Zhao et al. 2023, https://arxiv.org/abs/2302.04867: predictor and corrector of order 2 and 3, one call a step. Order 3.

    Where z arrives is foreseen by a line through the last two guesses; once the guess there is known, which the next step needs anyhow,
    the step is done again with a parabola through the last three.
    """
    lam = [-math.log(s) if s else math.inf for s in sigmas]
    guesses = [denoise(z, sigmas[0])]
    for k, t in enumerate(sigmas[1:], 1):
        if not t:
            return guesses[-1]
        places, known = lam[max(0, k - 2) : k], guesses[-2:]
        ahead = _exponential(z, sigmas[k - 1], t, places, known)
        guesses.append(denoise(ahead, t))
        z = _exponential(z, sigmas[k - 1], t, [*places, lam[k]], [*known, guesses[-1]])
    return z


def _exponential(z: Tensor, s: float, t: float, places: Sequence[float], guesses: Sequence[Tensor]) -> Tensor:
    """z at t: denoise is taken as the polynomial in lam through `guesses` at `places`, and the integral is exact."""
    start, h = -math.log(s), math.log(s / t)
    moments = [-math.expm1(-h)]  # e^{-h} times the integral of e^u u^k over u in 0..h
    for k in range(1, len(places)):
        moments.append(h**k - k * moments[-1])
    u = torch.tensor([p - start for p in places], dtype=torch.float64)
    weights = torch.linalg.solve(torch.stack([u**k for k in range(len(places))]), torch.tensor(moments, dtype=torch.float64)).tolist()
    z = (t / s) * z
    for weight, guess in zip(weights, guesses, strict=True):
        z = z + weight * guess
    return z


def _langevin(denoise: Denoise, z: Tensor, s: float, how: How) -> Tensor:
    """Moves of length 2 (snr s)^2 along the score (denoise - z) / s^2: s is what |noise| / |score| comes to at that level, so this is the
    rule of Song et al. 2021, https://arxiv.org/abs/2011.13456, algorithm 4, with lengths that do not hang on the draw."""
    rate = 2 * (how.snr * s) ** 2
    for _ in range(how.corrections):
        z = z + rate / s**2 * (denoise(z, s) - z) + math.sqrt(2 * rate) * _randn(z)
    return z


def langevin(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Annealed Langevin dynamics (Song and Ermon 2019, https://arxiv.org/abs/1907.05600): moves at each level, and a last guess."""
    for s in sigmas[:-1]:
        z = _langevin(denoise, z, s, how)
    return step(z, denoise(z, sigmas[-2]), sigmas[-2], sigmas[-1])


def pc(denoise: Denoise, z: Tensor, sigmas: Sequence[float], how: How = PLAIN) -> Tensor:
    """Predictor and corrector (Song et al. 2021, algorithm 1): an ancestral step to each level, then Langevin moves at it."""
    for s, t in itertools.pairwise(sigmas):
        z = step(z, denoise(z, s), s, t, eta=1.0)
        z = _langevin(denoise, z, t, how) if t else z
    return z


SOLVERS: dict[str, Solver] = {
    "euler": euler,
    "ddim": ddim,
    "ancestral": ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "unipc": unipc,
    "langevin": langevin,
    "pc": pc,
    "renoise": renoise,
}


def calls(name: str, how: How) -> int:
    """How often a solver asks for a guess in one of its steps."""
    return {"heun": 2, "langevin": how.corrections, "pc": 1 + how.corrections}.get(name, 1)


def repaint(denoise: Denoise, z: Tensor, sigmas: Sequence[float], known: Tensor, mask: Tensor, again: int, eta: float = 1.0) -> Tensor:
    """Fills in where `mask` is False: after each step what is known takes its place at the new level, and with `again` above 1 the step
    is taken back and done again, so that the parts fit (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865, algorithm 1)."""
    for s, t in itertools.pairwise(sigmas):
        for k in range(again):
            z = step(z, denoise(z, s), s, t, eta)
            z = torch.where(mask, known + t * _randn(z), z)
            if k + 1 < again:
                z = z + math.sqrt(s * s - t * t) * _randn(z)
    return z


def invert(denoise: Denoise, z: Tensor, sigmas: Sequence[float], rounds: int, spread: float = 1.0) -> Tensor:
    """The z at the first of `sigmas` that Euler's steps take to this z at the last: each step undone by `rounds` of a fixed point
    (Pan et al. 2023, https://arxiv.org/abs/2309.04907), in what denoise differs by from that of a Gaussian of deviation `spread`,
    which is little at any noise."""
    for t, s in itertools.pairwise(reversed(sigmas)):
        share, goal = spread**2 / (spread**2 + s * s), z
        whole = t / s + (1 - t / s) * share
        for _ in range(rounds):
            z = (goal - (1 - t / s) * (denoise(z, s) - share * z)) / whole
    return z


# --- which levels to visit ---


def karras(high: float, low: float, steps: int, rho: float = 7.0) -> list[float]:
    """Karras et al. 2022, eq. 5: equal steps of s^(1 / rho)."""
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [(a + (b - a) * k / (steps - 1 or 1)) ** rho for k in range(steps)]


def geometric(high: float, low: float, steps: int) -> list[float]:
    """Equal steps of log s."""
    return [high * (low / high) ** (k / (steps - 1 or 1)) for k in range(steps)]


def spaced(total: int, steps: int) -> list[int]:
    """`steps` of the `total` steps, evenly spaced from the last to the first, each at most once."""
    steps = min(steps, total)
    return list(range(total - 1, -1, -1)) if steps == total else [round((total - 1) * k / (steps - 1 or 1)) for k in reversed(range(steps))]
