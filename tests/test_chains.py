"""Effective sample sizes of chains whose autocorrelation is known."""

import pytest
import torch
from torch import Tensor

from genctl.maths import chains


def autoregressive(phi: float, steps: int = 20_000, n: int = 4) -> Tensor:
    """x_t = phi x_(t-1) + e_t (T, n), of variance 1: n T (1 - phi) / (1 + phi) independent draws."""
    e = torch.randn(steps, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * (1 - phi * phi) ** 0.5
    e[0] /= (1 - phi * phi) ** 0.5
    for t in range(1, steps):
        e[t] += phi * e[t - 1]
    return e


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_an_autoregressive_process(phi):
    x = autoregressive(phi)
    assert chains.effective(x) == pytest.approx(x.numel() * (1 - phi) / (1 + phi), rel=0.12)


def test_autocovariance_is_its_sum():
    x = autoregressive(0.5, 50, 2)
    y = x - x.mean(0)
    slow = torch.stack([(y[: 50 - k] * y[k:]).sum(0) / 50 for k in range(50)])
    torch.testing.assert_close(chains.autocovariance(x), slow)


def test_chains_that_stay_apart_are_worth_few_draws():
    x = autoregressive(0.0, 1000, 4)
    assert chains.effective(x + torch.tensor([-5.0, -5.0, 5.0, 5.0])) < 20
    assert chains.effective(torch.zeros(100, 3)) == 300
