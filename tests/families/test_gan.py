"""gan, dcgan, wgan, sngan: the battery, and truths of their own: who moves in whose turn, the optimal critic, penalties in closed form."""

import math

import pytest
import torch
from torch import nn

from genctl import catalog
from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.adversarial.dcgan import DCGAN
from genctl.families.adversarial.gan import GAN
from genctl.maths import adversarial, noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, fake, fit

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
BINARY = Spec(shape=(3, 12, 12), levels=2, media="image")
CLIP = Spec(shape=(3, 1, 8, 8), levels=256, media="video")
ROW = Spec(shape=(2,))
CONV = {"latent": 4, "width": 4}
MLP = {"latent": 4, "hidden": [16, 16]}
PENALTIES = {"norm_critic": False, "norm": False, "r1": 1.0, "r2": 0.5, "r1_every": 4}


@pytest.mark.parametrize(
    ("family", "model", "spec"),
    [
        ("gan", MLP, ROW),
        ("gan", {**MLP, "loss": "minimax", "conditional": True, "norm": True}, IMAGE),
        ("gan", {**MLP, "loss": "hinge", "spectral": True, "waves": 1, "n_critic": 2}, IMAGE),
        ("gan", {**MLP, "loss": "relativistic", "r1": 0.5, "r2": 0.5}, ROW),
        ("gan", {**MLP, "norm": True, "feature_matching": 1.0}, ROW),  # it mixes the examples of a batch, as batch-norm does
        ("dcgan", CONV, IMAGE),
        ("dcgan", {**CONV, **PENALTIES, "conditional": True}, IMAGE),
        ("dcgan", {**CONV, "n_critic": 2, "loss": "least-squares"}, BINARY),
        ("dcgan", {**CONV, "feature_matching": 0.5}, CLIP),
        ("wgan", CONV, IMAGE),
        ("wgan", {**CONV, "gradient_penalty": 0.0, "clip_weights": 0.01, "n_critic": 2}, BINARY),
        ("sngan", {**CONV, "conditional": True}, IMAGE),
        ("sngan", {**CONV, "norm": False, "spectral": False, "loss": "relativistic", "r1": 1.0, "r2": 1.0}, BINARY),
    ],
)
def test_battery(family, model, spec):
    check_family(catalog.family(family), model, spec, steps=12, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DCGAN, {**CONV, "r1": 1.0, "r1_every": 3, "conditional": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_resume_of_spectral_norms_is_exact(tmp_path):
    check_resume(catalog.family("sngan"), {**CONV, "conditional": True}, IMAGE, tmp_path, cut=5, steps=8, batch=8)


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


def test_pictures_that_are_too_small_name_the_family_that_takes_them():
    with pytest.raises(GenctlError, match="gan") as e:
        build(DCGAN, CONV, Spec(shape=(1, 4, 4), levels=2, media="image"))
    assert e.value.try_ == "family: gan"


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


def test_weights_are_clipped_after_the_turn_and_no_others():
    model, _ = fit(catalog.family("wgan"), {**CONV, "clip_weights": 0.01, "gradient_penalty": 0.0, "norm": False}, BINARY, 2)
    assert max(p.abs().max() for p in model.critic.parameters()) <= 0.01
    assert max(p.abs().max() for p in model.generator.parameters()) > 0.01


def test_no_layer_of_a_spectral_critic_stretches():
    model, _ = fit(GAN, {**MLP, "spectral": True, "loss": "hinge"}, ROW, 30, lr=1e-2)
    model.eval()
    for m in model.critic.modules():
        if isinstance(m, nn.Linear):
            assert torch.linalg.matrix_norm(m.weight, 2).item() == pytest.approx(1, abs=0.02)


def test_the_critic_projects_the_label_on_its_features():
    """D(x, y) - D(x) = <v_y, f(x)>: two labels differ by what their vectors say of the features, and by nothing else."""
    model = build(DCGAN, {**CONV, "conditional": True}, IMAGE).eval()
    batch = fake(IMAGE, 6)
    with torch.no_grad():
        f = model.features(batch.x)
        one, two = (model.logit(f, {"label": torch.full((6,), k)}) for k in (1, 2))
        expected = f @ (model.told.weight[1] - model.told.weight[2])
    torch.testing.assert_close(one - two, expected)


def test_a_clip_is_drawn_frame_after_frame_over_time():
    model = build(DCGAN, CONV, CLIP).eval()
    with torch.no_grad(), noise.stream(0):
        x = model.sample(2, DCGAN.Draw())
        assert x.shape == (2, 3, 1, 8, 8) and model.judge(x).shape == (2,)


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
