"""seq2seq: the battery, and its own truths: padding is not seen, nothing looks ahead, it learns to reverse, and beams find the likeliest."""

import itertools

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.translation import seq2seq
from genctl.families.translation.seq2seq import Seq2Seq
from genctl.maths import decoding
from genctl.maths.reading import Reader
from tests.battery import build, check_family, check_resume, fake, fit


def spec(length=8, source=6, vocab=5, **more):
    return Spec(shape=(length,), vocab=vocab, end=0, given={"source": Spec(shape=(source,), vocab=vocab, end=0, **more)})


ROW = spec()
SMALL = {"layers": 2, "heads": 2, "width": 16, "dropout": 0.0}
LEARNED = {**SMALL, "positions": "learned", "norm": "rms", "activation": "swiglu", "qk_norm": False, "tied": False}
T5 = {**SMALL, "positions": "relative", "norm": "rms", "activation": "geglu", "qk_norm": False, "begin": 1}
LSTM = {**SMALL, "network": "lstm", "writer_layers": 1}
POINTER, POINTER_LSTM = {**SMALL, "pointer": True}, {**LSTM, "pointer": True}
WAYS = pytest.mark.parametrize(
    "model", [SMALL, LEARNED, T5, LSTM, POINTER, POINTER_LSTM], ids=["transformer", "learned", "t5", "lstm", "pointer", "pointer lstm"]
)


@WAYS
def test_battery(model):
    check_family(Seq2Seq, model, ROW)


def test_battery_of_two_vocabularies_without_ends():
    check_family(Seq2Seq, SMALL, Spec(shape=(4,), vocab=5, given={"source": Spec(shape=(3,), vocab=7)}))


@pytest.mark.parametrize("model", [SMALL, LSTM, POINTER], ids=["transformer", "lstm", "pointer"])
@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(model, cut, tmp_path):
    check_resume(Seq2Seq, {**model, "dropout": 0.1}, ROW, tmp_path, cut=cut, steps=8, batch=8)


@WAYS
def test_the_probabilities_of_all_rows_sum_to_one(model):
    net = build(Seq2Seq, model, spec(3, 4, 3)).eval()
    rows = [r for r in itertools.product(range(3), repeat=3) if all(b == 0 for a, b in itertools.pairwise(r) if a == 0)]
    source = torch.tensor([[2, 1, 0, 0]]).expand(len(rows), -1)
    with torch.no_grad():
        assert net.log_prob(Batch(x=torch.tensor(rows), given={"source": source})).exp().sum().item() == pytest.approx(1, abs=1e-5)


@WAYS
def test_padding_changes_nothing(model):
    """A longer row of ends behind a source, or behind a target, and what it is read together with."""
    net, batch = build(Seq2Seq, model, ROW).eval(), fake(ROW, 40)
    wide = build(Seq2Seq, model, spec(12, 10)).eval()
    wide.load_state_dict({k: v for k, v in net.state_dict().items() if "position" not in k}, strict=False)
    for side in ("reader", "writer"):
        if model is LEARNED:
            getattr(wide.net, side).position.data[: len(getattr(net.net, side).position)] = getattr(net.net, side).position.data
    longer = Batch(
        x=torch.nn.functional.pad(batch.x, (0, 4)), given={"source": torch.nn.functional.pad(batch.given["source"], (0, 4), value=0)}
    )
    with torch.no_grad():
        one = torch.cat([net.log_prob(Batch(x=x[None], given={"source": s[None]})) for x, s in zip(batch.x, batch.given["source"])])
        fits = (batch.x == 0).any(1) & (batch.given["source"] == 0).any(1)  # a row without an end goes on in the longer one
        for found in (net.log_prob(batch), wide.log_prob(longer)):
            torch.testing.assert_close(found[fits], one[fits], atol=1e-4, rtol=1e-4)


@WAYS
def test_no_symbol_behind_the_end_of_a_source_is_seen(model):
    net = build(Seq2Seq, model, ROW).eval()
    source = torch.tensor([[2, 1, 0, 0, 0, 0], [2, 1, 0, 3, 4, 1]])
    with torch.no_grad():
        first, _ = net.start(2, {"source": source})
    torch.testing.assert_close(first[0], first[1], atol=1e-6, rtol=1e-6)


