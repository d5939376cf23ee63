"""Trained tokenisers: every text comes back, learned from the training part alone, and carried by the checkpoint."""

import builtins
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genctl import checkpoint, durable
from genctl.contract import Spec
from genctl.data import _tokenise, told
from genctl.data import lines as reader
from genctl.data import text as running
from genctl.errors import GenctlError
from genctl.media import _tokenizer
from genctl.media import text as letters
from tests.faults.tools import here

PROSE = "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals.\nIt was dark. " * 30
LEARNED = ("bpe", "wordpiece", "unigram")


def config(way, vocab=0, **keys):
    return _tokenise.TokeniseConfig(name="lines", tokenise=way, vocab=vocab, **keys)


def coder(way, **keys):
    return _tokenise.fit(config(way, 0 if way == "words" else 600), [PROSE], **keys)


CODERS = {way: coder(way) for way in (*LEARNED, "words", "bytes")}


@given(text=st.text(max_size=40))
@settings(max_examples=80, deadline=None)
@pytest.mark.parametrize("way", [*LEARNED, "bytes"])
def test_every_text_comes_back(way, text):
    found = CODERS[way]
    text = text.encode("utf-8", errors="replace").decode()  # lone surrogates are no text
    row = torch.tensor(found.encode([text])[0], dtype=torch.long)
    spec = Spec(shape=(40,), vocab=found.vocab, end=found.end, media="text", codec=found.codec)
    assert letters.decode(row, spec) == text
    assert b"".join(letters.pieces(spec)[i] for i in row.tolist()) == text.encode()
    assert torch.equal(letters.encode(text, spec), row)


@pytest.mark.parametrize("way", ["bpe", "wordpiece", "words"])
def test_training_again_gives_the_same(way):
    assert coder(way) == CODERS[way]


@pytest.mark.parametrize("way", LEARNED)
def test_learned_pieces_are_longer_than_bytes(way):
    found = CODERS[way]
    assert 257 < found.vocab <= 600 and len(found.encode([PROSE])[0]) < 0.9 * len(PROSE)


@pytest.mark.parametrize("way", [*LEARNED, "words", "bytes", "chars"])
def test_what_looks_like_a_special_symbol_is_text(way):
    text = PROSE + "<|end|> and </s>"
    found = _tokenise.fit(config(way, 0 if way == "words" else 600), [text])
    row = found.encode([text])[0]
    assert found.end not in row
    assert letters.decode(torch.tensor(row), Spec(shape=(9,), vocab=found.vocab, end=found.end, media="text", codec=found.codec)) == text


def test_words_are_those_of_the_training_part():
    found = _tokenise.fit(config("words"), ["a cat sat", "a dog ran"], learn=["a cat sat"])
    assert found.special == {"<|end|>": 0, " <unk>": 1} and found.vocab == 5
    spec = found.spec(9)
    assert letters.decode(torch.tensor(found.encode(["a dog sat"])[0]), spec) == "a <unk> sat"
    assert letters.decode(letters.encode("a <unk> sat", spec), spec) == "a <unk> sat"
    with pytest.raises(GenctlError, match="' dog' is not in this model's vocabulary") as e:
        letters.encode("a dog sat", spec)
    assert e.value.id == "prompt-token"


def test_special_symbols_have_numbers_of_their_own():
    for way in (*LEARNED, "words", "chars", "bytes"):
        found = _tokenise.fit(config(way, 0 if way == "words" else 600), [PROSE], special=("<|end|>", "<|sep|>"))
        assert {"<|end|>", "<|sep|>"} <= found.special.keys()
        assert not {found.special["<|end|>"], found.special["<|sep|>"]} & {i for row in found.encode([PROSE]) for i in row}
        row = torch.tensor([*found.encode(["It"])[0], found.special["<|sep|>"]])
        assert letters.decode(row, found.spec(9)) == "It<|sep|>"


