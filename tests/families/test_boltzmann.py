"""boltzmann: the battery, and its truths by enumeration: gradient, conditionals, detailed balance, the restricted machine as a special case."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars
from genctl.errors import GenctlError
from genctl.families.energy.boltzmann import Boltzmann
from genctl.families.energy.rbm import RBM
from genctl.maths import boltzmann, noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, draw, fake

ROW = Spec(shape=(7,), levels=2)
IMAGE = Spec(shape=(1, 5, 5), levels=2, media="image")
WALK = {"hidden": 12, "chains": 8, "settle": 2, "ais_chains": 8, "ais_steps": 10}


@pytest.mark.parametrize(
    ("model", "spec"), [({"hidden": 3}, ROW), (WALK, IMAGE), ({**WALK, "hidden": 4, "learn": "gibbs", "lateral": "visible"}, IMAGE)]
)
def test_battery(model, spec):
    check_family(Boltzmann, model, spec, lr=1e-2, descends=model == {"hidden": 3})


def test_resume_is_exact(tmp_path):
    check_resume(Boltzmann, WALK, IMAGE, tmp_path)


def random_machine(visible: int, hidden: int, size: float = 1.0, **model: object) -> Boltzmann:
    net = build(Boltzmann, {"hidden": hidden, **model}, Spec(shape=(visible,), levels=2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return net.requires_grad_(False)


def all_states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def scores(net: Boltzmann, w: Tensor, b: Tensor) -> Tensor:
    """sum_{i<j} w_ij s_i s_j + b's of every state, term by term."""
    s = all_states(len(b))
    return sum((w[k] * s[:, i] * s[:, j] for k, (i, j) in enumerate(zip(net.i.tolist(), net.j.tolist()))), s @ b)


@pytest.mark.parametrize("lateral", ["all", "visible", "hidden", "none"])
def test_probabilities_are_sums_over_all_states(lateral):
    net = random_machine(4, 3, lateral=lateral)
    every = scores(net, net.w, net.b)
    torch.testing.assert_close(net.machine.table().float(), every)
    torch.testing.assert_close(net.energy(Batch(x=all_states(4))), -every.view(16, 8).logsumexp(1))
    torch.testing.assert_close(net.log_prob(Batch(x=all_states(4))), every.view(16, 8).logsumexp(1) - every.logsumexp(0))
    assert net.log_prob_is == "exact"


