"""Prompts: each row goes on from its own as if it were alone, cached steps are the network's, and the command line takes them."""

import csv
import json
import re

import pytest
import torch

from genctl import cli
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.rnn import RNN
from genctl.maths import decoding, noise
from genctl.maths.decoding import Draw
from genctl.tasks import prompts
from genctl.tasks import train as training
from genctl.tasks.sample import Sampler
from tests.battery import build
from tests.cases import train_case
from tests.faults.tools import here
from tests.test_eval import Quiet

SMALL = {"layers": 2, "heads": 4, "width": 16}
MODELS = {
    "rotary": (GPT, SMALL),
    "learned positions": (GPT, {**SMALL, "positions": "learned", "qk_norm": False, "activation": "gelu", "bias": True}),
    "llama": (GPT, {**SMALL, "kv_heads": 2, "norm": "rms", "activation": "swiglu", "qk_norm": False, "tied": False}),
    "rnn": (RNN, {"layers": 2, "width": 12}),
    "gru": (RNN, {"layers": 2, "width": 12, "cell": "gru"}),
    "lstm": (RNN, {"layers": 2, "width": 12, "hidden": 8, "cell": "lstm"}),
}
FRONTS = [[1, 2, 3], [], [4], [1, 2, 3, 4, 1, 2], [3, 3]]


def made(name, spec, seed=0):
    cls, settings = MODELS[name]
    model = build(cls, settings, spec, seed).eval()
    for p in model.parameters():
        p.data.mul_(3)
    if model.head is not None:
        torch.nn.init.normal_(model.head.weight)
    return model


def padded(fronts, size):
    x, seen = torch.zeros(len(fronts), size, dtype=torch.long), torch.zeros(len(fronts), size, dtype=torch.bool)
    for i, front in enumerate(fronts):
        x[i, : len(front)], seen[i, : len(front)] = torch.tensor(front, dtype=torch.long), True
    return x, seen


