"""Muon: both ways of making a matrix orthogonal are one, and singular values land near 1."""

import pytest
import torch

from genctl.training.optim import orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 48, 16), (3, 16, 64), (2, 20, 16)])
def test_singular_values_land_near_one(shape):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(g))
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_long_matrices_are_turned_like_others():
    """Iterating on x x^T and on x itself agree, also where singular values span four decades."""
    g = torch.randn(2, 16, 64, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    g = u @ torch.diag(torch.logspace(-4, 0, 16)) @ v
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / g.norm(dim=(-2, -1), keepdim=True)
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    torch.testing.assert_close(orthogonal(g), x, atol=1e-3, rtol=0)
    torch.testing.assert_close(orthogonal(g.mT), x.mT, atol=1e-3, rtol=0)
