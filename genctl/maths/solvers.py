"""Ways through time: samplers of diffusion models, and a solver of ordinary differential equations.

Samplers are of one signature, solver(predict, x, abar, walk, ...) -> x at time zero:

predict   (x_t, t) -> (x0, eps), the model's guess of signal and noise
abar      T plain numbers, the share of the signal's variance left at each step: x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps
walk      the steps to visit, falling; `spaced` makes one
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from genctl.maths import noise

Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]


def spaced(total: int, steps: int) -> list[int]:
    """`steps` of the `total` steps, evenly spaced from the last to the first, each at most once."""
    steps = min(steps, total)
    return list(range(total - 1, -1, -1)) if steps == total else [round((total - 1) * k / (steps - 1 or 1)) for k in reversed(range(steps))]


def ddim(predict: Predict, x: Tensor, abar: Sequence[float], walk: Sequence[int], eta: float = 0.0) -> Tensor:
    """Song, Meng and Ermon 2021, eq. 12 and 16. eta 0: deterministic; eta 1 over all steps: the ancestral sampler of Ho et al."""
    left = [abar[t] for t in walk] + [1.0]
    for k, t in enumerate(walk):
        a, b = left[k], left[k + 1]  # alpha-bar here and at the next stop
        x0, eps = predict(x, t)
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x = b**0.5 * x0 + max(1 - b - sigma**2, 0.0) ** 0.5 * eps
        if sigma > 0:
            x = x + sigma * noise.randn(*x.shape, device=x.device)
    return x


def ddpm(predict: Predict, x: Tensor, abar: Sequence[float], walk: Sequence[int]) -> Tensor:
    """Ancestral sampling with the variance of the true posterior (Ho et al. 2020, algorithm 2, eq. 6 and 7)."""
    return ddim(predict, x, abar, walk, eta=1.0)


def dpm(predict: Predict, x: Tensor, abar: Sequence[float], walk: Sequence[int]) -> Tensor:
    """DPM-Solver++(2M), of second order in log-SNR (Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2)."""
    alpha, sigma = ([v**0.5 for v in part] for part in (abar, [1 - a for a in abar]))
    lam = [math.log(a / b) for a, b in zip(alpha, sigma, strict=True)]
    old: Tensor | None = None
    for k, t in enumerate(walk[:-1]):
        s = walk[k + 1]
        x0, _ = predict(x, t)
        ahead = x0
        if old is not None and s != walk[-1]:  # the last step in log-SNR is long: first order there
            r = (lam[t] - lam[walk[k - 1]]) / (lam[s] - lam[t])
            ahead = x0 + (x0 - old) / (2 * r)
        x = sigma[s] / sigma[t] * x - alpha[s] * math.expm1(lam[t] - lam[s]) * ahead
        old = x0
    return predict(x, walk[-1])[0]


SAMPLERS: dict[str, Callable[..., Tensor]] = {"ddpm": ddpm, "ddim": ddim, "dpm": dpm}


def rk4(f: Callable[[float, Tensor], Tensor], x: Tensor, start: float, stop: float, steps: int) -> Tensor:
    """x at time `stop` of dx/dt = f(t, x), x at time `start`, by equal steps of the classical Runge-Kutta method of fourth order.

    Kutta 1901; Hairer, Norsett and Wanner 1993, Solving Ordinary Differential Equations I. A plain differentiable function.
    """
    h = (stop - start) / steps
    for k in range(steps):
        t = start + k * h
        k1 = f(t, x)
        k2 = f(t + h / 2, x + h / 2 * k1)
        k3 = f(t + h / 2, x + h / 2 * k2)
        k4 = f(t + h, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x