@pytest.mark.parametrize("keys", [{}, {"length": 30}, {"beams": 3}, {"repetition": 2.0}, {"length": 20, "beams": 2}], ids=str)
@pytest.mark.parametrize("end", [None, 0])
@pytest.mark.parametrize("name", MODELS)
def test_rows_with_prompts_of_different_lengths_are_those_of_each_alone(name, end, keys):
    """The likeliest rows, in one window and sliding; what is observed is kept."""
    model = made(name, Spec(shape=(10,), vocab=5, end=end))
    x, seen = padded(FRONTS, 10)
    with torch.no_grad():
        together = model.draw(5, Draw(temperature=0, **keys), None, x, seen)
        for i, front in enumerate(FRONTS):
            alone = model.draw(1, Draw(temperature=0, **keys), None, x[i : i + 1, : len(front)])
            assert torch.equal(together[i], alone[0]), front
            assert together[i, : len(front)].tolist() == front


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_depend_on_the_prompts_of_others(name):
    model = made(name, Spec(shape=(10,), vocab=5))
    drawn = []
    for other in ([1], [2, 2, 2, 2], []):
        x, seen = padded([[1, 2, 3], other], 10)
        with torch.no_grad(), noise.stream(4):
            drawn.append(model.impute(Batch(x=x, mask=seen), Draw())[0])
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def uncached(model, front, length, window):
    """The likeliest row by whole passes of the network over what a window holds."""
    row, context = list(front), list(front)
    while len(row) < length:
        with torch.no_grad():
            row.append(int(model.logits(torch.tensor([[*context, 0]]), None)[0, -1].argmax()))
        context.append(row[-1])
        if len(context) >= window:
            context = context[-max(1, window // 2) :]
    return row


@pytest.mark.parametrize("front", [[], [1, 2, 3]], ids=["from nothing", "from a prompt"])
@pytest.mark.parametrize("name", MODELS)
def test_cached_is_uncached_also_where_the_window_slides(name, front):
    """40 symbols by a model of 12: its steps are those of the network over the window as it then is."""
    model = made(name, Spec(shape=(12,), vocab=5))
    with torch.no_grad():
        found = model.draw(1, Draw(temperature=0, length=40), None, torch.tensor([front], dtype=torch.long))
    assert found[0].tolist() == uncached(model, front, 40, model.window(40))


@pytest.mark.parametrize("name", MODELS)
def test_cached_logits_are_those_of_the_network(name):
    """Step by step, and a prompt at once and then step by step; the step where weights are laid out anew is among them."""
    model = made(name, Spec(shape=(24,), vocab=5))
    x = torch.randint(5, (3, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = model.logits(x, None)
        for front in (0, 5):
            first, state = model.start(3, None)
            found = [first[:, None]]
            for a, b in [(0, front), *((t, t + 1) for t in range(front, 23))]:
                if a < b:
                    out, state = model.step(x[:, a:b], state)
                    found.append(out)
            torch.testing.assert_close(torch.cat(found, 1), whole, atol=2e-5, rtol=2e-5)


# --- the command line --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A tiny model of running text."""
    where = tmp_path_factory.mktemp("gpt")
    (where / "a.txt").write_text("the cat sat on the mat; 12 cats.\n" * 40)
    recipe = f"family: gpt\ndata: {{name: text, path: '{where}/a.txt', length: 16}}\nmodel: {{layers: 1, width: 16, heads: 2}}\n"
    (where / "r.yaml").write_text(recipe + "train: {steps: 30, batch: 8, lr: 1e-2, sample_every: 100000}\n")
    training.train(training.Request(recipe=str(where / "r.yaml"), overrides=[], out=where / "run", device="cpu"), Quiet())
    return where / "run"


def called(capsys, *args):
    with pytest.raises(SystemExit) as done:
        cli.main([*map(str, args), "--device", "cpu"])
    return done.value.code or 0, capsys.readouterr()


def samples(folder):
    return (folder / "samples.txt").read_text().removesuffix("\n").split("\n" + "-" * 40 + "\n")


def test_a_file_of_prompts(writer, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("the cat\r\n\non\nthe mat; 12\n")
    for n, name in ((1, "one"), (2, "two")):
        keys = [] if n == 1 else ["-n", n]
        code, said = called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "p.txt", *keys, "--json", "--out", tmp_path / name)
        assert code == 0 and json.loads(said.out)["n"] == 3 * n
        texts = samples(tmp_path / name)
        assert [t.startswith(p) for t, p in zip(texts, [p for p in ("the cat", "on", "the mat; 12") for _ in range(n)], strict=True)]
    assert called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "none", "--out", tmp_path / "x")[0] == 66
    (tmp_path / "e.txt").write_text("\n")
    assert called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "e.txt", "--out", tmp_path / "x")[0] == 65
    (tmp_path / "b.txt").write_bytes(b"\xff")
    assert called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "b.txt", "--out", tmp_path / "x")[0] == 65
    (tmp_path / "l.txt").write_text("on\n" + "cat " * 9 + "\n" + "mat " * 9)
    code, said = called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "l.txt", "--out", tmp_path / "l")
    assert code == 0 and "prompt 2 has 36 symbols" in said.err and "1 more are as long" in said.err


