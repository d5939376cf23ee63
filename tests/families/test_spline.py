"""spline: the battery, and its own truths; the spline itself against its inverse, its slope and the tails."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.flow.spline import Spline
from genctl.maths import bijectors
from tests.battery import check_family, check_resume
from tests.families.flows import GREY, PLANE, ROW, SIZES, bent, check_inverse, check_mass, label

SMALL = {"layers": 3, "hidden": [16], "bins": 5}
AUTO = {**SMALL, "layers": 2, "autoregressive": True}


@pytest.mark.parametrize("spec", [ROW, GREY], ids=lambda s: s.kind)
@pytest.mark.parametrize("model", [SMALL, AUTO], ids=["coupling", "autoregressive"])
def test_battery(model, spec):
    check_family(Spline, model, spec)


def test_battery_given_a_label():
    check_family(Spline, {**SMALL, "conditional": True}, label(ROW))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Spline, SMALL, ROW, tmp_path, cut=cut, steps=8, batch=8)


@SIZES
@pytest.mark.parametrize("model", [SMALL, AUTO], ids=["coupling", "autoregressive"])
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(model, size):
    check_inverse(bent(Spline, model, Spec(shape=(size,)), strength=0.2), size)


@pytest.mark.parametrize("model", [SMALL, AUTO], ids=["coupling", "autoregressive"])
def test_the_density_integrates_to_one(model):
    check_mass(bent(Spline, model, PLANE, strength=0.1))


def test_the_spline_is_monotone_smooth_and_the_identity_outside():
    spline = bijectors.Spline(bins=6, edge=3.0)
    theta = torch.randn(1, spline.params, 1, generator=torch.Generator().manual_seed(0)).double()
    x = torch.linspace(-5, 5, 4001, dtype=torch.float64)[:, None].requires_grad_(True)
    y, slope = spline.forward(x, theta.expand(len(x), -1, -1))
    assert (y.diff(dim=0) > 0).all()
    (exact,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope.exp(), exact)
    assert (slope.diff(dim=0).abs() < 1).all(), "the slope jumps"
    outside = x.abs() > 3
    torch.testing.assert_close(y[outside], x[outside])
    torch.testing.assert_close(spline.inverse(y, theta.expand(len(x), -1, -1)), x, atol=1e-9, rtol=1e-9)


def test_zero_parameters_are_the_identity():
    spline = bijectors.Spline(bins=6, edge=3.0)
    x = torch.linspace(-5, 5, 101)[:, None]
    y, slope = spline.forward(x, torch.zeros(len(x), spline.params, 1))
    torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-5, rtol=1e-5)
