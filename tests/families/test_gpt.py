"""gpt: the battery, and its own truths: it sums to one, never looks ahead, and its cache is never changed by another step."""

import itertools

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.data import grammar
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import decoding, noise
from tests.battery import build, check_family, check_resume, fit

SMALL = {"layers": 2, "heads": 2, "width": 16}
PLAIN = {**SMALL, "positions": "learned", "qk_norm": False, "activation": "gelu", "bias": True}
LLAMA = {**SMALL, "heads": 4, "kv_heads": 2, "norm": "rms", "activation": "swiglu", "qk_norm": False, "tied": False}
BEGUN = {**SMALL, "begin": 3, "tied": False, "activation": "gelu_tanh", "eps": 1e-3}
ROW = Spec(shape=(8,), vocab=5, end=0)
GRID = Spec(shape=(3, 3), vocab=4)
BESIDE = Spec(shape=(6,), vocab=5, given={"label": Spec(shape=(), vocab=3), "size": Spec(shape=(2,)), "source": Spec(shape=(4,), vocab=6)})


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (SMALL, ROW),
        (PLAIN, GRID),
        ({**SMALL, "tied": False, "conditions": ["label", "size", "source"]}, BESIDE),
        (LLAMA, ROW),
        (BEGUN, ROW),
    ],
    ids=["modern", "plain on a grid", "conditional", "llama", "begun by a symbol"],
)
def test_battery(model, spec):
    check_family(GPT, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(GPT, {**PLAIN, "dropout": 0.1}, ROW, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("model", [SMALL, PLAIN, LLAMA, {**BEGUN, "begin": 1}])
def test_the_probabilities_of_all_grids_sum_to_one(model):
    net = build(GPT, model, Spec(shape=(2, 2), vocab=2)).eval()
    every = torch.tensor(list(itertools.product(range(2), repeat=4))).view(-1, 2, 2)
    with torch.no_grad():
        assert net.log_prob(Batch(x=every)).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_with_an_end_the_probabilities_of_all_rows_sum_to_one():
    net = build(GPT, SMALL, Spec(shape=(3,), vocab=3, end=0)).eval()
    rows = [r for r in itertools.product(range(3), repeat=3) if all(b == 0 for a, b in itertools.pairwise(r) if a == 0)]
    with torch.no_grad():
        assert net.log_prob(Batch(x=torch.tensor(rows))).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("model", [SMALL, PLAIN, LLAMA])
def test_no_logit_looks_ahead(model):
    """The gradient of the logits at t reaches x_1 .. x_{t-1} only."""
    net = build(GPT, model, ROW)
    h = torch.randn(1, 8, 16, requires_grad=True)
    for t in range(8):
        (grad,) = torch.autograd.grad((net.net(h)[0, t] * torch.arange(16.0)).sum(), h)
        assert (grad[0, t + 1 :] == 0).all()
        assert (grad[0, : t + 1] != 0).any(-1).all()


def test_a_step_changes_no_other_state():
    """Two steps from one state, in turn; each goes on as if the other had not been."""
    net = build(GPT, SMALL, ROW).eval()
    x = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        _, root = net.start(1, None)
        _, root = net.step(x[:, :1], root)
        before = root["kv"].clone()
        _, left = net.step(x[:, 1:2], root)
        _, right = net.step(x[:, 2:3], root)
        after_left = net.step(x[:, 3:], left)[0]
        after_right = net.step(x[:, 3:], right)[0]
        assert torch.equal(root["kv"], before)
        for second, found in ((2, after_left), (3, after_right)):
            whole = net.step(torch.tensor([[1, second, 4]]), net.start(1, None)[1])[0]
            torch.testing.assert_close(found[:, -1], whole[:, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", [PLAIN, LLAMA])
def test_long_drawings_lay_out_the_weights_anew_and_agree_with_the_plain_network(model):
    """Behind the eighth step the matrices are packed: the likeliest row must still be the likeliest, step by step."""
    net = build(GPT, model, Spec(shape=(40,), vocab=5)).eval()
    if net.head is not None:
        torch.nn.init.normal_(net.head.weight)
    with torch.no_grad():
        x = net.sample(3, decoding.Draw(temperature=0))
        assert torch.equal(net.logits(x, None).argmax(-1), x)


def test_a_text_longer_than_the_window_slides_and_repeats():
    net = build(GPT, SMALL, Spec(shape=(8,), vocab=5)).eval()
    with torch.no_grad():
        for beams in (1, 3):
            drawn = []
            for _ in range(2):
                with noise.stream(0):
                    drawn.append(net.sample(2, decoding.Draw(length=30, beams=beams)))
            assert drawn[0].shape == (2, 30)
            assert torch.equal(*drawn)


def test_impute_goes_on_from_a_beginning_only():
    net = build(GPT, SMALL, ROW).eval()
    x, seen = torch.ones(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.bool)
    seen[:, 3] = True
    with pytest.raises(GenctlError, match="observed beginning"):
        net.impute(Batch(x=x, mask=seen), decoding.Draw())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"heads": 3, "width": 16}, "do not divide"),
        ({"heads": 4, "width": 16, "kv_heads": 3}, "into groups"),
        ({"conditions": ["mood"]}, "does not stand beside this data"),
        ({"begin": 5}, "5 is no symbol of this data, which has 5"),
    ],
)
def test_settings_that_fit_nothing_are_refused(model, said):
    with pytest.raises(GenctlError, match=said):
        build(GPT, model, ROW)