@pytest.mark.parametrize("way", [*LEARNED, "words", "bytes"])
def test_lines_and_windows(tmp_path, way):
    path = tmp_path / "a.txt"
    path.write_text(PROSE)
    keys = {"path": str(path), "tokenise": way, "vocab": 0 if way == "words" else 600}
    data = reader.open(reader.Config(**keys))
    said = {letters.decode(x, data.spec) for x in data.train.batch(0, 9).x}
    assert said <= set(PROSE.split("\n"))
    data = running.open(running.Config(**keys, length=8))
    first, second = data.valid.batch(0, 2).x
    assert first[-1] == second[0] and letters.decode(first, data.spec) in PROSE
    assert int(data.spec.vocab) > int(max(s.batch(0, 99).x.max() for s in (data.train, data.valid, data.test)))


def test_a_file_of_ones_own(tmp_path):
    file, text = tmp_path / "tokenizer.json", tmp_path / "a.txt"
    file.write_text(CODERS["bpe"].codec["tokenizer"])
    text.write_text("another text\nof two lines\nor three\n")
    data = reader.open(reader.Config(path=str(text), tokenizer=str(file)))
    assert data.spec.vocab == CODERS["bpe"].vocab and data.spec.end == 0
    tree = json.loads(file.read_text())
    tree["added_tokens"], tree["model"]["vocab"] = [], {k: v for k, v in tree["model"]["vocab"].items() if k != "<|end|>"}
    file.write_text(json.dumps(tree))
    for content, id in ((file.read_text(), "data-format"), ("{}", "data-format"), ('{"model": 3', "data-format"), (None, "no-input")):
        file.unlink() if content is None else file.write_text(content)
        with pytest.raises(GenctlError) as e:
            reader.open(reader.Config(path=str(text), tokenizer=str(file)))
        assert e.value.id == id


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(GenctlError, match="bytes and special symbols alone are 257"):
        _tokenise.fit(config("bpe", 100), [PROSE])


def test_without_the_library(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("tokenizers"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(GenctlError, match="'text' extra") as e:
        _tokenizer.library()
    assert e.value.id == "backend"


# --- in a checkpoint ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_carries_it(tmp_path):
    text, plan, run = tmp_path / "a.txt", tmp_path / "plan.yaml", tmp_path / "run"
    text.write_text(PROSE)
    data = {"name": "text", "path": str(text), "tokenise": "unigram", "vocab": 600, "length": 8}
    tree = {"family": "gpt", "data": data, "model": {"layers": 1, "heads": 1, "width": 8}, "train": {"steps": 4, "batch": 4}}
    plan.write_text(json.dumps(tree))
    here("train", str(plan), "--out", str(run), "--device", "cpu")
    assert "tokenizer: null" in (run / "recipe.yaml").read_text()
    file = durable.locate(run, print)
    model, recipe, spec, _ = checkpoint.load(file)
    found = spec.codec["tokenizer"]
    assert recipe.data.tokenizer == found and found.startswith("{") and model.spec == spec
    head = checkpoint.look(file)
    assert head.meta["spec"]["codec"]["tokenizer"] == found
    assert running.open(told(running.Config(**data), spec)).spec == spec  # though unigrams are not learned the same twice
    here("train", "--resume", str(run), "--steps", "6", "--device", "cpu")
    said = here("eval", "--ckpt", str(run), "--metric", "nll", "--json").out
    assert "codec/" in said and len(said) < 10_000
    here("sample", "--ckpt", str(run), "-n", "1", "--prompt", "It was", "--out", str(tmp_path / "s"))
    assert (tmp_path / "s" / "samples.txt").read_text().startswith("It was")


def test_damage_is_found():
    tree = {"spec": {"codec": {"tokenizer": '{"model": 1}'}}, "other": [{"tokenizer": "plain"}]}
    plain, bulk = checkpoint.fold(tree)
    (name,) = bulk
    assert plain == {"spec": {"codec": {"tokenizer": name}}, "other": [{"tokenizer": "plain"}]}
    assert checkpoint.unfold(plain, bulk) == tree
    with pytest.raises(KeyError):
        checkpoint.unfold(plain, {})
    with pytest.raises(ValueError, match="row of bytes"):
        checkpoint.unfold(plain, {name: torch.zeros(3)})
    with pytest.raises(UnicodeDecodeError):
        checkpoint.unfold(plain, {name: torch.full((3,), 255, dtype=torch.uint8)})
