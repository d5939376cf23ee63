"""Labelled texts, tagged words and questions: what the readers promise, and files of every kind of badness."""

import gzip
import json

import pytest
import torch

from genctl import catalog
from genctl.data import _squad, _tagged, _tokenise
from genctl.errors import GenctlError
from genctl.media import text as letters


def read(name, **keys):
    reader = catalog.load("data", name)
    return reader.open(reader.Config(**{k: str(v) if k == "path" else v for k, v in keys.items()}))


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(id, name, said=".", **keys):
    with pytest.raises(GenctlError, match=said) as e:
        read(name, **keys)
    assert e.value.id == id, e.value


ROWS = [(f"text number {i}, good or bad", ("good", "bad")[i % 2]) for i in range(20)]
CSV = "text,label\n" + "".join(f'"{t}",{k}\n' for t, k in ROWS)
PLAIN = {"tokenise": "chars", "lower": False}


# --- classes ---


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV),
        ("a.csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.tsv", CSV.replace(",good\n", "\tgood\n").replace(",bad\n", "\tbad\n").replace("text,label", "text\tlabel")),
        ("a.jsonl", "\n".join(json.dumps({"label": k, "text": t, "more": [1]}) for t, k in ROWS) + "\n\n"),
    ],
    ids=["csv", "csv with BOM and CRLF", "gz", "tsv", "jsonl"],
)
def test_every_text_comes_with_its_class(tmp_path, name, data):
    found = read("labelled", path=write(tmp_path / name, data), **PLAIN)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [16, 2, 2]
    assert found.spec.given["label"].codec["names"] == ["bad", "good"] and found.spec.end == 0
    every = [s.batch(0, len(s)) for s in (found.train, found.valid, found.test)]
    texts = [letters.decode(x, found.spec) for b in every for x in b.x]
    said = [["bad", "good"][k] for b in every for k in b.given["label"].tolist()]
    assert sorted(zip(texts, said, strict=True)) == sorted(ROWS)


def test_texts_are_cut_and_that_is_said(tmp_path):
    found = read("labelled", path=write(tmp_path / "a.csv", CSV), length=10, **PLAIN)
    x = found.train.batch(0, 3).x
    assert x.shape == (3, 10) and (x[:, -1] == 0).all() and letters.decode(x[0], found.spec) == "text numb"
    assert "20 of 20 texts" in found.notes[0]


def test_learned_symbols_are_those_of_small_letters_with_a_space_before(tmp_path):
    """A word is the same symbol at the beginning and inside, large and small."""
    data = "text,label\n" + "Card lost,a\nmy card,b\n" * 10
    found = read("labelled", path=write(tmp_path / "a.csv", data), vocab=600)
    row = {letters.decode(x, found.spec): x[x != found.spec.end].tolist() for x in found.train.batch(0, 16).x}
    assert row.keys() == {" card lost", " my card"}
    assert row[" card lost"][0] == row[" my card"][-1]


@pytest.mark.parametrize(
    ("data", "id", "said"),
    [
        ("text,label\n", "data-empty", "no rows but the header"),
        ("", "data-empty", "no text"),
        ("text,kind\na,b\n", "data-format", "no column 'label'; there is text, kind"),
        ("text,label\na,b,c\n", "data-format", "line 2 has 3 cells, expected 2"),
        ("text,label\n" + "x,a\n" * 9 + '"  ",a\n', "data-bad", "is empty"),
        (b"text,label\n\xff\xfe,a\n", "data-encoding", "0xff at offset 11"),
        ("text,label\n" + "".join(f"x{i},class {i}\n" for i in range(20)), "data-format", "none to train on"),
        (b"\x1f\x8b\x08 no gzip", "data-format", "."),
    ],
)
def test_bad_tables_are_refused(tmp_path, data, id, said):
    refused(id, "labelled", said, path=write(tmp_path / "a.csv", data), **PLAIN)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[1]\n", "line 1 is no object"),
        ('{"text": \n', "line 1 is not JSON"),
        ('{"text": ["a"], "label": "b"}\n', "'text' is neither text"),
        ('{"text": "a"}\n', "no column 'label'"),
    ],
)
def test_bad_json_lines_are_refused(tmp_path, data, said):
    refused("data-format", "labelled", said, path=write(tmp_path / "a.jsonl", data), **PLAIN)


def test_nothing_there(tmp_path):
    refused("no-input", "labelled", path=tmp_path / "none.csv")
    refused("no-input", "sst2", "train.tsv", path=tmp_path)
    refused("config", "labelled", "read as they are", path=write(tmp_path / "a.csv", CSV), tokenise="chars")


