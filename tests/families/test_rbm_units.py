"""rbm on coins, numbers, levels, symbols and mixed rows: its truths by enumeration, and those of every way to draw fantasies."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars
from genctl.errors import GenctlError
from genctl.families.energy.rbm import RBM
from genctl.maths import gibbs, noise
from genctl.metrics import Case, mixing
from tests.battery import build, check_family, check_resume, draw, fake
from tests.families.test_rbm import ROW, random_machine, states, train

TABLE = Spec(shape=(5,), blocks=(1, 3, 1), media="table")
SPECS = {
    "bernoulli": (Spec(shape=(4,), levels=2), (2,) * 4),
    "levels": (Spec(shape=(2,), levels=3), (3, 3)),
    "symbols": (Spec(shape=(2,), vocab=3), (3, 3)),
    "gaussian": (Spec(shape=(2,)), (1, 1)),
    "mixed": (TABLE, TABLE.blocks),
}  # and what the entries of x are: coins, numbers, one-hots
SMALL = {"hidden": 6, "chains": 8, "ais_chains": 4, "ais_steps": 5}


def machine(name: str, hidden: int = 3, **model: object) -> RBM:
    visible = {"levels": "categorical"}.get(name, "auto")
    return random_machine(hidden=hidden, spec=SPECS[name][0], visible=visible, **model)


def everything(name: str) -> Tensor:
    """Every x there is; numbers on a grid of cells of width 0.1."""
    line = torch.arange(-9, 9, 0.1)
    if name == "bernoulli":
        return states(4)
    if name in ("levels", "symbols"):
        pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        return pairs / 2 if name == "levels" else pairs
    if name == "gaussian":
        return torch.cartesian_prod(line, line)
    return torch.stack([torch.cat([a[None], F.one_hot(k, 3), b[None]]) for a, k, b in itertools.product(line, torch.arange(3), line)])


def log_z(name: str, w: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The sum over all h of what the visible units add up to, from the definition of each."""
    h, of = states(len(c)), SPECS[name][1]
    a = torch.addmm(b, h, w.t())
    if name == "bernoulli":
        return (h @ c + F.softplus(a).sum(1)).logsumexp(0)
    parts = [p.square()[:, 0] / 2 + math.log(2 * math.pi) / 2 if k == 1 else p.logsumexp(1) for p, k in zip(a.split(list(of), 1), of)]
    return (h @ c + sum(parts)).logsumexp(0)


def scores(net: RBM, x: Tensor, w: Tensor, b: Tensor, c: Tensor, log_sigma: Tensor | None) -> Tensor:
    """log of the unnormalised density of x (n,), as a sum over all h: what training differentiates in closed form."""
    v = net.reader.read(x)
    if log_sigma is not None:
        at = list(net.reader.numbers)
        v = v.index_copy(1, torch.tensor(at), v[:, at] / log_sigma.exp())
    h = states(len(c))
    joint = v @ w @ h.t() + (v @ b)[:, None] + h @ c
    numbers = v[:, list(net.reader.numbers)].square().sum(1) / 2
    return joint.logsumexp(1) - numbers - (log_sigma.sum() if log_sigma is not None else 0)


@pytest.mark.parametrize("name", SPECS)
def test_probabilities_sum_to_one(name):
    net, x = machine(name), everything(name)
    if net.log_sigma is not None:
        net.log_sigma.mul_(0.3)
    cell = 0.1 ** len(net.reader.numbers)
    assert net.log_prob_is == "exact"
    assert net.log_partition()[0] == pytest.approx(float(log_z(name, net.w, net.b, net.c)), abs=1e-5)
    torch.testing.assert_close(net.energy(Batch(x=x[:50])), -scores(net, x[:50], net.w, net.b, net.c, net.log_sigma), atol=1e-4, rtol=1e-5)
    assert float(net.log_prob(Batch(x=x)).exp().sum() * cell) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("negative", ["pcd", "fpcd", "tempering"])