def test_rows_of_similar_length_together_are_the_whole_batch(monkeypatch):
    net, batch = build(Seq2Seq, SMALL, ROW), fake(ROW, 50)
    cut = net.loss(batch, Progress()).total
    monkeypatch.setattr(seq2seq, "TOGETHER", 1000)
    monkeypatch.setattr(net, "parts", lambda b: [(torch.arange(50), b, decoding.live(b.x, 0))])
    torch.testing.assert_close(net.loss(batch, Progress()).total, cut, atol=1e-5, rtol=1e-5)


@WAYS
def test_no_logit_looks_ahead(model):
    """The gradient of what stands for symbol t reaches those before it only; that of the source reaches all."""
    net = build(Seq2Seq, model, ROW)
    h, source = torch.randn(1, 8, 16, requires_grad=True), torch.randn(1, 6, 16, requires_grad=True)
    out = net.net(h, net.net.read(source, torch.ones(1, 6, dtype=torch.bool)))
    for t in range(8):
        grad, beside = torch.autograd.grad((out[0, t] * torch.arange(16.0)).sum(), (h, source), retain_graph=True)
        assert (grad[0, t + 1 :] == 0).all()
        assert (grad[0, : t + 1] != 0).any(-1).all()
        assert (beside[0] != 0).any(-1).all()


@pytest.mark.parametrize("model", [SMALL, POINTER], ids=["transformer", "pointer"])
def test_a_held_out_loss_is_in_nats(model):
    """Smoothing is of training alone: the untrained loss in eval mode is that of log_prob."""
    net, batch = build(Seq2Seq, {**model, "smoothing": 0.5}, ROW), fake(ROW, 20)
    count = decoding.live(batch.x, 0).sum()
    with torch.no_grad():
        trained = net.loss(batch, Progress())
        held = net.eval().loss(batch, Progress())
        torch.testing.assert_close(held.total, -net.log_prob(batch).sum() / count)
    assert held.weight == trained.weight == count
    assert held.total != trained.total


def test_one_matrix_where_there_is_one_vocabulary():
    assert build(Seq2Seq, SMALL, ROW).embed_source is None
    assert build(Seq2Seq, SMALL, spec(codec={"symbols": list("abcde")})).embed_source is not None
    assert build(Seq2Seq, {**SMALL, "tied": False}, ROW).embed_source is not None


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({**SMALL, "layers": 1, "width": 32}, id="transformer"),
        pytest.param({**LSTM, "width": 48}, id="lstm", marks=pytest.mark.slow),
    ],
)
def test_it_learns_to_reverse_and_the_likeliest_row_is_the_reverse(model):
    torch.manual_seed(0)
    net = build(Seq2Seq, {**model, "smoothing": 0.0}, spec(6, 6, 8))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, betas=(0.9, 0.98))

    def made(n, seed):
        g = torch.Generator().manual_seed(seed)
        source = torch.randint(1, 8, (n, 6), generator=g) * (torch.arange(6) < torch.randint(2, 6, (n, 1), generator=g))
        size = (source != 0).sum(1, keepdim=True)
        back = source.gather(1, (size - 1 - torch.arange(6)).clamp(min=0)) * (torch.arange(6) < size)
        return Batch(x=back, given={"source": source})

    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * min(1, step / 30) * (1 - step / 300)
        optimizer.zero_grad()
        net.loss(made(64, step), Progress()).total.backward()
        optimizer.step()
    held = made(200, 10**6)
    with torch.no_grad():
        net.eval()
        for beams in (1, 4):
            found = net.sample(200, decoding.Draw(temperature=0, beams=beams), held.given)
            assert (found == held.x).all(1).float().mean() > 0.95


def test_a_pointer_copies_symbols_that_training_never_had():
    """Trained to repeat rows of symbols 1 to 39, it repeats rows of 40 to 59, which no other network here could write."""

    def made(n, low, high, seed):
        g = torch.Generator().manual_seed(seed)
        rows = torch.randint(low, high, (n, 6), generator=g) * (torch.arange(6) < torch.randint(2, 6, (n, 1), generator=g))
        return Batch(x=rows, given={"source": rows})

    def repeats(pointer):
        torch.manual_seed(0)
        net = build(Seq2Seq, {**LEARNED, "layers": 1, "width": 32, "smoothing": 0.0, "pointer": pointer}, spec(6, 6, 60))
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, betas=(0.9, 0.98))
        for step in range(200):
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * min(1, step / 30) * (1 - step / 200)
            optimizer.zero_grad()
            net.loss(made(64, 1, 40, step), Progress()).total.backward()
            optimizer.step()
        found = []
        for low, high in ((1, 40), (40, 60)):
            held = made(200, low, high, 10**6)
            with torch.no_grad():
                rows = net.eval().sample(200, decoding.Draw(temperature=0), held.given)
            found.append((rows == held.x).all(1).float().mean().item())
        return found

    known, new = repeats(pointer=True)
    assert known > 0.95 and new > 0.9
    assert repeats(pointer=False)[1] < 0.05


