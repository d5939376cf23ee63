"""dbn: the battery, and its truths by enumeration: the bound, the wake and the sleep, drawing; bars are learned."""

import itertools

import pytest
import torch
from torch import Tensor

from genctl.contract import Batch, Progress, Spec
from genctl.data import bars
from genctl.errors import GenctlError
from genctl.families.energy.dbn import DBN
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from genctl.training.ema import EMA
from tests.battery import build, check_family, check_resume, draw, fake

IMAGE = Spec(shape=(1, 5, 5), levels=2, media="image")
SMALL = {"hidden": [12, 8], "chains": 8, "gibbs": 2, "ais_chains": 8, "ais_steps": 10}
DEEP = {**SMALL, "hidden": [6, 5, 4]}
LABELLED = Spec(shape=(4,), levels=2, given={"label": Spec(shape=(), vocab=3)})


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (SMALL, IMAGE),
        ({**DEEP, "conditional": True, "negative": "tempering", "rungs": 3}, LABELLED),
        ({**SMALL, "refine": 0.0, "negative": "cd"}, IMAGE),
    ],
)
def test_battery(model, spec):
    check_family(DBN, model, spec, descends=False)


@pytest.mark.parametrize("cut", [2, 4, 7], ids=["the first layer", "the second", "wake-sleep"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DBN, SMALL, IMAGE, tmp_path, cut=cut, steps=9, batch=8)


def states(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


def random_net(size: float = 1.0, hidden: tuple[int, ...] = (3, 2), **model: object) -> DBN:
    net = build(DBN, {"hidden": hidden, **model}, LABELLED)
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(size * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    return net.requires_grad_(False)


def joint(net: DBN) -> Tensor:
    """log p(v, h1) of every v and h1, v given h1 by the weights down and h1 from the top, coin by coin."""
    v, h1, h2 = states(4), states(3), states(2)
    w, b, c = net.top.w, net.top.b, net.top.c
    prior = (h1 @ w @ h2.t() + (h1 @ b)[:, None] + h2 @ c).flatten().log_softmax(0).view(8, 4).logsumexp(1)
    p = (h1 @ net.down[0].weight.t() + net.down[0].bias).sigmoid()
    return (v @ p.log().t() + (1 - v) @ (1 - p).log().t()) + prior


def test_the_bound_is_below_the_sum_over_all_states_in_expectation_and_meets_it():
    net = random_net(0.5)
    true = joint(net).logsumexp(1)
    assert abs(float(true.logsumexp(0))) < 1e-5
    for k, high in ((1, 3.0), (2000, 0.05)):
        net = random_net(0.5, importance=k)
        with noise.stream(0):
            gap = true - net.log_prob(Batch(x=states(4).repeat(20_000 // k, 1))).view(-1, 16).mean(0)
        assert gap.min() > -0.05
        assert gap.max() < high
        assert k > 1 or gap.mean() > 0.1


def test_drawing_has_the_models_distribution():
    net = random_net()
    x = draw(net, 20_000, chunk=20_000)
    p = joint(net).logsumexp(1).exp()
    assert (torch.bincount((x @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long(), minlength=16) / 20_000 - p).abs().max() < 0.02


def with_labels(net: DBN) -> Tensor:
    """log p(h1, label) of the top, with its softmax units told one by one."""
    h1, y, h2 = states(3), torch.eye(3), states(2)
    v = torch.cat([h1.repeat_interleave(3, 0), y.repeat(8, 1)], 1)
    return (v @ net.top.w @ h2.t() + (v @ net.top.b)[:, None] + h2 @ net.top.c).flatten().log_softmax(0).view(8, 3, 4).logsumexp(2)


def test_labels_are_units_of_the_top():
    net = random_net(conditional=True)
    each = with_labels(net)
    torch.testing.assert_close(net.each(states(3)) - net.log_partition()[0], each, atol=1e-5, rtol=1e-5)
    x = states(4)
    torch.testing.assert_close(net.predict(Batch(x=x)).softmax(1), net.each(net.above(0, x).sigmoid()).softmax(1))
    with torch.no_grad(), noise.stream(0):
        assert abs(float(random_net(0.5, importance=4000, conditional=True).log_prob(Batch(x=x)).logsumexp(0))) < 0.1


def test_drawing_given_a_label_has_its_distribution():
    net = random_net(conditional=True)
    p = (states(3) @ net.down[0].weight.t() + net.down[0].bias).sigmoid()
    v, place = states(4), torch.tensor([8.0, 4.0, 2.0, 1.0])
    told = (v @ p.log().t() + (1 - v) @ (1 - p).log().t()).exp()  # (16, 8): p(v | h1)
    with torch.no_grad(), noise.stream(0):
        x = net.sample(30_000, DBN.Draw(steps=30), {"label": torch.arange(30_000) % 3})
    for k in range(3):
        wanted = told @ with_labels(net)[:, k].softmax(0)
        assert (torch.bincount((x[k::3] @ place).long(), minlength=16) / 10_000 - wanted).abs().max() < 0.02


def test_untied_weights_begin_as_those_up():
    net = build(DBN, {"hidden": [3, 2]}, Spec(shape=(4,), levels=2))
    plain = build(DBN, {"hidden": [3, 2], "refine": 0.0}, Spec(shape=(4,), levels=2))
    h = states(3)
    torch.testing.assert_close(net.below(0, h), h @ net.machines[0].w.t() + net.machines[0].b)
    assert plain.down is None
    assert [s.name for s in plain.stages()] == ["layer 1", "layer 2"]


def test_the_wake_climbs_the_bound_and_the_sleep_learns_the_posterior():
    """Gradients of the weights down and up, against enumeration: of -E_q log p(v, h), and of -E_p log q(h | v)."""
    net = random_net(chains=40_000, gibbs=20)
    v, h = states(4), states(3)
    x = v[[1, 3, 3, 10, 15]]
    net.requires_grad_(True)

    def coins(logits: Tensor, at: Tensor) -> Tensor:
        return torch.distributions.Bernoulli(logits=logits).log_prob(at).sum(-1)

    q = coins(net.above(0, x)[:, None], h).exp().detach()  # (B, 8)
    down = coins((h @ net.down[0].weight.t() + net.down[0].bias)[None], x[:, None])  # (B, 8)
    wanted_down = torch.autograd.grad(-(q * down).sum(1).mean(), list(net.down.parameters()))
    up = coins(net.above(0, v)[:, None], h)  # (16, 8)
    wanted_up = torch.autograd.grad(-(joint(net).exp().detach() * up).sum(), [net.machines[0].w, net.machines[0].c])
    with torch.no_grad(), noise.stream(0):
        fed = net.breathe(Batch(x=x.repeat(8000, 1)), Progress(1, 2))
    found_down = torch.autograd.grad(net.wake(fed, Progress()).total, list(net.down.parameters()))
    found_up = torch.autograd.grad(net.sleep(fed, Progress()).total, [net.machines[0].w, net.machines[0].c])
    for mine, other in zip((*found_down, *found_up), (*wanted_down, *wanted_up), strict=True):
        assert (mine - other).abs().max() < 0.015


def test_bars_and_stripes_are_learned_to_a_tenth_of_a_nat():
    """KL(truth | model), its bound with many draws."""
    truth = bars.Bars(3)
    net = build(DBN, {"hidden": [16, 12], "chains": 200, "gibbs": 5, "importance": 500}, Spec(shape=(1, 3, 3), levels=2, media="image"))
    x = truth.support()
    settings = Train(steps=3000, batch=len(x), optimizer="sgd", betas=(0.0, 0.999), lr=0.5, decay="linear")
    average = EMA(net.train(), 0.99)

    def on_step(stage, at, *rest):
        average.update(at.step)
        if at.step + 1 == at.total:
            average.ship()
        return False

    loop.fit(net, lambda i: Batch(x=x), loop.Setting(settings), on_step)
    with torch.no_grad(), noise.stream(0):
        kl = float((truth.log_prob(x) - net.eval().log_prob(Batch(x=x))).mean())
    assert 0 < kl < 0.1


def test_what_it_cannot_do_is_said():
    grey = Spec(shape=(1, 3, 3), levels=17, media="image")
    net = build(DBN, {"hidden": [4, 3]}, grey)
    with pytest.raises(GenctlError, match="grey"):
        net.log_prob(fake(grey, 2))
    assert net.target == ""
    with pytest.raises(GenctlError, match="continuous"):
        build(DBN, {}, Spec(shape=(2,)))