@pytest.mark.parametrize("name", SPECS)
def test_the_gradient_is_that_of_the_likelihood(name, negative):
    """Of chains that have forgotten their start."""
    net = machine(name, negative=negative, chains=20_000, gibbs=30, rungs=3, fast=0.0, centre=False)
    for p in net.parameters():
        p.mul_(0.5)
    batch = fake(net.spec, 8)
    with torch.no_grad(), noise.stream(0):
        net.memory.v.copy_(net.layers.start(net.memory.v.shape[:-1].numel()).view_as(net.memory.v))
        if negative == "pcd":
            net.memory.p.copy_(net.layers.up(net.memory.v).sigmoid())
        net.advance(batch, Progress(1, 2))
    net.requires_grad_(True)
    w, b, c, *sigma = parameters = list(net.parameters())
    nll = log_z(name, w, b, c) - scores(net, batch.x, w, b, c, *sigma or [None]).mean()
    mine = torch.autograd.grad(net.contrast(batch, Progress(1, 2)).total, parameters)
    for found, wanted in zip(mine, torch.autograd.grad(nll, parameters), strict=True):
        torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", SPECS)
def test_battery(name):
    check_family(RBM, {**SMALL, "visible": {"levels": "categorical"}.get(name, "auto")}, SPECS[name][0], descends=False)


@pytest.mark.parametrize("way", ["fpcd", "tempering"])
def test_battery_and_exact_resume_of_every_way_to_draw_fantasies(way, tmp_path):
    model = {**SMALL, "negative": way, "rungs": 3, "sparsity": 0.1}
    check_family(RBM, model, ROW, descends=False)
    check_resume(RBM, model, TABLE, tmp_path)


@pytest.mark.parametrize("name", ["bernoulli", "levels", "symbols"])
@pytest.mark.parametrize("rungs", [1, 4])
def test_draws_have_the_models_distribution(name, rungs):
    net, n, x = machine(name), 20_000, everything(name)
    with torch.no_grad(), noise.stream(0):
        found = net.sample(n, RBM.Draw(steps=60, rungs=rungs))
    share = (found[:, None] == x).all(2).float().mean(0)
    assert (share - net.log_prob(Batch(x=x)).exp()).abs().max() < 0.015


@pytest.mark.parametrize("name", ["gaussian", "mixed"])
def test_draws_have_the_models_moments(name):
    net, x = machine(name), everything(name)
    for p in (net.w, net.b, net.log_sigma):
        p.mul_(0.3)
    p = net.log_prob(Batch(x=x)).exp()[:, None] * 0.1 ** len(net.reader.numbers)
    found = draw(net, 20_000, chunk=20_000)
    torch.testing.assert_close(found.mean(0), (p * x).sum(0), atol=0.03, rtol=0)
    torch.testing.assert_close(found.square().mean(0), (p * x.square()).sum(0), atol=0.06, rtol=0.03)


def test_imputing_symbols_follows_the_conditional():
    net, n = machine("symbols"), 4000
    with torch.no_grad(), noise.stream(0):
        seen = torch.tensor([True, False]).expand(n, 2)
        x = net.impute(Batch(x=torch.full((n, 2), 2), mask=seen), RBM.Draw(steps=20))
    p = net.log_prob(Batch(x=everything("symbols"))).exp()[6:]
    share = torch.bincount(x[:, 1], minlength=3) / n
    assert (x[:, 0] == 2).all()
    assert (share - p / p.sum()).abs().max() < 0.03


def test_gibbs_steps_keep_detailed_balance():
    """T(v, v') = sum_h p(h | v) p(v' | h) from the sampler's own conditionals; and the sampler moves as T has it."""
    net, v = random_machine(3, 2), states(3)
    layers, h, n = net.layers, states(2), 40_000

    def chance(p: Tensor, bits: Tensor) -> Tensor:
        return (p[:, None] * bits + (1 - p[:, None]) * (1 - bits)).prod(2)

    t = chance(layers.up(v).sigmoid(), h) @ chance(layers.down(h), v)
    flow = net.log_prob(Batch(x=v)).exp()[:, None] * t
    torch.testing.assert_close(flow, flow.t())
    with noise.stream(0):
        for start in (0, 5):
            ends = layers.step(layers.up(v[start].expand(n, -1))) @ torch.tensor([4.0, 2.0, 1.0])
            assert (torch.bincount(ends.long(), minlength=8) / n - t[start]).abs().max() < 0.01


