"""dbm: the battery, and its truths by enumeration: bound, gradient, conditionals; bars are learned from both layers at once."""

import itertools

import pytest
import torch
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars
from genctl.errors import GenctlError
from genctl.families.energy.dbm import DBM, score
from genctl.maths import gibbs, noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, draw, fake

IMAGE = Spec(shape=(1, 5, 5), levels=2, media="image")
SMALL = {"hidden": [12, 8], "chains": 8, "settle": 3, "ais_chains": 8, "ais_steps": 10}


@pytest.mark.parametrize(("model", "spec"), [(SMALL, IMAGE), ({**SMALL, "hidden": [4, 3], "gibbs": 2}, Spec(shape=(7,), levels=2))])
def test_battery(model, spec):
    check_family(DBM, model, spec, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DBM, SMALL, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def random_machine(visible: int = 4, first: int = 3, second: int = 2, size: float = 1.0, **model: object) -> DBM:
    net = build(DBM, {"hidden": [first, second], **model}, Spec(shape=(visible,), levels=2))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return net.requires_grad_(False)


def joint(net: DBM, w: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The score of every (v, h1, h2), from the two layers' own matrices, term by term."""
    v, h1, h2 = states(net.seen), states(len(net.b)), states(len(net.c) - net.seen)
    w1, w2, cv, c2 = w[:, : net.seen].t(), w[:, net.seen :], c[: net.seen], c[net.seen :]
    low = torch.einsum("ai,ij,bj->ab", v, w1, h1) + (v @ cv)[:, None] + h1 @ b
    return low[:, :, None] + torch.einsum("bj,jk,ck->bc", h1, w2, h2) + h2 @ c2


def test_the_bound_is_below_the_sum_over_all_states_in_expectation_and_meets_it():
    net = random_machine(size=2)
    every = joint(net, net.w, net.b, net.c)
    true = every.logsumexp((1, 2)) - every.logsumexp((0, 1, 2))
    assert net.log_partition() == (pytest.approx(float(every.logsumexp((0, 1, 2))), abs=1e-4), 0.0)
    for k, high in ((1, 0.5), (2000, 0.01)):
        net = random_machine(size=2, importance=k)
        with noise.stream(0):
            gap = true - net.log_prob(Batch(x=states(4).repeat(4000 // k, 1))).view(-1, 16).mean(0)
        assert gap.min() > -0.003
        assert gap.max() < high
        assert k > 1 or gap.mean() > 0.001


def test_the_mean_field_is_a_fixed_point_that_no_nearby_means_beat():
    net = random_machine()

    def bound(m: Tensor, n: Tensor) -> Tensor:
        entropy = torch.distributions.Bernoulli(torch.cat([m, n], 1)).entropy().sum(1)
        return score(net.layers, m, torch.cat([states(4), n], 1)) + entropy

    m, n = net.settle(states(4), 200)
    with noise.stream(0):
        for _ in range(20):
            p, q = ((t + 0.05 * noise.randn(*t.shape)).clamp(0.001, 0.999) for t in (m, n))
            assert (bound(p, q) <= bound(m, n) + 1e-5).all()


def test_the_gradient_is_that_of_the_bound():
    """-E_q log sum_h2 p*(v, h1, h2) + log Z by enumeration, q(h1) held; with chains that have forgotten their start, centres at zero."""
    net = random_machine(chains=40_000, gibbs=20)
    net.mu.zero_(), net.lam.zero_()
    x = states(4)[[1, 3, 3, 10, 15]]
    m = net.settle(x, net.config.settle)[0]
    q = torch.distributions.Bernoulli(m[:, None]).log_prob(states(3)).sum(2).exp()  # (B, 2^H1)
    w, b, c = (p.detach().clone().requires_grad_(True) for p in (net.w, net.b, net.c))
    every = joint(net, w, b, c)
    loss = every.logsumexp((0, 1, 2)) - (q * every.logsumexp(2)[[1, 3, 3, 10, 15]]).sum(1).mean()
    wanted = torch.autograd.grad(loss, [w, b, c])
    with torch.no_grad(), noise.stream(0):
        net.advance(Batch(x=x), Progress(1, 2))
    net.requires_grad_(True)
    with noise.stream(1):
        found = torch.autograd.grad(net.contrast(Batch(x=x.repeat(8000, 1)), Progress()).total, [net.w, net.b, net.c])
    for mine, other in zip(found, wanted, strict=True):
        assert (mine - other).abs().max() < 0.01


def test_samples_and_what_is_imputed_have_the_models_distribution():
    net = random_machine()
    p = joint(net, net.w, net.b, net.c).flatten().softmax(0).view(16, -1).sum(1)
    place = torch.tensor([8.0, 4.0, 2.0, 1.0])
    x = draw(net, 20_000, chunk=20_000)
    assert (torch.bincount((x @ place).long(), minlength=16) / 20_000 - p).abs().max() < 0.02
    n = 8000
    seen = torch.tensor([True, False, False, False]).expand(n, 4)
    with torch.no_grad(), noise.stream(0):
        x = net.impute(Batch(x=torch.ones(n, 4), mask=seen), DBM.Draw(steps=30))
    held = p[8:] / p[8:].sum()
    assert (torch.bincount((x @ place).long() - 8, minlength=8) / n - held).abs().max() < 0.03


def test_log_z_by_annealing_is_the_exact_one():
    net = random_machine(14, 21, 8, size=0.3, ais_chains=200, ais_steps=300)
    value, error = net.log_partition()
    w, b, c = net.w, net.b, net.c
    assert 0 < error < 0.1
    assert abs(value - gibbs.exact(gibbs.Layers(w, b, c, net.mu))) < 4 * error


def test_log_z_is_computed_once_and_anew_when_an_optimiser_moved_the_weights():
    net = random_machine().requires_grad_(True)
    first = net.log_partition()
    assert net.log_partition() is first
    net.b.grad = torch.ones_like(net.b)
    torch.optim.SGD([net.b], lr=0.1, fused=True).step()
    assert net.log_partition() != first


def test_bars_and_stripes_are_learned_by_both_layers_at_once():
    """The bound of KL(truth | model), which the second layer must take part in."""
    truth = bars.Bars(3)
    net = build(DBM, {"hidden": [12, 8], "chains": 500, "gibbs": 5}, Spec(shape=(1, 3, 3), levels=2, media="image")).train()
    x = truth.support()
    settings = Train(steps=1500, batch=len(x), optimizer="sgd", betas=(0.0, 0.999), lr=0.5, decay="linear")
    loop.fit(net, lambda i: Batch(x=x), loop.Setting(settings), lambda *step: False)
    with torch.no_grad(), noise.stream(0):
        kl = float((truth.log_prob(x) - net.eval().log_prob(Batch(x=x))).mean())
    assert 0 < kl < 0.1
    assert net.w[:, 9:].abs().max() > 0.1


def test_what_it_cannot_do_is_said():
    with pytest.raises(GenctlError, match="binary"):
        build(DBM, {}, Spec(shape=(3,)))
    with pytest.raises(GenctlError, match=r"model\.hidden"):
        build(DBM, {"hidden": [4, 0]}, IMAGE)
    net = random_machine().train()
    bias = net.c.detach().clone()
    with torch.no_grad(), noise.stream(0):
        net.advance(fake(net.spec, 8), Progress())
    assert torch.equal(net.c, bias)
