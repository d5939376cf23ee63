"""Kinds of units: A(a) = sum_v m(v) exp(a'v) by enumeration or integration, the mean its logarithm's gradient, draws of that mean."""

import math

import pytest
import torch
from torch import Tensor

from genctl.maths import noise, units

GRID = torch.linspace(-12, 12, 4801, dtype=torch.float64)
KINDS = {
    "bernoulli": (units.Bernoulli(), 2),
    "gaussian": (units.Gaussian(), 2),
    "softmax": (units.Softmax(3), 6),
    "mixed": (units.of_blocks([1, 3, 3, 1]), 8),
}


def log_norm(name: str, a: Tensor) -> Tensor:
    """log A (n,) from its definition."""
    line = torch.logsumexp(GRID * a[..., None] - GRID.square() / 2, -1) + math.log(float(GRID[1] - GRID[0]))  # the integral of a number
    if name == "bernoulli":
        return torch.log(1 + a.exp()).sum(-1)
    if name == "gaussian":
        return line.sum(-1)
    if name == "softmax":
        return a.view(-1, 2, 3).logsumexp(-1).sum(-1)
    return line[:, 0] + line[:, 7] + a[:, 1:7].reshape(-1, 2, 3).logsumexp(-1).sum(-1)


@pytest.mark.parametrize("name", KINDS)
def test_the_mean_is_the_gradient_of_the_log_norm_and_draws_have_it(name):
    kind, size = KINDS[name]
    a = torch.randn(3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    torch.testing.assert_close(kind.log_norm(a), log_norm(name, a), atol=1e-8, rtol=1e-8)
    mean = torch.autograd.grad(kind.log_norm(a).sum(), a)[0]
    torch.testing.assert_close(kind.mean(a), mean)
    with torch.no_grad(), noise.stream(0):
        v = kind.draw(a[:1].float().expand(40_000, -1))
    assert (v.mean(0) - mean[0]).abs().max() < 0.02


def test_the_base_measure_is_that_of_the_density():
    v = torch.tensor([[0.5, 0, 1, 0, -1.0]])
    assert units.of_blocks([1, 3, 1]).log_measure(v).item() == pytest.approx(-0.5 * (0.25 + 1))
    assert units.Bernoulli().log_measure(v).item() == 0


@pytest.mark.parametrize("name", KINDS)
def test_independent_units_of_a_bias_have_the_mean_asked_for(name):
    kind, size = KINDS[name]
    mean = (
        torch.tensor([0.3, 0.2, 0.5, 0.3, 0.1, 0.6, 0.3, 0.7]) if name == "mixed" else torch.tensor([0.2, 0.5, 0.3, 0.1, 0.6, 0.3])[:size]
    )
    torch.testing.assert_close(kind.mean(kind.bias(mean)), mean)


def test_neighbours_of_one_kind_are_one_layer():
    assert type(units.of_blocks([1, 1, 1])) is units.Gaussian
    kinds = units.of_blocks([1, 1, 4, 4, 3, 1])
    assert isinstance(kinds, units.Mixed)
    assert kinds.sizes == [2, 8, 3, 1]
