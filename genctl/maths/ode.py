"""A solver of ordinary differential equations."""

from collections.abc import Callable

from torch import Tensor


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
