"""rbm: the battery, and its own truths: the free energy is the sum over all h, its gradient that of autograd, bars are learned."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars
from genctl.errors import GenctlError
from genctl.families.energy.rbm import RBM
from genctl.maths import noise
from genctl.metrics import Case, pseudo
from genctl.recipe import Train
from genctl.training import loop
from genctl.training.ema import EMA
from tests.battery import build, check_family, check_resume, draw, fake

IMAGE = Spec(shape=(1, 6, 6), levels=2, media="image")
ROW = Spec(shape=(7,), levels=2)
PCD = {"hidden": 24, "chains": 12, "gibbs": 2, "ais_chains": 8, "ais_steps": 20}
CD = {**PCD, "negative": "cd", "centre": False}


@pytest.mark.parametrize(("model", "spec"), [(PCD, IMAGE), (CD, IMAGE), ({**PCD, "hidden": 5}, ROW)])
def test_battery(model, spec):
    check_family(RBM, model, spec, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(RBM, PCD, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def random_machine(size: int = 6, hidden: int = 5, spec: Spec | None = None, **model: object) -> RBM:
    net = build(RBM, {"hidden": hidden, **model}, spec or Spec(shape=(size,), levels=2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return net.requires_grad_(False)


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def test_free_energy_is_the_sum_over_hidden_states_and_probabilities_sum_to_one():
    net = random_machine()
    v, h = states(6), states(5)
    joint = torch.einsum("vi,ij,hj->vh", v, net.w, h) + (v @ net.b)[:, None] + h @ net.c
    torch.testing.assert_close(net.energy(Batch(x=v)), -joint.logsumexp(1))
    assert net.log_prob_is == "exact"
    assert abs(float(net.log_prob(Batch(x=v)).logsumexp(0))) < 1e-5
    assert net.log_partition() == (pytest.approx(float(joint.logsumexp((0, 1))), abs=1e-5), 0.0)


def test_the_smaller_layer_may_be_either():
    wide, tall = random_machine(4, 9), random_machine(9, 4)
    for net in (wide, tall):
        size = net.spec.size
        assert abs(float(net.log_prob(Batch(x=states(size))).logsumexp(0))) < 1e-4


def test_the_closed_form_gradient_is_that_of_autograd():
    net = random_machine(negative="pcd", centre=False, chains=4)
    batch = fake(net.spec, 16)
    net.memory.v.copy_(states(6)[[3, 17, 40, 63]])
    net.requires_grad_(True)
    mine = torch.autograd.grad(net.contrast(batch, Progress()).total, [net.w, net.b, net.c])

    def free(v: Tensor) -> Tensor:
        return -(v @ net.b) - torch.nn.functional.softplus(v @ net.w + net.c).sum(1)

    theirs = torch.autograd.grad(free(batch.x).mean() - free(net.memory.v).mean(), [net.w, net.b, net.c])
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b)


def test_the_centred_gradient_is_that_of_the_centred_machine():
    """E = -(v-mu)'W(h-lam) - b'(v-mu) - c'(h-lam) stepped along its own gradient is the plain machine stepped along ours."""
    net = random_machine(negative="pcd", chains=4)
    net.memory.v.copy_(states(6)[[3, 17, 40, 63]])
    mu, lam = torch.linspace(0.1, 0.8, 6), torch.linspace(0.3, 0.9, 5)
    net.mu.copy_(mu), net.lam.copy_(lam)
    batch = fake(net.spec, 16)
    net.requires_grad_(True)
    dw, db, dc = torch.autograd.grad(net.contrast(batch, Progress()).total, [net.w, net.b, net.c])
    w, b, c = (p.detach().clone() for p in (net.w, net.b, net.c))
    centred = [w.clone(), b + w @ lam, c + mu @ w]  # the same machine in centred coordinates
    for p in centred:
        p.requires_grad_(True)

    def free(v: Tensor) -> Tensor:
        w_, b_, c_ = centred
        return -((v - mu) @ b_) + lam @ c_ - torch.nn.functional.softplus((v - mu) @ w_ + c_).sum(1) + (v - mu) @ w_ @ lam

    gw, gb, gc = torch.autograd.grad(free(batch.x).mean() - free(net.memory.v).mean(), centred)
    rate = 0.1
    w_, b_, c_ = w - rate * gw, centred[1].detach() - rate * gb, centred[2].detach() - rate * gc
    torch.testing.assert_close(w - rate * dw, w_)
    torch.testing.assert_close(b - rate * db, b_ - w_ @ lam, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(c - rate * dc, c_ - mu @ w_, atol=1e-5, rtol=1e-5)


def train(net: RBM, x: Tensor, steps: int, lr: float, batch: int, seed: int = 0, ema: float = 0.99) -> RBM:
    """The loop alone, on rows of x drawn anew for each step; the average of the weights at the end."""
    settings = Train(steps=steps, batch=batch, seed=seed, optimizer="sgd", betas=(0.0, 0.999), lr=lr, decay="linear")
    rows = torch.randint(len(x), (steps, batch), generator=torch.Generator().manual_seed(seed))
    average = EMA(net.train(), ema)
    loop.fit(net, lambda i: Batch(x=x[rows[i]]), loop.Setting(settings), lambda stage, at, *rest: bool(average.update(at.step)))
    average.ship()
    return net.eval()


def variation(net: RBM, truth: bars.Bars) -> float:
    """Total variation between the model and the truth: the sum over patterns of what the model lacks."""
    return float((truth.log_prob(truth.support()).exp() - net.log_prob(Batch(x=truth.support())).double().exp()).clamp(min=0).sum())


def test_bars_and_stripes_are_learned():
    """By total variation from the truth; and samples land on patterns as often as the model's exact probabilities say."""
    truth = bars.Bars(3)
    net = build(RBM, {"hidden": 24, "chains": 50, "gibbs": 2}, Spec(shape=(1, 3, 3), levels=2, media="image"))
    before = variation(net, truth)
    train(net, truth.draw(10_000, 0), 800, 0.5, 50)
    with torch.no_grad():
        after = variation(net, truth)
        mass = float(net.log_prob(Batch(x=truth.support())).exp().sum())
    assert before > 0.9
    assert after < 0.3
    share = float(torch.isfinite(truth.log_prob(draw(net, 2000, chunk=2000))).float().mean())
    assert abs(share - mass) < 0.08


def test_samples_meet_far_modes_as_often_as_the_model_has_it():
    """Two modes that Gibbs steps do not cross: all on, or all off, three to one."""
    net = random_machine(12, 2)
    with torch.no_grad():
        net.w.fill_(2.0), net.c.fill_(-12.0), net.b.fill_(-2.0 + math.log(3) / 12)
        x = draw(net, 2000, chunk=1000)
        both = net.log_prob(Batch(x=torch.stack([torch.zeros(12), torch.ones(12)])))
        share = (net.log_prob(Batch(x=states(12))).exp() * (states(12).mean(1) > 0.5)).sum()
    assert float(both.max() - both.min()) > 0.5
    assert abs(float((x.mean(1) > 0.5).float().mean() - share)) < 0.08


def test_the_pseudo_likelihood_is_that_of_the_conditionals():
    """Each pixel given the others, from the exact joint probabilities."""
    net, x = random_machine(), states(6)[[3, 17, 40]]
    p = {tuple(v.tolist()): q for v, q in zip(states(6), net.log_prob(Batch(x=states(6))).exp(), strict=True)}
    nats = 0.0
    for row in x:
        for i in range(6):
            other = row.clone()
            other[i] = 1 - row[i]
            own, flipped = float(p[tuple(row.tolist())]), float(p[tuple(other.tolist())])
            nats -= math.log(own / (own + flipped)) / len(x)
    found = pseudo.measure(Case(spec=net.spec, reference=Batch(x=x), energy=net.energy))
    assert found.value == pytest.approx(nats, rel=1e-4)


def test_log_z_is_computed_once_and_anew_when_the_weights_move():
    net = random_machine(30, 25, ais_chains=4, ais_steps=5)
    assert net.log_prob_is == "AIS"
    first = net.log_partition()
    assert net.log_partition() is first
    with torch.no_grad():
        net.c.add_(1)
    assert net.log_partition() != first


def test_imputing_follows_the_conditional():
    """P(v_2 | v_1 = 1) by clamped Gibbs steps equals the exact conditional."""
    net = random_machine(3, 2, spec=Spec(shape=(3,), levels=2))
    n = 4000
    seen = torch.tensor([True, False, False]).expand(n, 3)
    with torch.no_grad(), noise.stream(0):
        x = net.impute(Batch(x=torch.ones(n, 3), mask=seen), RBM.Draw(steps=20))
        p = net.log_prob(Batch(x=states(3))).exp()
    held = states(3)[:, 0] == 1
    exact = (p * held * states(3)[:, 1]).sum() / (p * held).sum()
    assert abs(float(x[:, 1].mean() - exact)) < 0.04


def test_grey_pictures_are_probabilities_and_have_no_likelihood():
    grey = Spec(shape=(1, 3, 3), levels=17, media="image")
    net = build(RBM, {"hidden": 4}, grey)
    x = draw(net, 4)
    assert x.min() >= 0
    assert 0 < float(x.mean()) < 1
    with pytest.raises(GenctlError, match="grey"):
        net.log_prob(fake(grey, 2))
    with pytest.raises(GenctlError, match="continuous"):
        build(RBM, {"visible": "bernoulli"}, Spec(shape=(2,)))
    with pytest.raises(GenctlError, match="no order"):
        build(RBM, {}, Spec(shape=(4,), vocab=5, end=0))


def test_weights_that_were_brought_along_keep_their_biases():
    net = random_machine(negative="cd").train()
    bias = net.b.detach().clone()
    with torch.no_grad(), noise.stream(0):
        net.advance(fake(net.spec, 8), Progress())
    assert torch.equal(net.b, bias)