def test_it_learns_a_grammar():
    """Total variation to the truth over all 312 sentences, after a short training; the full recipe is in configs/."""
    torch.manual_seed(0)
    data, truth = grammar.open(grammar.Config()), grammar.truth()
    net = build(GPT, {"layers": 1, "heads": 2, "width": 32}, data.spec)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, betas=(0.9, 0.95), fused=True)
    for step in range(150):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 150)
        optimizer.zero_grad()
        net.loss(data.train.batch(128 * step, 128 * step + 128), Progress()).total.backward()
        optimizer.step()
    with torch.no_grad():
        p = net.eval().log_prob(Batch(x=truth.support)).exp().double()
    assert 0.5 * ((p - truth.p).abs().sum() + (1 - p.sum()).abs()) < 0.1


def test_fit_reports_nats_per_symbol():
    """The untrained loss is log V."""
    _, report = fit(GPT, SMALL, GRID, 1)
    assert report.losses[0]["model/loss"] == pytest.approx(torch.tensor(4.0).log().item(), abs=0.05)


def test_begun_by_a_symbol_it_scores_what_follows_that_symbol():
    """The first logits are those behind the symbol 3 read alone."""
    net = build(GPT, BEGUN, ROW).eval()
    torch.nn.init.normal_(net.head.weight)
    with torch.no_grad():
        first = net.start(1, None)[0]
        h = net.net(net.embed(torch.tensor([[3]])))
        torch.testing.assert_close(first, net.score(h[:, 0]))


@pytest.mark.parametrize("model", [SMALL, PLAIN, LLAMA])
def test_attention_is_what_a_softmax_by_hand_says(model):
    """Layer by layer from the weights alone; every row sums to one over what stands before."""
    net = build(GPT, model, ROW).eval()
    x = torch.tensor([[1, 2, 3, 4, 1]])
    with torch.no_grad():
        found = net.attention(Batch(x=x))
        h, turn = net.net.place(torch.cat([net.first.view(1, 1, -1), net.embed(x[:, :-1])], 1), 0)
        for layer, block in enumerate(net.net.blocks):
            q, k, v = block.attention.project(block.norm1(h), turn)
            out = torch.zeros_like(q)
            for head in range(q.shape[2]):
                mine = head * k.shape[2] // q.shape[2]
                for t in range(5):
                    p = torch.softmax(k[0, : t + 1, mine] @ q[0, t, head] / q.shape[-1] ** 0.5, 0)
                    torch.testing.assert_close(found[0, layer, head, t, : t + 1], p)
                    out[0, t, head] = p @ v[0, : t + 1, mine]
            torch.testing.assert_close(block.attention(block.norm1(h), turn), out.flatten(2))
            h = block(h, turn)
    assert found.shape == (1, 2, len(found[0, 0]), 5, 5)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]))
    assert (found.triu(1) == 0).all()


PACKED = Spec(shape=(12,), vocab=5, separator=0)
APART = {"layers": 2, "heads": 2, "width": 16, "documents": True}


@pytest.mark.parametrize("more", [{}, {"kv_heads": 1}, {"positions": "learned"}])
def test_battery_with_documents_apart(more):
    check_family(GPT, {**APART, **more}, PACKED)


def bent(net):
    """With weights large enough that everything matters."""
    g = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data.copy_(torch.randn(p.shape, generator=g) / 3)
    return net


def test_a_document_is_what_it_is_alone():
    """Behind a separator every logit is what it is in a row that begins with that separator."""
    net = bent(build(GPT, APART, PACKED)).eval()
    first, second = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[0, 2, 2, 1, 3]])
    with torch.no_grad():
        both, alone = net.logits(torch.cat([first, second], 1), None), net.logits(second, None)
        torch.testing.assert_close(both[:, 5:], alone[:, 1:], atol=1e-5, rtol=1e-5)
        mixed = bent(build(GPT, {**APART, "documents": False}, PACKED)).eval()
        assert (mixed.logits(torch.cat([first, second], 1), None)[:, 5:] - mixed.logits(second, None)[:, 1:]).abs().max() > 1e-3


def test_documents_need_a_separator():
    with pytest.raises(GenctlError, match="nothing separates"):
        build(GPT, APART, Spec(shape=(12,), vocab=5))


@pytest.mark.parametrize("beams", [2, 3])
def test_beams_know_where_their_own_document_began(beams):
    """A state picked again and again is the one that reads the rows afresh."""
    net = bent(build(GPT, APART, PACKED)).eval()
    rows = torch.tensor([[1, 0, 2, 3], [1, 2, 0, 3], [0, 2, 3, 3]])[:beams]
    with torch.no_grad():
        _, state = net.start(1, None)
        _, state = net.step(torch.tensor([[4]]), state)
        state = state.pick(torch.zeros(beams, dtype=torch.long))
        for t in range(4):
            logits, state = net.step(rows[:, t : t + 1], state)
            order = torch.arange(beams).roll(1)
            state, rows, logits = state.pick(order), rows[order], logits[order]
        afresh, other = net.start(beams, None)
        afresh, _ = net.step(torch.cat([torch.full((beams, 1), 4), rows], 1), other)
    torch.testing.assert_close(logits[:, -1], afresh[:, -1], atol=1e-5, rtol=1e-5)
