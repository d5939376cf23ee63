"""Dialogues: what of a row is to be learned, what is cut and left out, and what a model that learns answers alone scores and changes."""

import gzip
import json

import pytest
import torch

from genctl import catalog
from genctl.contract import Batch, Progress, Spec
from genctl.data._dialogue import recent, tidy
from genctl.errors import GenctlError
from genctl.families.autoregressive import _next
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.lstm import LSTM
from genctl.families.autoregressive.rnn import RNN
from genctl.media import text
from genctl.metrics import Case, Likelihood, nll
from tests.battery import build, check_family, check_resume, fake

SAID = [("user", "Can I get a mocha?"), ("agent", "For whom?"), ("user", "For Jean."), ("agent", "Two minutes.")]
SPEC = Spec(shape=(8,), vocab=5, end=0, given={"learn": Spec(shape=(8,), vocab=2)})
NETS = [(GPT, {"layers": 2, "heads": 2, "width": 16}), (RNN, {"layers": 1, "width": 12}), (LSTM, {"layers": 1, "width": 12})]


def write(path, *dialogues, key="turns", name="text"):
    rows = [{key: [{"role": role, name: said} for role, said in d]} for d in dialogues]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(path, **keys):
    reader = catalog.load("data", "dialogues")
    return reader.open(reader.Config(name="dialogues", path=str(path), **{"tokenise": "chars", "valid": 0, "test": 0, **keys}))


# --- rows --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["chars", "bytes", "words", "bpe"])
def test_what_an_agent_says_and_ends_with_is_to_be_learned(way, tmp_path):
    data = opened(write(tmp_path / "d.jsonl", SAID, SAID[:2]), tokenise=way, vocab=300)
    one = data.train.batch(0, 2)
    x, learn = next((x, y) for x, y in zip(one.x, one.given["learn"], strict=True) if int((x == data.spec.end).sum()) == 1)
    assert text.decode(x, data.spec) == "<|user|>Can I get a mocha?<|agent|>For whom?<|user|>For Jean.<|agent|>Two minutes."
    where = learn.bool().nonzero().flatten().tolist()
    runs = [[where[0]]]
    for a in where[1:]:
        runs[-1].append(a) if a == runs[-1][-1] + 1 else runs.append([a])
    assert [text.decode(x[run], data.spec) for run in runs] == ["For whom?<|user|>", "Two minutes."]
    assert x[runs[-1][-1]] == data.spec.end and runs[-1][-1] == len(x) - 1


def test_text_that_looks_like_a_role_is_text(tmp_path):
    data = opened(write(tmp_path / "d.jsonl", [("user", "<|agent|>"), ("agent", "<|end|>")]), tokenise="bpe", vocab=300)
    x = data.train.batch(0, 1).x[0].tolist()
    special = [i for i in x if i < 3]  # end, user, agent come first
    assert special == [1, 2, 0]
    assert text.decode(torch.tensor(x), data.spec) == "<|user|><|agent|><|agent|><|end|>"


def test_openais_words_say_the_same(tmp_path):
    mine = write(tmp_path / "a.jsonl", [("system", "Be kind."), *SAID])
    theirs = write(
        tmp_path / "b.jsonl",
        [("system", "Be kind."), *((r.replace("agent", "assistant"), t) for r, t in SAID)],
        key="messages",
        name="content",
    )
    a, b = opened(mine), opened(theirs)
    assert a.spec == b.spec
    assert torch.equal(a.train.batch(0, 1).x, b.train.batch(0, 1).x)
    assert "<|system|>" in text.decode(a.train.batch(0, 1).x[0], a.spec)


def test_turns_are_tidied():
    assert tidy([("user", " a "), ("user", "b"), ("agent", ""), ("agent", "c"), ("user", "bye")]) == [("user", "a\nb"), ("agent", "c")]
    assert tidy([("user", "a")]) == []
    assert tidy([("user", "a"), ("agent", "\ud800")]) == [("user", "a"), ("agent", "?")]


