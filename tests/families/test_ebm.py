"""ebm: the battery, and its truths: the density integrates to one on a grid, what each loss learns, where chains end."""

import math

import pytest
import torch
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import toy2d
from genctl.errors import GenctlError
from genctl.families.energy.ebm import EBM
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, draw

ROW = Spec(shape=(3,))
PLANE = Spec(shape=(2,))
IMAGE = Spec(shape=(1, 6, 5), levels=17, media="image")
SMALL = {"hidden": [8, 8], "steps": 2, "chains": 24, "ais_chains": 8, "ais_steps": 5}


@pytest.mark.parametrize("loss", ["cd", "dsm", "nce"])
@pytest.mark.parametrize("spec", [ROW, IMAGE], ids=["row", "image"])
def test_battery(loss, spec):
    check_family(EBM, {**SMALL, "loss": loss, "sigma": 0.1}, spec, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(EBM, {**SMALL, "temperature": 0.1}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def train(model: dict[str, object], x: Tensor, steps: int, **train: object) -> EBM:
    """The loop alone, on rows of x drawn anew for each step."""
    net = build(EBM, model, Spec(shape=tuple(x.shape[1:]))).train()
    settings = Train(**{"steps": steps, "batch": 256, "lr": 3e-3, "decay": "cosine", "betas": (0.9, 0.99), **train})
    rows = torch.randint(len(x), (steps, settings.batch), generator=torch.Generator().manual_seed(0))
    loop.fit(net, lambda i: Batch(x=x[rows[i]]), loop.Setting(settings), lambda *step: False)
    return net.eval()


def gaussian(n: int) -> Tensor:
    """N((1, -1), [[1, 0.8], [0.8, 1]]): no product, so that the network must bend q."""
    e = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return torch.stack([e[:, 0], 0.8 * e[:, 0] + 0.6 * e[:, 1]], 1) + torch.tensor([1.0, -1.0])


def grid(net: EBM, low: float, high: float, n: int = 300) -> tuple[Tensor, float]:
    """log p on a square, and the logarithm of its integral there."""
    line = torch.linspace(low, high, n)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        log_p = net.log_prob(Batch(x=x))
    return x, float(log_p.double().logsumexp(0)) + 2 * math.log((high - low) / (n - 1))


def test_the_density_integrates_to_one():
    """log Z by annealing, against a sum over a grid; the network is any."""
    net = build(EBM, {"hidden": [32, 32], "waves": 1, "ais_chains": 2000, "ais_steps": 300}, PLANE).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)
        net.shift.copy_(torch.tensor([1.0, -1.0])), net.scale.copy_(torch.tensor([0.5, 2.0]))
    error = net.log_partition()[1]
    assert error < 0.1
    assert abs(grid(net, -14, 14, 800)[1]) < 4 * error


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ({"loss": "nce"}, 0.02),
        ({"loss": "dsm", "sigma": 0.2}, 0.03),
        ({"loss": "cd", "steps": 10, "step": 0.3, "chains": 512, "regularise": 0.0, "restart": 0.0}, 0.05),
    ],
)
def test_a_gaussian_is_learned(model, most):
    """KL(truth | model), the truth blurred where the model's is."""
    x = gaussian(20_000)
    net = train({"hidden": [32, 32], "waves": 0, "ais_chains": 2000, "ais_steps": 200, **model}, x, 400)
    blur = net.config.sigma * x.std(0)
    cov = torch.tensor([[1.0, 0.8], [0.8, 1.0]]) + torch.diag(blur.square())
    truth = torch.distributions.MultivariateNormal(torch.tensor([1.0, -1.0]), cov)
    test = truth.mean + torch.randn(20_000, 2, generator=torch.Generator().manual_seed(1)) @ torch.linalg.cholesky(cov).t()
    with torch.no_grad():
        kl = float((truth.log_prob(test) - net.log_prob(Batch(x=test))).mean())
    assert abs(kl) < most
    assert model["loss"] != "nce" or abs(net.log_partition()[0]) < 0.05  # which it normalises by itself


def test_the_score_that_is_matched_is_that_of_the_blurred_data():
    """Of data at one point the slope leads straight back: -(y - x) / sigma^2."""
    net = build(EBM, {"loss": "dsm", "sigma": 0.5, "hidden": [4]}, PLANE)
    with noise.stream(0):
        found = net.denoise(torch.zeros(4000, 2))
    with noise.stream(0):
        y = 0.5 * noise.randn(4000, 2)
    score = net.base(y)[1] + net.slope(y)[1]
    wanted = 0.5 * (0.5 * (score + y / 0.25)).square().sum(1).mean()
    torch.testing.assert_close(found.detach(), wanted)


def test_ring8_is_learned_and_all_modes_are_drawn():
    truth = toy2d.open(toy2d.Config()).truth
    net = train({"loss": "nce", "hidden": [64, 64], "waves": 4, "ais_steps": 300}, truth.draw(100_000, 0), 600, lr=1e-2)
    with torch.no_grad():
        x = truth.draw(5000, 1)
        kl = float((truth.log_prob(x) - net.log_prob(Batch(x=x))).mean())
    drawn = draw(net, 1000, chunk=1000)
    gap, which = torch.cdist(drawn.double(), truth.modes.double()).min(1)
    count = torch.bincount(which[gap < 3 * truth.sigma], minlength=8)
    assert -0.02 < kl < 0.3
    assert count.min() > 60


def test_chains_that_live_move_in_turn_and_some_begin_anew():
    net = build(EBM, {**SMALL, "restart": 0.0}, PLANE).train()
    with torch.no_grad(), noise.stream(0):
        net.advance(Batch(x=gaussian(8)), Progress(0, 9))
        before = net.memory.y.clone()
        net.advance(Batch(x=gaussian(8)), Progress(1, 9))
    moved = (net.memory.y != before).any(1)
    assert moved.tolist() == [False, True, False] * 8  # every third, so that ranks share them out alike
    assert torch.equal(net.fantasies, net.memory.y[1::3])


def test_what_it_cannot_do_is_said():
    with pytest.raises(GenctlError, match="binary"):
        build(EBM, {}, Spec(shape=(1, 4, 4), levels=2, media="image"))
    with pytest.raises(GenctlError, match="no noise"):
        build(EBM, {"loss": "dsm"}, PLANE)
