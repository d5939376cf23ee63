"""What the base of flows adds to each: filling in what is missing, on a flow whose conditionals are known."""

import torch
from torch import nn

from genctl.contract import Batch, Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths import langevin, noise
from tests.battery import fake
from tests.families.flows import GREY


class Gaussian(Flow):
    """y = L z: a Gaussian of covariance L L'."""

    Config = FlowConfig

    def __init__(self, config, spec):
        super().__init__(config, spec)
        g = torch.Generator().manual_seed(2)
        self.factor = nn.Parameter(torch.eye(spec.size) + 0.7 * torch.randn(spec.size, spec.size, generator=g).tril(-1))

    def to_noise(self, y, context):
        return torch.linalg.solve_triangular(self.factor, y.T, upper=False).T, self.factor.diagonal().log().sum().neg().expand(len(y))

    def from_noise(self, z, context):
        return z @ self.factor.T


def imputed(net, x, seen, n, sweeps=300):
    batch = Batch(x=x.expand(n, -1), mask=seen.expand(n, -1))
    with torch.no_grad(), noise.stream(0):
        return net.impute(batch, Flow.Draw(sweeps=sweeps))


def test_what_is_missing_of_a_gaussian_has_its_conditional_mean_and_covariance():
    net = Gaussian(FlowConfig(), Spec(shape=(4,))).eval()
    net.shift.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    net.scale.copy_(torch.tensor([0.2, 3.0, 1.0, 0.5]))
    x, seen = torch.tensor([[1.1, 0.0, 2.0, 0.0]]), torch.tensor([[True, False, True, False]])
    found = imputed(net, x, seen, 4000)
    assert torch.equal(found[:, [0, 2]], x[:, [0, 2]].expand(4000, -1))
    root = torch.diag(net.scale) @ net.factor.detach()
    cov, a, b = root @ root.T, [1, 3], [0, 2]
    gain = cov[a][:, b] @ torch.linalg.inv(cov[b][:, b])
    mean = net.shift[a] + gain @ (x[0, b] - net.shift[b])
    spread = cov[a][:, a] - gain @ cov[b][:, a]
    error = spread.diagonal().sqrt() / 4000**0.5
    assert ((found[:, a].mean(0) - mean).abs() < 4 * error).all()
    torch.testing.assert_close(found[:, a].T.cov(), spread, atol=0.0, rtol=0.15)


def test_two_modes_are_both_found():
    """x on a ring: given one number there are two places for the other, and draws start from draws of the model."""

    class Ring(Gaussian):
        def slope(self, y, context):
            with torch.enable_grad():
                y = y.detach().requires_grad_(True)
                p = -0.5 * ((y.square().sum(1) - 1) / 0.2).square()
                return p.detach(), torch.autograd.grad(p.sum(), y)[0]

    net = Ring(FlowConfig(), Spec(shape=(2,))).eval()
    found = imputed(net, torch.tensor([[0.6, 0.0]]), torch.tensor([[True, False]]), 500)[:, 1]
    assert abs(found.abs().mean() - 0.8) < 0.05 and 0.2 < (found > 0).float().mean() < 0.8


def test_pictures_keep_what_was_seen_and_fill_in_grey_levels():
    net = Gaussian(FlowConfig(), GREY).eval()
    batch = fake(GREY, 6)
    batch.mask = torch.arange(16).view(1, 4, 4).expand(6, 1, 4, 4) % 3 == 0
    with torch.no_grad(), noise.stream(0):
        x = net.impute(batch, Flow.Draw(sweeps=20))
    assert torch.equal(x[batch.mask], batch.x[batch.mask])
    torch.testing.assert_close((x * 16).round(), x * 16)


def test_the_walk_stays_where_nothing_is_free_and_accepts_as_it_should():
    def slope(x):
        return -0.5 * x.square().sum(1), -x

    x = torch.randn(500, 3)
    with noise.stream(0):
        assert torch.equal(langevin.mala(slope, x, torch.zeros(500, 3, dtype=torch.bool), 10), x)
        y = langevin.mala(slope, 5 + x, torch.ones(500, 3, dtype=torch.bool), 200)
    assert y.mean(0).abs().max() < 0.2 and (y.std(0) - 1).abs().max() < 0.15