@pytest.mark.parametrize("hidden", [0, 3])
def test_the_exact_gradient_is_that_of_the_likelihood(hidden):
    net = random_machine(4, hidden)
    x = all_states(4)[[1, 3, 3, 10, 15]]
    w, b = (p.detach().clone().requires_grad_(True) for p in (net.w, net.b))
    every = scores(net, w, b).view(16, -1)
    nll = every.flatten().logsumexp(0) - every.logsumexp(1)[boltzmann.place(x)].mean()
    theirs = torch.autograd.grad(nll, [w, b])
    net.requires_grad_(True)
    loss = net.contrast(Batch(x=x), Progress()).total
    torch.testing.assert_close(loss, nll)
    for mine, other in zip(torch.autograd.grad(loss, [net.w, net.b]), theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


def test_drawn_and_mean_field_gradients_are_near_the_exact_one():
    """With chains that have forgotten their start; mean field where hidden units hang together loosely."""
    exact = random_machine(4, 3, 0.5)
    x = all_states(4)[[1, 3, 10, 15]].repeat(500, 1)
    exact.requires_grad_(True)
    wanted = torch.autograd.grad(exact.contrast(Batch(x=x), Progress()).total, [exact.w, exact.b])
    for learn in ("gibbs", "mean-field"):
        net = random_machine(4, 3, 0.5, learn=learn, chains=4000, gibbs=20)
        with torch.no_grad(), noise.stream(0):
            net.advance(Batch(x=x), Progress(1))
        net.requires_grad_(True)
        with noise.stream(1):
            found = torch.autograd.grad(net.contrast(Batch(x=x), Progress()).total, [net.w, net.b])
        for a, b in zip(found, wanted, strict=True):
            assert (a - b).abs().max() < 0.05


def test_one_unit_drawn_keeps_detailed_balance_and_a_sweep_keeps_the_distribution():
    """The transition matrix of each unit's update, from its own conditional: p(s) T(s, t) = p(t) T(t, s); a sweep is their product."""
    net = random_machine(3, 1)
    machine, s = net.machine, all_states(4)
    p = machine.table().softmax(0)
    whole = torch.eye(16, dtype=torch.float64)
    for k in range(4):
        t = torch.zeros(16, 16, dtype=torch.float64)
        on = torch.addmm(machine.b[k : k + 1], s, machine.w[:, k : k + 1]).sigmoid()[:, 0].double()
        for row in range(16):
            up, down = s[row].clone(), s[row].clone()
            up[k], down[k] = 1, 0
            t[row, boltzmann.place(up)] += on[row]
            t[row, boltzmann.place(down)] += 1 - on[row]
        flow = p[:, None] * t
        torch.testing.assert_close(flow, flow.T)
        whole = whole @ t
    torch.testing.assert_close(p @ whole, p)
    n = 20_000
    with noise.stream(0):  # and the sampler's own transitions are those of the product
        for start in (0, 9):
            ends = boltzmann.place(machine.sweep(s[start].expand(n, -1)))
            assert (torch.bincount(ends, minlength=16) / n - whole[start]).abs().max() < 0.02


def test_without_lateral_connections_it_is_a_restricted_machine():
    net = random_machine(5, 4, lateral="none")
    other = build(RBM, {"hidden": 4}, Spec(shape=(5,), levels=2)).requires_grad_(False)
    other.w.copy_(net.machine.w[:5, 5:]), other.b.copy_(net.b[:5]), other.c.copy_(net.b[5:])
    batch = Batch(x=all_states(5))
    torch.testing.assert_close(net.log_prob(batch), other.log_prob(batch), atol=1e-5, rtol=1e-5)
    assert len(net.machine.blocks) == 2


def test_large_machines_are_estimated_and_bounded():
    """AIS of 21 units, and mean field's bound of 11 hidden ones, against the table that enumerates them."""
    net = random_machine(10, 11, 0.3, ais_chains=200, ais_steps=300)
    exact = float(net.machine.table().logsumexp(0))
    value, error = net.log_partition()
    assert net.log_prob_is == "bound"
    assert 0 < error < 0.05
    assert abs(value - exact) < 4 * error
    x = all_states(10)[::100]
    bound = -net.energy(Batch(x=x))
    true = net.machine.table().view(2**10, -1).logsumexp(1)[::100].float()
    assert (bound <= true + 1e-4).all()
    assert (true - bound).max() < 1


def test_exact_draws_and_chains_have_the_models_distribution():
    net = random_machine(4, 3)
    p = net.log_prob(Batch(x=all_states(4))).exp()
    assert (torch.bincount(boltzmann.place(draw(net, 20_000, chunk=20_000)), minlength=16) / 20_000 - p).abs().max() < 0.02
    net.exact = False
    assert (torch.bincount(boltzmann.place(draw(net, 20_000, chunk=20_000)), minlength=16) / 20_000 - p).abs().max() < 0.02


def test_imputing_follows_the_conditional():
    net = random_machine(3, 2)
    n = 4000
    seen = torch.tensor([True, False, False]).expand(n, 3)
    with torch.no_grad(), noise.stream(0):
        x = net.impute(Batch(x=torch.ones(n, 3), mask=seen), Boltzmann.Draw(steps=20))
        p = net.log_prob(Batch(x=all_states(3))).exp()
    held = all_states(3)[:, 0] == 1
    assert abs(float(x[:, 1].mean() - (p * held * all_states(3)[:, 1]).sum() / (p * held).sum())) < 0.04


def test_bars_and_stripes_are_learned_to_a_tenth_of_a_nat():
    """KL(truth | model), exact on both sides."""
    truth = bars.Bars(3)
    net = build(Boltzmann, {"hidden": 5}, Spec(shape=(1, 3, 3), levels=2, media="image")).train()
    x = truth.support()
    settings = Train(steps=300, batch=len(x), lr=0.05, decay="linear")
    loop.fit(net, lambda i: Batch(x=x), loop.Setting(settings), lambda *step: False)
    with torch.no_grad():
        kl = float((truth.log_prob(x) - net.eval().log_prob(Batch(x=x))).mean())
    assert 0 < kl < 0.1


def test_what_it_cannot_do_is_said():
    with pytest.raises(GenctlError, match="binary"):
        build(Boltzmann, {}, Spec(shape=(3,)))
    with pytest.raises(GenctlError, match="21 units, limit 20"):
        build(Boltzmann, {"hidden": 14, "learn": "exact"}, ROW)
    with torch.no_grad(), noise.stream(0):
        net = random_machine(4, 3).train()
        net.advance(fake(Spec(shape=(4,), levels=2), 8), Progress())
    assert math.isfinite(float(net.b.sum()))
