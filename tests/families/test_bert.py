"""bert: the battery, and its own truths: it sees both sides and no padding, and tells hidden symbols as likely as they are."""

import itertools

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.data import grammar
from genctl.errors import GenctlError
from genctl.families.masked.bert import BERT
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, check_scale

SMALL = {"layers": 2, "heads": 2, "width": 16}
PLAIN = {**SMALL, "norms": "behind", "positions": "learned", "qk_norm": False}
DEVLIN = {**PLAIN, "begin": 1, "mask": 5, "eps": 1e-6}
ROW = Spec(shape=(8,), vocab=6, end=0)
WINDOW = Spec(shape=(8,), vocab=5)


@pytest.mark.parametrize(
    ("model", "spec"),
    [(SMALL, ROW), (PLAIN, WINDOW), (PLAIN, ROW), (DEVLIN, ROW)],
    ids=["modern", "devlin, windows", "devlin, rows", "symbols"],
)
def test_battery(model, spec):
    check_family(BERT, {**model, "rate": 0.5}, spec, steps=60)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(BERT, {**PLAIN, "dropout": 0.1}, ROW, tmp_path, cut=cut, steps=8, batch=8)


def test_every_symbol_is_seen_from_every_place_and_nothing_behind_the_end():
    net = build(BERT, SMALL, ROW).eval()
    x = torch.tensor([[1, 2, 3, 4, 0, 0, 0, 0]])
    with torch.no_grad():
        before = net.context(Batch(x=x))
        for t in range(4):
            changed = x.clone()
            changed[0, t] = 5
            assert ((net.context(Batch(x=changed)) - before).abs().amax(-1)[0, :5] > 1e-6).all()
        longer = Spec(shape=(12,), vocab=6, end=0)
        other = build(BERT, SMALL, longer).eval()
        other.load_state_dict({k: v for k, v in net.state_dict().items() if k != "lengths"}, strict=False)
        padded = torch.nn.functional.pad(x, (0, 4))
        torch.testing.assert_close(other.context(Batch(x=padded))[:, :5], before[:, :5], atol=1e-6, rtol=1e-5)


def test_what_is_shown_is_hidden_replaced_and_left_as_devlin_says():
    """Of the symbols to be told 80 % are hidden, 10 % any symbol, 10 % as they are; all others are shown, and no end is asked for."""
    net = build(BERT, SMALL, ROW)
    x = torch.randint(1, 6, (4000, 8), generator=torch.Generator().manual_seed(0))
    x[:, 6:] = 0
    with noise.stream(0):
        ask, put = net.spoil(x)
    assert not ask[:, 6:].any() and torch.equal(put[~ask], x[~ask])
    asked = ask[:, :6].float().mean().item()
    hidden, same = (put[ask] == net.mask).float().mean().item(), (put[ask] == x[ask]).float().mean().item()
    assert asked == pytest.approx(0.15, abs=0.01)
    assert hidden == pytest.approx(0.8, abs=0.02) and same == pytest.approx(0.1 + 0.1 / 6, abs=0.02)


def test_an_untrained_model_asks_log_v():
    net = build(BERT, SMALL, WINDOW)
    with noise.stream(0):
        assert net.loss(Batch(x=torch.randint(5, (64, 8))), Progress()).total.item() == pytest.approx(
            torch.tensor(5.0).log().item(), abs=0.1
        )


def trained(net, get, steps, **train):
    net.train()
    loop.fit(net, get, loop.Setting(Train(steps=steps, decay="cosine", **train)), lambda *a: False)
    return net.eval()


def test_it_tells_a_hidden_symbol_of_a_markov_chain_as_likely_as_it_is():
    """The posterior of one hidden symbol given what is shown, some of it replaced, by the sum over all rows: within 0.05 for each pair of neighbours."""
    a = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4]])
    g = torch.Generator().manual_seed(0)
    x = torch.randint(3, (40_000, 8), generator=g)
    for t in range(1, 8):
        x[:, t] = torch.multinomial(a[x[:, t - 1]], 1, generator=g)[:, 0]
    net = build(BERT, {"layers": 1, "heads": 2, "width": 32, "rate": 0.3}, Spec(shape=(8,), vocab=3))
    trained(net, lambda i: Batch(x=x[128 * i : 128 * i + 128]), 300, batch=128, lr=5e-3)
    every = torch.tensor(list(itertools.product(range(3), repeat=8)))
    prior = a[every[:, :-1], every[:, 1:]].prod(1)
    test = x[-400:]
    shown = torch.where(every[:, None] == test, 0.7 + 0.03, 0.0) + 0.03 / 3  # not asked for, or left as it is; or any symbol
    shown[..., 4] = 1.0
    weight = prior[:, None] * shown.prod(2)
    truth = torch.stack([weight[every[:, 4] == k].sum(0) for k in range(3)], 1) / weight.sum(0)[:, None]
    put = test.clone()
    put[:, 4] = net.mask
    with torch.no_grad():
        p = net.logits(net.read(put, None)[:, 4]).softmax(-1)
    for left, right in itertools.product(range(3), repeat=2):
        same = (test[:, 3] == left) & (test[:, 5] == right)
        torch.testing.assert_close(p[same].mean(0), truth[same].mean(0), atol=0.05, rtol=0)
    assert (p - truth).abs().mean() < 0.03


def test_it_draws_what_a_grammar_allows_and_completes_sentences():
    data, truth = grammar.open(grammar.Config()), grammar.truth()
    net = build(BERT, {"layers": 2, "heads": 2, "width": 32, "rate": 0.4}, data.spec)
    trained(net, lambda i: data.train.batch(128 * i, 128 * i + 128), 150, batch=128, lr=5e-3)
    with torch.no_grad(), noise.stream(0):
        x = net.sample(500, net.Draw(steps=8))
        check_scale(x, data.spec, 500)
        allowed = torch.isfinite(truth.log_prob(x)).float().mean().item()
        assert allowed > 0.5, allowed
        whole = data.test.batch(0, 200).x
        seen = torch.rand(whole.shape, generator=torch.Generator().manual_seed(0)) < 0.7
        seen |= whole == 0
        filled = net.impute(Batch(x=whole, mask=seen), net.Draw())
        assert torch.isfinite(truth.log_prob(filled)).float().mean() > 0.85
        strange = torch.tensor([[5, 1, 2, 5, 7, 3, 1, 0]])
        assert net.energy(Batch(x=strange)) > net.energy(Batch(x=whole)).mean() + 5


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(GenctlError, match="do not divide"):
        build(BERT, {"heads": 3, "width": 16}, ROW)
