"""gan: the battery, and truths of all games: who moves in whose turn, the optimal critic, pay-offs and penalties in closed form."""

import math

import pytest
import torch
from torch import nn

from genctl import catalog
from genctl.contract import Batch, Progress, Spec
from genctl.families.adversarial.gan import GAN
from genctl.maths import adversarial, noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, fake

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
MLP = {"latent": 4, "hidden": [16, 16]}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (MLP, ROW),
        ({**MLP, "loss": "minimax", "conditional": True, "norm": True}, IMAGE),
        ({**MLP, "loss": "hinge", "spectral": True, "waves": 1, "n_critic": 2}, IMAGE),
        ({**MLP, "loss": "relativistic", "r1": 0.5, "r2": 0.5}, ROW),
        ({**MLP, "feature_matching": 1.0}, ROW),
    ],
)
def test_battery(model, spec):
    check_family(GAN, model, spec, steps=12, descends=False, crowds="feature_matching" in model)


@pytest.mark.parametrize("family", ["gan", "dcgan", "wgan", "sngan"])
def test_a_turn_gives_the_other_player_no_gradient(family):
    model = build(catalog.family(family), {"latent": 4, "conditional": True, "feature_matching": 1.0}, IMAGE).train()
    critic, generator = model.stages()[0].players
    for p in critic.params:
        p.requires_grad_(False)
    with noise.stream(0):
        loss = generator.loss(fake(IMAGE, 8), Progress()).total
    assert not any(p.requires_grad for p in critic.params)
    loss.backward()
    assert all(p.grad is None for p in critic.params)
    assert all(p.grad is not None for p in generator.params)


# --- pay-offs and penalties ---


@pytest.mark.parametrize("loss", adversarial.CRITIC)
def test_pay_offs_of_a_critic_that_knows_nothing(loss):
    nothing = torch.zeros(8)
    known = {
        "minimax": (2 * math.log(2), -math.log(2)),
        "non-saturating": (2 * math.log(2), math.log(2)),
        "hinge": (2.0, 0.0),
        "least-squares": (1.0, 1.0),
        "wasserstein": (0.0, 0.0),
        "relativistic": (math.log(2), math.log(2)),
    }[loss]
    assert float(adversarial.CRITIC[loss](nothing, nothing)) == pytest.approx(known[0])
    assert float(adversarial.GENERATOR[loss](nothing, nothing)) == pytest.approx(known[1])


def test_minimax_has_no_slope_where_the_critic_is_sure_and_non_saturating_has():
    sure = torch.full((4,), -9.0, requires_grad=True)
    slopes = {k: torch.autograd.grad(adversarial.GENERATOR[k](sure, sure), sure)[0].abs().sum() for k in ("minimax", "non-saturating")}
    assert slopes["minimax"] < 1e-3 and slopes["non-saturating"] == pytest.approx(1, abs=1e-3)


def test_penalties_of_a_linear_critic():
    w = torch.tensor([3.0, 4.0])
    x = torch.randn(5, 2)
    assert float(adversarial.slope(lambda x: x @ w, x)) == pytest.approx(12.5)
    with noise.stream(0):
        assert float(adversarial.gradient_penalty(lambda x: x @ w, x, -x)) == pytest.approx(16)  # (5 - 1)^2


def test_features_are_matched_in_the_mean():
    real, drawn = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    assert float(adversarial.feature_matching(real, drawn)) == pytest.approx(8)


def test_the_critic_learns_the_log_ratio_of_two_gaussians():
    """D*(x) = log p(x) / q(x) (Goodfellow et al. 2014, prop. 1): for N(1, 1) against N(-1, 1) it is 2 x."""
    line = nn.Linear(1, 1)
    opt = torch.optim.Adam(line.parameters(), 0.05)
    with noise.stream(0):
        for _ in range(300):
            real, fake_ = 1 + noise.randn(512, 1), -1 + noise.randn(512, 1)
            opt.zero_grad()
            adversarial.cross_entropy(line(real), line(fake_)).backward()
            opt.step()
    assert line.weight.item() == pytest.approx(2, abs=0.3)
    assert line.bias.item() == pytest.approx(0, abs=0.3)


def test_it_learns_where_the_points_are():
    """Two far points: after a few hundred steps the samples lie near both."""
    model = build(GAN, {"latent": 2, "hidden": [32, 32], "loss": "relativistic", "r1": 1.0, "r2": 1.0, "waves": 2}, ROW)
    centre = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])

    def data(i: int) -> Batch:
        with noise.stream(i):
            return Batch(x=centre[noise.randint(2, 128)] + 0.1 * noise.randn(128, 2))

    loop.fit(model.train(), data, loop.Setting(Train(steps=400, lr=2e-3, betas=(0.5, 0.9), batch=128)), lambda *a: False)
    with torch.no_grad(), noise.stream(0):
        x = model.eval().sample(500, GAN.Draw())
    near = torch.cdist(x, centre).argmin(1)
    assert 100 < int(near.sum()) < 400
    assert float(torch.cdist(x, centre).amin(1).median()) < 0.4