def test_swaps_of_tempered_chains_keep_detailed_balance():
    """p(x, y) A(x, y) = p(y, x) A(y, x) for all pairs of states at two temperatures, A counted from the sampler."""
    net, v, n = random_machine(2, 2), states(2), 4000
    layers, betas = net.layers, torch.tensor([0.3, 1.0])
    a = layers.up(v)
    hot, cold = (layers.increment(v, a, 0.0, float(beta)).exp() * (v @ layers.base).exp() for beta in betas)
    x, y = torch.cartesian_prod(torch.arange(4), torch.arange(4)).t()
    pair = torch.stack([v[x], v[y]], 1).repeat_interleave(n, 0)
    with noise.stream(0):
        after = gibbs.swap(layers, pair, layers.up(pair.flatten(0, 1)).view(len(pair), 2, -1), betas, odd=False)
    moved = (after != pair).flatten(1).any(1).float().view(16, n).mean(1)
    flow = (hot / hot.sum())[x] * (cold / cold.sum())[y] * moved
    differ = x != y
    assert moved[differ].max() == 1
    assert (flow.view(4, 4) - flow.view(4, 4).t()).abs().max() < 0.004
    assert flow[differ].max() > 0.02


def two_modes() -> RBM:
    """All on or all off, three to one: what Gibbs steps do not cross."""
    net = random_machine(12, 2)
    net.w.fill_(4.0), net.c.fill_(-24.0), net.b.fill_(-4.0 + math.log(3) / 12)
    return net


def test_tempered_chains_cross_where_gibbs_steps_do_not():
    """From one mode alone: by the share of the other after 300 steps, and by the metric of mixing on the same chains."""
    net, layers = two_modes(), two_modes().layers
    exact = float((net.log_prob(Batch(x=states(12))).exp() * (states(12).mean(1) > 0.5)).sum())
    share, found = {}, {}
    for rungs in (1, 8):
        with noise.stream(0):
            chains = torch.stack(list(itertools.islice(gibbs.walk(layers, torch.zeros(200, 12), rungs), 400)))
        share[rungs] = float((chains[-100:].mean(2) > 0.5).float().mean())
        found[rungs] = mixing.measure(Case(spec=net.spec, reference=Batch(x=states(12)), chains=chains, predict=by_half))
    assert share[1] < 0.25 * exact
    assert abs(share[8] - exact) < 0.05
    assert found[8].value > 10 * found[1].value
    assert found[8].fields["switch_rate"] > 10 * found[1].fields["switch_rate"]
    assert found[8].fields["classes"] == 2


def by_half(x: Tensor) -> Tensor:
    """Probabilities (n, 2) of two classes: few on, or many."""
    return F.one_hot((x.mean(1) > 0.5).long(), 2).float()


SLOW = pytest.mark.slow
WAYS = [
    ("pcd", 500, 5, 1200, 0.5),
    pytest.param("fpcd", 500, 5, 1200, 0.5, marks=SLOW),
    ("tempering", 100, 1, 800, 1.0),
    pytest.param("cd", 100, 2, 1000, 1.0, marks=SLOW),
]


@pytest.mark.parametrize(("way", "chains", "steps", "updates", "lr"), WAYS)
def test_bars_and_stripes_to_a_tenth_of_a_nat(way, chains, steps, updates, lr):
    """KL(truth | model), exact on both sides."""
    truth = bars.Bars(3)
    model = {"hidden": 24, "negative": way, "chains": chains, "gibbs": steps, "rungs": 5}
    net = build(RBM, model, Spec(shape=(1, 3, 3), levels=2, media="image"))
    train(net, truth.support(), updates, lr, 56)
    with torch.no_grad():
        kl = float((truth.log_prob(truth.support()) - net.log_prob(Batch(x=truth.support()))).mean())
    assert 0 < kl < 0.1


def test_sparsity_quiets_the_hidden_units():
    x = bars.Bars(3).draw(2000, 0)
    on = {}
    for cost in (0.0, 0.5):
        net = build(RBM, {"hidden": 16, "chains": 50, "sparsity": cost, "active": 0.1}, Spec(shape=(1, 3, 3), levels=2, media="image"))
        on[cost] = float(train(net, x, 300, 0.2, 50).encode(Batch(x=x)).mean())
    assert on[0.0] > 0.3
    assert on[0.5] < 0.2


def test_what_it_cannot_model_is_said():
    with pytest.raises(GenctlError, match="gaussian: this data is symbols"):
        build(RBM, {"visible": "gaussian"}, SPECS["symbols"][0])
    with pytest.raises(GenctlError, match="visible units, limit"):
        build(RBM, {"visible": "categorical"}, Spec(shape=(3, 64, 64), levels=256, media="image"))
    with pytest.raises(GenctlError, match="no likelihood of grey"):
        build(RBM, {"visible": "gaussian", "hidden": 3}, Spec(shape=(1, 3, 3), levels=17, media="image")).log_prob(
            fake(Spec(shape=(1, 3, 3), levels=17), 2)
        )