@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("sst2", (6_920, 872, 1_821), 2),
        ("imdb-cad", (1_707, 245, 488), 2),
        ("ag-news-test", (6_000, 800, 800), 4),
        ("banking77", (9_003, 1_000, 3_080), 77),
    ],
)
def test_named_sets_are_all_there(real_data, name, sizes, classes):
    found = read(name, tokenise="bytes", lower=False, length=16)
    assert tuple(map(len, (found.train, found.valid, found.test))) == sizes
    assert found.spec.given["label"].vocab == classes
    assert all(
        torch.bincount(s.batch(0, 10_000).given["label"], minlength=classes).min() > 0 for s in (found.train, found.valid, found.test)
    )


# --- tags ---

CONLL = "-DOCSTART- -X- O\n\n" + "Ada B-person\nLovelace I-person\nsleeps O\n\nnobody O\n\n" * 10


def test_a_words_first_symbol_carries_its_tag(tmp_path):
    found = read("conll", path=write(tmp_path / "a.conll", CONLL), **PLAIN)
    tag = found.spec.given["tag"]
    assert tag.codec["names"] == ["O", "B-person", "I-person", ""] and tag.codec["none"] == 3
    every = found.train.batch(0, 16)
    for x, y in zip(every.x, every.given["tag"], strict=True):
        text = letters.decode(x, found.spec)
        said = {" Ada Lovelace sleeps": {0: 1, 4: 2, 13: 0}, " nobody": {0: 0}}[text]
        assert {i: k for i, k in enumerate(y.tolist()) if k != 3} == said


def test_a_word_without_symbols_keeps_its_place():
    config = _tokenise.TokeniseConfig(name="conll", tokenise="wordpiece", vocab=600, lower=True)
    known = _tokenise.fit(config, ["a few words to learn from?"] * 5)
    row, first = _tagged.aligned(known, ["few", "\u00a0", "words"])
    assert len(first) == 3 and first[0] < first[1] < first[2] < len(row)


@pytest.mark.parametrize(("data", "said"), [("Ada B-person\nLovelace\n", "line 2 is not a word and its tag"), ("\n\n", "no tagged words")])
def test_bad_tags_are_refused(tmp_path, data, said):
    refused("data-empty" if "no tagged" in said else "data-format", "conll", said, path=write(tmp_path / "a.conll", data), **PLAIN)


def test_wnut17_is_all_there(real_data):
    found = read("wnut17")
    assert [len(s) for s in (found.train, found.valid, found.test)] == [3_394, 1_009, 1_287]
    names = found.spec.given["tag"].codec["names"]
    begins = [names.index(n) for n in names if n.startswith("B-")]
    counts = [int(torch.isin(s.batch(0, 5000).given["tag"], torch.tensor(begins)).sum()) for s in (found.train, found.valid, found.test)]
    assert counts == [1_975, 836, 1_079]


# --- spans ---


def squad(context="Ada Lovelace wrote the first program in 1843.", answer="the first program", start=19, n=10):
    qa = {"id": "q", "question": "What did Ada write?", "answers": [{"text": answer, "answer_start": start}]}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [qa]}]}] * n})


def test_a_span_holds_the_words_that_answer(tmp_path):
    found = read("squad", path=write(tmp_path / "a.json", squad()), length=100, **PLAIN)
    one = found.train.batch(0, 1)
    a, b = one.given["span"][0].tolist()
    assert letters.decode(one.x[0, a : b + 1], found.spec) == " the first program"
    assert letters.decode(one.given["answer"][0], found.spec.given["answer"]) == " the first program"
    assert letters.decode(one.x[0], found.spec).startswith(" What did Ada write?" + _squad.BETWEEN + " Ada")


def test_an_answer_that_is_cut_off(tmp_path):
    long = squad("word " * 50 + "here it is", "here", 250)
    refused("data-empty", "squad", "no answer lies within", path=write(tmp_path / "a.json", long), length=60, **PLAIN)


@pytest.mark.parametrize("data", [squad(start=3), "{}", "[1]", '{"data": [{"paragraphs": [{"qas": []}]}]}', "no json"])
def test_bad_questions_are_refused(tmp_path, data):
    refused("data-format", "squad", path=write(tmp_path / "a.json", data), **PLAIN)


@pytest.mark.slow
def test_sick_and_xquad_are_all_there(real_data):
    found = read("sick")
    assert [len(s) for s in (found.train, found.valid, found.test)] == [4_439, 495, 4_906]
    score = found.test.batch(0, 4_906).given["relatedness"]
    assert score.min() >= 0 and score.max() <= 1
    for language in ("en", "de"):
        found = read("xquad", language=language)
        assert len(found.test) == 220
        assert ((one := found.test.batch(0, 220)).given["span"][:, 1] >= one.given["span"][:, 0]).all()
