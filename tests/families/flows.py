"""What every flow must hold: it inverts, its log-determinant is that of autograd's Jacobian, its density integrates to one."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.maths import noise
from tests.battery import build


def bent(cls, model, spec, strength=0.3):
    """A flow far from the identity: every parameter is moved."""
    net = build(cls, model, spec).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(strength * torch.randn(p.shape, generator=draw) * (p.std() if p.numel() > 1 and p.std() > 0.05 else 1.0))
        net.shift.copy_(torch.linspace(-1, 1, spec.size))
        net.scale.copy_(torch.linspace(0.5, 2, spec.size))
    return net.requires_grad_(False)


def check_inverse(net, size, context=None, tolerance=1e-6):
    """In float64, so that steep places are as exact as others."""
    net = net.double()
    x = 2 * torch.randn(4, size, generator=torch.Generator().manual_seed(0)).double()
    context = None if context is None else context.double()
    z, log_det = net.forward_flow(x, context)
    torch.testing.assert_close(net.inverse_flow(z, context), x, atol=tolerance, rtol=tolerance)
    for i in range(4):
        beside = () if context is None else (context[i : i + 1],)
        jacobian = torch.autograd.functional.jacobian(lambda y, beside=beside: net.forward_flow(y[None], *beside)[0][0], x[i])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det[i], atol=tolerance, rtol=tolerance)


def check_mass(net, edge=1.5, points=1201, tolerance=5e-3):
    """The density of two numbers over a square that holds what the flow draws."""
    with torch.no_grad(), noise.stream(0):
        x = net.sample(4000, type(net).Draw())
        axis = torch.linspace(-edge, edge, points) * float(x.abs().max())
        mass = sum(float(net.log_prob(Batch(x=part)).double().exp().sum()) for part in torch.cartesian_prod(axis, axis).split(200_000))
    assert abs(mass * float(axis[1] - axis[0]) ** 2 - 1) < tolerance


def label(spec: Spec, classes: int = 3) -> Spec:
    """The same data with a class label beside it."""
    return Spec(shape=spec.shape, levels=spec.levels, media=spec.media, given={"label": Spec(shape=(), vocab=classes)})


ROW = Spec(shape=(3,))
PLANE = Spec(shape=(2,))
GREY = Spec(shape=(1, 4, 4), levels=17, media="image")
SIZES = pytest.mark.parametrize("size", [2, 3, 6])
