"""mixture: the battery, and its own truths: every step of EM raises the likelihood, and ring8 is found mode by mode."""

import itertools

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars, toy2d
from genctl.errors import GenctlError
from genctl.families.baseline.mixture import Mixture
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, draw

IMAGE = Spec(shape=(1, 3, 3), levels=2, media="image")
GREY = Spec(shape=(1, 3, 3), levels=17, media="image")
ROW = Spec(shape=(3,))
PLANE = Spec(shape=(2,))
FULL = {"components": 3, "covariance": "full"}


@pytest.mark.parametrize(("model", "spec"), [({"components": 3}, IMAGE), ({"components": 3}, ROW), (FULL, ROW), ({"components": 3}, GREY)])
def test_battery(model, spec):
    check_family(Mixture, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Mixture, FULL, ROW, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize(
    ("model", "spec"), [(FULL, PLANE), ({"components": 6}, PLANE), ({"components": 5}, IMAGE)], ids=["full", "diagonal", "coins"]
)
def test_the_likelihood_rises_at_every_full_step(model, spec):
    truth = bars.Bars(3) if spec.levels else toy2d.truth("pinwheel")
    batch = Batch(x=truth.draw(1000, 0))
    net = build(Mixture, {**model, "forget": 0.0}, spec).train()
    with torch.no_grad():
        net.begin(batch, Progress(0, 1))
        seen = [float(net.loss(batch, Progress(t, 30)).total) for t in range(30)]
    assert all(b <= a + 1e-5 for a, b in itertools.pairwise(seen)), seen
    assert seen[-1] < seen[0] - 0.01


def test_ring8_is_found():
    """The eight modes, their weights and widths, and KL(truth || model), from batches seen once."""
    truth = toy2d.truth("ring8")
    x = truth.draw(50_000, 0)
    net = build(Mixture, {"components": 8, "covariance": "full"}, PLANE).train()
    loop.fit(net, lambda i: Batch(x=x[i * 500 : i * 500 + 500]), loop.Setting(Train(steps=100)), lambda *a: False)
    net.eval()
    gap = torch.cdist(truth.modes, net.mu).min(1).values
    assert float(gap.max()) < 0.03
    assert float((net.pi - 1 / 8).abs().max()) < 0.02
    y = truth.draw(20_000, 1)
    assert abs(float((truth.log_prob(y) - net.log_prob(Batch(x=y))).mean())) < 0.01
    samples = draw(net, 2000, chunk=1000)
    near = torch.cdist(samples, truth.modes).min(1)
    assert float((near.values < 0.3).float().mean()) > 0.97
    assert len(near.indices.unique()) == 8


def test_a_diagonal_mixture_is_the_full_one_without_correlations():
    thin, full = build(Mixture, {"components": 3}, ROW), build(Mixture, FULL, ROW)
    thin.sigma.copy_(torch.rand(3, 3) + 0.1)
    full.mu.copy_(thin.mu)
    full.sigma.copy_(torch.diag_embed(thin.sigma))
    x = torch.randn(10, 3)
    torch.testing.assert_close(thin.log_prob(Batch(x=x)), full.log_prob(Batch(x=x)), atol=1e-4, rtol=1e-4)


def test_coins_sum_to_one():
    net = build(Mixture, {"components": 3}, IMAGE)
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 9).view(-1, 1, 3, 3)
    assert abs(float(net.log_prob(Batch(x=x)).exp().sum()) - 1) < 1e-4


def test_more_than_memory_is_refused():
    with pytest.raises(GenctlError, match="diagonal"):
        build(Mixture, {"components": 1000, "covariance": "full"}, Spec(shape=(1, 28, 28), levels=256))


def test_sampling_follows_the_weights():
    net = build(Mixture, {"components": 2}, PLANE)
    net.pi.copy_(torch.tensor([0.8, 0.2]))
    net.mu.copy_(torch.tensor([[-5.0, 0.0], [5.0, 0.0]]))
    with torch.no_grad(), noise.stream(0):
        x = net.sample(2000, Mixture.Draw())
    assert abs(float((x[:, 0] < 0).float().mean()) - 0.8) < 0.04