def test_the_last_turns_that_fit_are_kept_behind_what_the_system_says():
    turns = [("system", [9]), ("user", [1, 1]), ("agent", [2]), ("user", [3]), ("agent", [4])]
    assert recent(turns, 11) == turns
    assert recent(turns, 10) == [turns[0], *turns[3:]]
    assert recent(turns, 6) == [turns[0], *turns[3:]]
    assert recent(turns, 5) == []
    assert recent(turns[1:], 6) == turns[3:]  # the agent's turn would fit; a cut is in front of a user's
    assert recent([("agent", [1]), *turns[3:]], 6) == [("agent", [1]), *turns[3:]]  # who begins may be an agent
    assert recent([], 5) == []


def test_what_does_not_fit_is_told(tmp_path):
    path = write(tmp_path / "d.jsonl", SAID, [("user", "why?"), ("agent", "x" * 60)], [("user", "silence")], SAID[:2])
    data = opened(path, length=35)
    assert len(data.train) == 2
    assert data.spec.shape == (35,)
    assert sorted(text.decode(x, data.spec) for x in data.train.batch(0, 2).x) == [
        "<|user|>Can I get a mocha?<|agent|>For whom?",
        "<|user|>For Jean.<|agent|>Two minutes.",
    ]
    notes = " ".join(data.notes)
    assert "no word of an agent" in notes and "end with turns that are longer" in notes and "turns do not fit" in notes


