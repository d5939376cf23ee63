"""vae: the battery, and its own truth: on a linear-Gaussian decoder the importance-weighted estimate is the exact likelihood."""

import math

import pytest
import torch
from torch import nn

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder.vae import VAE
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake

IMAGE = Spec(shape=(1, 6, 6), levels=2, media="image")
ROW = Spec(shape=(3,))
LABELLED = Spec(shape=(1, 6, 6), levels=2, media="image", given={"label": Spec(shape=(), vocab=3)})
COLOUR = Spec(shape=(3, 6, 6), levels=256, media="image")
MLP = {"hidden": [16], "latent": 2, "importance": 3}
LADDER = {"hidden": [8, 8], "latents": [2, 1], "importance": 3}
CONV = {"network": "conv", "hidden": [4, 8], "latent": 2, "importance": 3}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (MLP, IMAGE),
        (CONV, IMAGE),
        (MLP, ROW),
        ({**CONV, "beta": 2.0, "kl_warmup": 0.5}, IMAGE),
        ({**MLP, "norm": True}, ROW),
        ({**CONV, "dense": [8], "norm": True, "blocks": 1}, IMAGE),
        ({**MLP, "iwae": 3, "beta": 0.5}, IMAGE),
        ({**CONV, "conditional": True, "free_bits": 0.1}, LABELLED),
        ({**MLP, "conditional": True, "iwae": 2}, LABELLED),
        ({**CONV, "likelihood": "logistic", "mixtures": 3}, COLOUR),
        (LADDER, ROW),
        ({**LADDER, "network": "conv", "conditional": True, "norm": True, "blocks": 1}, LABELLED),
        ({**LADDER, "conditional": True, "iwae": 2}, LABELLED),
    ],
)
def test_battery(model, spec):
    check_family(VAE, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(VAE, {**CONV, "dense": [8], "norm": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_resume_of_a_ladder_is_exact(tmp_path):
    check_resume(VAE, LADDER, IMAGE, tmp_path, cut=5, steps=8, batch=8)


def test_importance_estimate_equals_the_exact_likelihood_of_a_linear_gaussian():
    """x = W z + b + sigma eps has log N(x; b, W W' + sigma^2); the posterior net is set to be near, not equal to, the truth."""
    model = build(VAE, {"hidden": [4], "latent": 2, "importance": 2000}, Spec(shape=(5,)))
    torch.manual_seed(0)
    w, b, sigma = torch.randn(5, 2), torch.randn(5), 0.7
    model.decoder = nn.Linear(2, 5)
    model.encoder = nn.Linear(5, 4)
    precision = torch.eye(2) + w.T @ w / sigma**2
    mean = torch.linalg.solve(precision, w.T) / sigma**2  # E[z | x] = mean (x - b)
    with torch.no_grad():
        model.decoder.weight.copy_(w)
        model.decoder.bias.copy_(b)
        model.says.log_sigma.fill_(math.log(sigma))
        model.encoder.weight.copy_(torch.cat([mean, torch.zeros(2, 5)]))
        spread = torch.linalg.inv(precision).diagonal()
        model.encoder.bias.copy_(torch.cat([-mean @ b, (1.5 * spread).log()]))
    x = torch.randn(64, 2) @ w.T + b + sigma * torch.randn(64, 5)
    exact = torch.distributions.MultivariateNormal(b, w @ w.T + sigma**2 * torch.eye(5)).log_prob(x)
    with torch.no_grad(), noise.stream(0):
        estimate = model.log_prob(Batch(x=x))
    assert abs((estimate - exact).mean()) < 0.05


def test_the_bound_of_training_is_tighter_with_more_draws_and_that_of_scoring():
    """At equal weights: ELBO < IWAE-50 < log p, and IWAE-k has the mean of `log_prob` with importance k."""
    torch.manual_seed(0)
    x = torch.rand(256, 1, 6, 6).round()

    def bound(k):
        model = build(VAE, {**MLP, "iwae": k, "importance": 50}, IMAGE)
        with torch.no_grad(), noise.stream(1):
            model.encoder[1][-1].weight.mul_(3)  # a posterior far from the true one
            trained = -float(model.loss(Batch(x=x), Progress(0, 1)).total)
            return trained, float(model.log_prob(Batch(x=x)).mean())

    (elbo, scored), (tight, again) = bound(1), bound(50)
    assert elbo < tight - 0.01
    assert abs(tight - scored) < 0.05
    assert abs(tight - again) < 0.05


@pytest.mark.parametrize(
    ("likelihood", "levels", "able"),
    [("auto", 2, True), ("auto", 17, False), ("gaussian", 17, False), ("gaussian", 2, False), ("bernoulli", 0, False), ("auto", 0, True)],
)
def test_only_a_likelihood_of_this_data_is_called_one(likelihood, levels, able):
    spec = Spec(shape=(1, 6, 6), levels=levels, media="image")
    model = build(VAE, {"hidden": [4], "latent": 2, "importance": 2, "likelihood": likelihood}, spec)
    if able:
        assert model.log_prob(fake(spec, 3)).shape == (3,)
    else:
        with pytest.raises(GenctlError, match="no likelihood"):
            model.log_prob(fake(spec, 3))


def test_free_bits_cost_nothing_and_count_in_training_alone():
    """Below the free nats the KL has no gradient; what is reported and validated is the bound itself."""
    model = build(VAE, {**MLP, "free_bits": 50.0}, IMAGE)
    batch = fake(IMAGE, 8)
    with noise.stream(0):
        paid = model.train().loss(batch, Progress())
    assert (paid.total - paid.parts["reconstruction_nats"]).item() == pytest.approx(100.0, rel=1e-4)  # two dimensions
    with noise.stream(0):
        bound = model.eval().loss(batch, Progress())
    assert (bound.total - bound.parts["reconstruction_nats"]).item() == pytest.approx(bound.parts["kl_nats"].item(), rel=1e-4)


def test_a_conditional_model_draws_what_it_is_told():
    """Pictures of one grey level for each class."""
    spec = Spec(shape=(1, 4, 4), levels=256, media="image", given={"label": Spec(shape=(), vocab=2)})
    model = build(VAE, {"hidden": [16], "latent": 2, "conditional": True, "likelihood": "gaussian"}, spec)
    label = torch.arange(64) % 2
    batch = Batch(x=(0.2 + 0.6 * label.float()).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), given={"label": label})
    steps = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(150):
        steps.zero_grad()
        with noise.stream(0, step):
            model.loss(batch, Progress()).total.backward()
        steps.step()
    with torch.no_grad(), noise.stream(1):
        x = model.eval().sample(20, VAE.Draw(), {"label": torch.arange(20) % 2})
    assert x[0::2].mean().item() == pytest.approx(0.2, abs=0.1) and x[1::2].mean().item() == pytest.approx(0.8, abs=0.1)


def test_more_draws_make_the_bound_tighter_from_a_share_of_training_on():
    model, batch = build(VAE, {**MLP, "iwae": 50, "iwae_from": 0.5}, IMAGE), fake(IMAGE, 64)
    with torch.no_grad(), noise.stream(0):
        early, late = (model.loss(batch, Progress(step, 10)).total.item() for step in (4, 5))
    assert late < early - 0.01


# --- a ladder ---


def test_importance_estimate_on_a_linear_gaussian_ladder():
    """z_2 = e_2, z_1 = A z_2 + c + s e_1, x = W z_1 + V z_2 + b + sigma eps: log N(x; mean, covariance) in closed form."""
    model = build(VAE, {"hidden": [3, 2], "latents": [2, 1], "importance": 2000}, Spec(shape=(4,)))
    torch.manual_seed(0)
    down, sigma, s = model.decoder, 0.7, torch.tensor([0.5, 1.5])
    down.rungs[0], down.rungs[1] = nn.Linear(2, 3), nn.Linear(3, 4)
    with torch.no_grad():
        model.says.log_sigma.fill_(math.log(sigma))
        down.top.zero_()
        down.heads[0].weight.zero_(), down.heads[0].bias.zero_()  # z_2 ~ N(0, 1)
        down.heads[1].weight[2:] = 0
        down.heads[1].bias[2:] = 2 * s.log()
    (j2, j1), (r2, r1), head = down.joins, down.rungs, down.heads[1]
    h1 = r2.weight @ j2.weight  # of e_2, (3, 1)
    a = head.weight[:2] @ h1
    of_e2 = r1.weight @ (h1 + j1.weight @ a)
    of_e1 = r1.weight @ j1.weight @ s.diag()
    middle = r2.weight @ j2.bias + r2.bias
    mean = r1.weight @ (middle + j1.weight @ (head.weight[:2] @ middle + head.bias[:2]) + j1.bias) + r1.bias
    w = torch.cat([of_e2, of_e1], 1)
    law = torch.distributions.MultivariateNormal(mean.detach(), (w @ w.T).detach() + sigma**2 * torch.eye(4))
    x = law.sample((64,))
    steps = torch.optim.Adam(model.encoder.parameters(), lr=1e-2)
    for step in range(150):
        steps.zero_grad()
        with noise.stream(step):
            bound = model.loss(Batch(x=x), Progress()).total
        bound.backward()
        steps.step()
    with torch.no_grad(), noise.stream(0):
        estimate = model.log_prob(Batch(x=x))
        fresh = model.eval().sample(20_000, VAE.Draw())
    exact = law.log_prob(x)
    assert abs((estimate - exact).mean()) < 0.02 and (estimate - exact).abs().max() < 0.5
    assert -bound < exact.mean()
    torch.testing.assert_close(fresh.mean(0), law.mean, atol=0.05, rtol=0.05)
    torch.testing.assert_close(fresh.T.cov(), law.covariance_matrix, atol=0.05, rtol=0.05)


def test_where_x_says_nothing_a_ladder_s_posterior_is_its_prior():
    model = build(VAE, LADDER, ROW)
    mu, logvar, eps = torch.randn(7, 3), torch.full((7, 3), 20.0), torch.randn(7, 3)
    z, mean, spread = model.infer(mu, logvar, eps, None)
    for found, wanted in ((z, eps), (mean, 0 * mean), (spread, 0 * spread)):
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_a_ladder_has_a_rung_for_each_hidden_layer():
    with pytest.raises(GenctlError, match="3 for 2 hidden layers"):
        build(VAE, {**LADDER, "latents": [3, 2, 1]}, ROW)