def test_a_pointer_needs_the_symbols_of_the_source():
    with pytest.raises(GenctlError, match="pointer"):
        build(Seq2Seq, POINTER, spec(codec={"symbols": list("abcde")}))


@WAYS
def test_enough_beams_find_the_likeliest_row_of_all(model):
    net = build(Seq2Seq, model, spec(3, 4, 4)).eval()
    for p in net.parameters():
        p.data *= 3
    every = torch.tensor([r for r in itertools.product(range(4), repeat=3) if all(b == 0 for a, b in itertools.pairwise(r) if a == 0)])
    source = torch.tensor([[1, 2, 3, 0], [3, 1, 0, 0]])
    with torch.no_grad():
        found = net.sample(2, decoding.Draw(beams=64), {"source": source})
        for row, one in zip(found, source):
            best = every[net.log_prob(Batch(x=every, given={"source": one.expand(len(every), -1)})).argmax()]
            assert torch.equal(row, best)


def test_a_step_changes_no_other_state():
    net = build(Seq2Seq, SMALL, ROW).eval()
    given = {"source": torch.tensor([[1, 2, 3, 0, 0, 0]])}
    x = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        _, root = net.step(x[:, :1], net.start(1, given)[1])
        _, left = net.step(x[:, 1:2], root)
        _, right = net.step(x[:, 2:3], root)
        for second, state in ((2, left), (3, right)):
            found = net.step(x[:, 3:], state)[0]
            whole = net.step(torch.tensor([[1, second, 4]]), net.start(1, given)[1])[0]
            torch.testing.assert_close(found[:, -1], whole[:, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ({"heads": 3, "width": 16}, ROW, "do not divide"),
        (SMALL, Spec(shape=(8,), vocab=5, end=0), "'source' beside each x"),
        (SMALL, Spec(shape=(8,), vocab=5, given={"source": Spec(shape=(3, 4, 4))}), "'source' beside each x"),
    ],
)
def test_settings_that_fit_nothing_are_refused(model, data, said):
    with pytest.raises(GenctlError, match=said):
        build(Seq2Seq, model, data)


def test_fit_reports_nats_per_symbol():
    """The untrained loss is log V, smoothed or not."""
    _, report = fit(Seq2Seq, SMALL, ROW, 1)
    assert report.losses[0]["model/loss"] == pytest.approx(torch.tensor(5.0).log().item(), abs=0.05)


@pytest.mark.parametrize(
    "picks",
    [[[0, 0, 1, 1]], [[0, 0, 0, 1, 1, 1], [2, 0, 0, 3, 5, 5]], [[0, 0, 1, 1], [3, 1, 0, 0]], [[1, 0], [0, 0, 0]], [[0, 0, 1, 1], [1, 3]]],
    ids=["spread", "beams", "across sources", "any", "fewer"],
)
@pytest.mark.parametrize("model", [SMALL, LSTM, POINTER], ids=["transformer", "lstm", "pointer"])
def test_picked_rows_go_on_as_they_would_alone(model, picks):
    """Whatever a state shares with its neighbours; and the state that they were picked from goes on as it was."""
    net = build(Seq2Seq, model, ROW).eval()
    given = {"source": torch.tensor([[1, 2, 3, 0, 0, 0], [4, 4, 1, 2, 0, 0]])}
    reader = Reader(net, 8, given)
    with torch.no_grad():
        reader.begin(2, torch.zeros(2, 0, dtype=torch.long))
        of, rows = torch.arange(2), torch.zeros(2, 0, dtype=torch.long)
        for step, index in enumerate(map(torch.tensor, picks)):
            before = reader.state
            reader.pick(index)
            of, rows = of[index], rows[index]
            token = (torch.arange(len(index)) + step) % 4 + 1
            rows = torch.cat([rows, token[:, None]], 1)
            found = reader.on(token, [rows])
            alone = net.step(rows, net.start(len(of), {"source": given["source"][of]})[1])[0][:, -1]
            torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)
            again = net.step(token[:1].expand(len(next(iter(before.values()))), 1), before)[0]
            assert torch.isfinite(again).all()