BAD = {
    "no JSON": ("{", "data-format"),
    "no object": ("[1]", "data-format"),
    "no turns": ('{"a": 1}', "data-format"),
    "turns of nothing": ('{"turns": [3]}', "data-format"),
    "an unknown role": ('{"turns": [{"role": "tool", "text": "x"}]}', "data-format"),
    "a role that is a list": ('{"turns": [{"role": ["user"], "text": "x"}]}', "data-format"),
    "text that is none": ('{"turns": [{"role": "user", "text": 5}]}', "data-format"),
    "parts for a text": ('{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', "data-format"),
    "no word of an agent": ('{"turns": [{"role": "user", "text": "x"}]}', "data-empty"),
    "no turn": ('{"turns": []}', "data-empty"),
    "nothing": ("", "data-empty"),
    "deep": ("[" * 100_000, "data-format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_clear_error(name, tmp_path):
    line, id = BAD[name]
    (tmp_path / "d.jsonl").write_text(line)
    with pytest.raises(GenctlError) as e:
        opened(tmp_path / "d.jsonl")
    assert e.value.id == id


def test_a_tokeniser_without_roles_is_refused(tmp_path):
    from genctl.data._tokenise import train

    (tmp_path / "t.json").write_text(train("bpe", 300, ["abc"], ["<|end|>"]))
    with pytest.raises(GenctlError, match=r"has no symbol <\|user\|>"):
        opened(write(tmp_path / "d.jsonl", SAID), tokenizer=str(tmp_path / "t.json"))


def test_named_sets_are_read_as_their_readmes_say(tmp_path):
    reader = catalog.load("data", "taskmaster4-chat")
    dialogue = {"utterances": [{"speaker": "user", "text": "a"}, {"speaker": "assistant", "text": "b"}]}
    for n in ("00", "01", "02", "03", "07"):
        with gzip.open(tmp_path / f"data_{n}.json.gz", "wt") as file:
            json.dump([dialogue] * (10 if n != "07" else 3), file)
    data = reader.open(reader.Config(name="taskmaster4-chat", path=str(tmp_path), tokenise="chars"))
    assert (len(data.train), len(data.valid), len(data.test)) == (36, 4, 3)
    reader = catalog.load("data", "instructions")
    tasks = [{"instruction": f"add {i}", "input": "1" if i % 2 else "", "output": str(i)} for i in range(100)]
    (tmp_path / "instruction-data.json").write_text(json.dumps(tasks))
    data = reader.open(reader.Config(name="instructions", path=str(tmp_path), tokenise="chars"))
    assert (len(data.train), len(data.valid), len(data.test)) == (85, 5, 10)
    assert text.decode(data.test.batch(0, 1).x[0], data.spec) == "<|user|>add 85\n1<|agent|>85"
    (tmp_path / "instruction-data.json").write_text('[{"instruction": "a"}]')
    with pytest.raises(GenctlError, match="no list of instructions"):
        reader.open(reader.Config(name="instructions", path=str(tmp_path)))


# --- to learn answers alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "model"), NETS)
def test_battery(cls, model):
    check_family(cls, {**model, "learn": "learn"}, SPEC)


@pytest.mark.parametrize(("cls", "model"), NETS)
def test_resume_is_exact(cls, model, tmp_path):
    check_resume(cls, {**model, "learn": "learn"}, SPEC, tmp_path, cut=3, steps=6)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("cls", "model"), NETS)
def test_only_what_is_learned_counts(cls, model, large, monkeypatch):
    """The loss is the hand-made mean over learned symbols, log_prob their sum, and no other symbol pulls at its logits."""
    monkeypatch.setattr(_next, "LARGE", 1 if large else 10**9)
    net, batch = build(cls, {**model, "learn": "learn"}, SPEC).eval(), fake(SPEC, 6)
    batch.x[0, 3:] = 0  # one row ends early; what is said to be learned behind its end is not
    live = (batch.x == 0).cumsum(1) - (batch.x == 0).long() == 0
    mine = live & (batch.given["learn"] == 1)
    logits = net.logits(batch.x, batch.given)
    nats = -logits.log_softmax(-1).gather(-1, batch.x[..., None])[..., 0]
    torch.testing.assert_close(net.log_prob(batch), -(nats * mine).sum(1))
    torch.testing.assert_close(net.log_prob(Batch(x=batch.x)), -(nats * live).sum(1))  # nothing said: all
    found = net.loss(batch, Progress())
    assert int(found.weight) == int(mine.sum())
    torch.testing.assert_close(found.total, (nats * mine).sum() / mine.sum())

    held = {}
    hidden = net.hidden
    net.hidden = lambda *a: held.setdefault("h", hidden(*a).detach().requires_grad_())
    net.loss(batch, Progress()).total.backward()
    pulled = held["h"].grad.abs().sum(-1) > 0
    assert torch.equal(pulled, mine)


def test_a_batch_in_which_nothing_is_learned_moves_nothing():
    net, batch = build(GPT, {**NETS[0][1], "learn": "learn"}, SPEC), fake(SPEC, 3)
    batch.given["learn"].zero_()
    found = net.loss(batch, Progress())
    assert found.total.item() == 0 and int(found.weight) == 0


@pytest.mark.parametrize("name", ["label", "absent"])
def test_only_a_word_on_each_symbol_can_be_learned_from(name):
    spec = Spec(shape=(8,), vocab=5, given={"label": Spec(shape=(), vocab=2)})
    with pytest.raises(GenctlError, match=r"model\.learn"):
        build(GPT, {"learn": name}, spec)


def test_figures_per_symbol_are_of_those_learned():
    x = torch.tensor([[1, 2, 3, 0], [1, 3, 0, 0]])
    learned = torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]])
    spec = Spec(shape=(4,), vocab=4, end=0, media="text", codec={"symbols": ["", "ab", "c", "d"]})
    found = Likelihood(values=torch.tensor([-3.0, -1.0]), learned=learned)
    fields = nll.measure(Case(spec=spec, reference=Batch(x=x), likelihood=found)).fields
    assert fields["tokens"] == 4
    assert fields["nats_per_token"] == pytest.approx(1.0)
    assert fields["bits_per_byte"] == pytest.approx(4 / 4 / 0.6931471805599453)
    assert fields["convention"] == "learned symbols"