def test_a_prompt_gives_what_it_gives_in_a_file(writer, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("the cat\non")
    called(capsys, "sample", "--ckpt", writer, "--prompts", tmp_path / "p.txt", "--seed", 3, "--out", tmp_path / "a")
    called(capsys, "sample", "--ckpt", writer, "--prompt", "the cat", "-n", 1, "--seed", 3, "--out", tmp_path / "b")
    assert samples(tmp_path / "a")[0] == samples(tmp_path / "b")[0]


@pytest.mark.parametrize(
    "keys", [[], ["--prompt", "the"], ["--prompt", "12", "--stop", "cat", "--stop", "\n"], ["--pattern", "[a-z]+ [a-z]+"]], ids=str
)
def test_streaming_prints_what_the_file_holds(writer, tmp_path, capsys, keys):
    code, said = called(capsys, "sample", "--ckpt", writer, *keys, "--stream", "length=60", "--out", tmp_path / "s")
    text = samples(tmp_path / "s")[0]
    assert code == 0 and said.out == text + "\n" and "1 samples in" in said.err
    called(capsys, "sample", "--ckpt", writer, *keys, "-n", 1, "length=60", "chunk=1", "--out", tmp_path / "t")
    assert samples(tmp_path / "t")[0] == text


def test_streaming_says_pieces_that_are_whole(writer):
    sampler, said = Sampler.load(writer), []
    row = next(prompts.live(sampler, said.append, draw=sampler.draw(["length=40", 'stop=["at"]'])))
    assert row.shape == (1, 40) and len([s for s in said if s]) > 2
    text = "".join(said)
    assert "at" not in text and text == sampler.text(row[0], sampler.draw(['stop=["at"]']))


def test_stop_and_pattern_of_the_command_line(writer, tmp_path, capsys):
    called(capsys, "sample", "--ckpt", writer, "-n", 8, "--stop", "a", "--stop", "\n", "length=50", "--out", tmp_path / "a")
    assert not any(set("a\n") & set(t) for t in samples(tmp_path / "a"))
    called(capsys, "sample", "--ckpt", writer, "-n", 8, "--prompt", "the", "--pattern", r" [a-z]{3}\.", "--out", tmp_path / "b")
    assert all(re.fullmatch(r"the [a-z]{3}\.", t) for t in samples(tmp_path / "b"))
    for bad in ("[a", "^a", "a(?=b)"):
        code, said = called(capsys, "sample", "--ckpt", writer, "--pattern", bad, "--out", tmp_path / "c")
        assert code == 2 and "sample.pattern" in said.err
    code, said = called(capsys, "sample", "--ckpt", writer, "--pattern", "Q+", "--out", tmp_path / "c")
    assert code == 2 and "no text of this model's symbols" in said.err


@pytest.mark.parametrize("keys", [["-n", "2"], ["--json"], ["--prompts", "x"], ["beams=2"], ["--draft", "x"]], ids=str)
def test_what_does_not_go_with_streaming(writer, tmp_path, capsys, keys):
    assert called(capsys, "sample", "--ckpt", writer, "--stream", *keys, "--out", tmp_path / "s")[0] == 2


def test_bytes_are_said_as_characters(tmp_path):
    """A model of bytes that writes nothing but snowmen: each of three bytes, and none of them said in parts."""
    spec = Spec(shape=(9,), vocab=256, media="text", codec={"bytes": True})

    class Snow(RNN):
        def start(self, n, given):
            return 99 * torch.nn.functional.one_hot(torch.full((n,), 0xE2), 256).float(), {"n": torch.zeros(n)}

        def step(self, tokens, state):
            follows = {0xE2: 0x98, 0x98: 0x83, 0x83: 0xE2}
            after = torch.tensor([[follows[int(t)] for t in row] for row in tokens])
            return 99 * torch.nn.functional.one_hot(after, 256).float(), state

    sampler, said = Sampler.__new__(Sampler), []
    for name, value in {"model": build(Snow, {"layers": 1, "width": 4}, spec), "spec": spec, "recipe": None}.items():
        object.__setattr__(sampler, name, value)
    next(prompts.live(sampler, said.append, draw=Draw()))
    assert [s for s in said if s] == ["\u2603"] * 3


def test_only_text_has_prompts():
    sampler = Sampler.__new__(Sampler)
    object.__setattr__(sampler, "spec", Spec(shape=(3,), vocab=4))
    object.__setattr__(sampler, "recipe", type("R", (), {"family": "gpt", "sample": Draw()}))
    with pytest.raises(GenctlError, match="cannot go on"):
        prompts.encoded(sampler, ["a"], None, print)


def test_holes_are_told_and_the_rest_is_drawn():
    """Places in the middle of rows may be told too: what stands there is kept, and read."""
    model = made("lstm", Spec(shape=(10,), vocab=5))
    x, seen = torch.randint(5, (4, 10), generator=torch.Generator().manual_seed(0)), torch.rand(4, 10) < 0.4
    with torch.no_grad():
        found = decoding.rows(model, 4, 10, Draw(temperature=0), window=20, prompt=x, seen=seen)
        likeliest = model.logits(found, None).argmax(-1)
    assert torch.equal(found, torch.where(seen, x, likeliest))


def test_lines_are_scored_one_by_one(tmp_path):
    file = train_case("gpt", tmp_path / "gpt", steps=2)
    path = tmp_path / "lines.txt"
    path.write_text("the fox sees the hen \nthe hen flees \n")
    found = json.loads(here("score", "--ckpt", file, "--input", path, "--json", "--device", "cpu", "--out", tmp_path / "out").out)
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines()))
    assert [r["text"] for r in rows] == ["the fox sees the hen ", "the hen flees "] and [r["symbols"] for r in rows] == ["6", "4"]
    assert found["symbols"] == 10 and found["nats_per_symbol"] == pytest.approx(sum(float(r["nats"]) for r in rows) / 10, rel=1e-4)
    path.write_text("the fox says\n")
    here("score", "--ckpt", file, "--input", path, "--device", "cpu", rc=65, id="prompt-token")
