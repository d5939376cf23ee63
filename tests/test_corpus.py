"""A corpus: documents tokenised once, without duplicates, split by their own content, verified when opened."""

import itertools
import json

import pytest
import torch

from genctl.data import corpus
from genctl.errors import GenctlError
from genctl.media import text as letters
from tests.faults.tools import here

SAID = [f"document {i} says {'word ' * (i % 7)}and ends" for i in range(120)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCTL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "corpus"


def opened(path, **keys):
    return corpus.open(corpus.Config(path=str(path), **{"length": 12, "vocab": 300, "valid": 0.2, "test": 0.2, **keys}))


def lines(tmp_path, said=SAID):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(said))
    return path


def stream(split, spec):
    """The whole row behind training windows, as documents."""
    x = split.batch(0, len(split)).x
    row = torch.cat([x[0], x[1:, -1]]).tolist()
    cuts = [-1, *(i for i, s in enumerate(row) if s == 0)]
    return [letters.decode(torch.tensor(row[a + 1 : b]), spec) for a, b in itertools.pairwise(cuts)]


@pytest.mark.parametrize("way", ["bpe", "words", "chars", "bytes"])
def test_every_document_once(tmp_path, way):
    data = opened(lines(tmp_path, [*SAID, SAID[3], "  " + SAID[4]]), documents="lines", tokenise=way, vocab=300 if way == "bpe" else 0)
    assert "2 of 122 documents" in data.notes[0]
    if way != "bytes":  # there the end is behind the bytes
        train = stream(data.train, data.spec)
        assert len(train) == len(set(train)) and set(train) <= set(SAID) and 40 < len(train) < 100
    rows = opened(lines(tmp_path), documents="lines", tokenise=way, vocab=300 if way == "bpe" else 0, packed=False, length=200)
    found = [{letters.decode(x, rows.spec) for x in s.batch(0, len(s)).x} for s in (rows.train, rows.valid, rows.test)]
    if way != "words":  # numbers that are held out are unknown there
        assert set.union(*found) == set(SAID)
    assert sum(len(s) for s in (rows.train, rows.valid, rows.test)) == len(SAID) and not found[0] & (found[1] | found[2])


def test_long_documents_are_rows_one_after_another(tmp_path):
    data = opened(lines(tmp_path), documents="lines", tokenise="chars", packed=False, length=10)
    x = data.train.batch(0, len(data.train)).x
    assert data.spec.end == 0 and x.shape[1] == 10
    text = "".join(letters.decode(row, data.spec) + ("|" if 0 in row else "") for row in x)
    assert set(text.rstrip("|").split("|")) <= set(SAID)


def test_a_document_stays_where_it_is_when_others_come(tmp_path):
    held = [set(stream_valid(opened(lines(tmp_path, SAID[:n]), documents="lines", tokenise="chars", length=3))) for n in (60, 120)]
    assert held[0] <= held[1]


def stream_valid(data):
    x = data.valid.batch(0, len(data.valid)).x
    row = torch.cat([x[0], *(w[1:] for w in x[1:])])
    text = letters.decode(row, data.spec.__class__(**{**vars(data.spec), "end": None}))
    return [s for s in SAID if s in text]


def test_files_paragraphs_and_json_lines(tmp_path):
    home = tmp_path / "docs"
    (home / "sub").mkdir(parents=True)
    for i, text in enumerate(SAID):
        (home / "sub" / f"{i}.txt").write_text(text)
    (home / "more.jsonl").write_text("".join(json.dumps({"text": f"json {i}", "id": i}) + "\n" for i in range(5)))
    rows = opened(home, packed=False, length=200, tokenise="chars")
    assert sum(len(s) for s in (rows.train, rows.valid, rows.test)) == 125
    path = tmp_path / "p.txt"
    path.write_bytes("\r\n\r\n\r\n".join(f"{s}\r\nsecond line" for s in SAID).encode())
    rows = opened(path, documents="paragraphs", packed=False, length=200, tokenise="chars")
    assert letters.decode(rows.train.batch(0, 1).x[0], rows.spec).endswith("and ends\nsecond line")
    assert sum(len(s) for s in (rows.train, rows.valid, rows.test)) == 120


def test_what_is_made_is_kept_and_mended(tmp_path, cache):
    path = lines(tmp_path)
    first = opened(path, documents="lines")
    (home,) = (p for p in cache.iterdir() if p.is_dir())
    before = (home / "facts.json").stat().st_mtime_ns
    assert opened(path, documents="lines").train.fingerprint() == first.train.fingerprint()
    assert (home / "facts.json").stat().st_mtime_ns == before
    x = first.train.batch(0, 50).x.clone()
    data = bytearray((home / "train.symbols").read_bytes())
    data[7] ^= 1
    (home / "train.symbols").write_bytes(data)
    again = opened(path, documents="lines")
    assert torch.equal(again.train.batch(0, 50).x, x)
    for p in cache.glob("*.json"):
        p.write_text("{")
    assert opened(path, documents="lines").spec == first.spec


def test_prepare_says_how_far_it_is(tmp_path):
    path = lines(tmp_path)
    spec = f"corpus,path={path},documents=lines,vocab=300,valid=0.2,test=0.2"
    said = here("data", "prepare", spec)
    assert "train.symbols" in said.out and "120 documents" in said.err
    assert "is there" in here("data", "prepare", spec).err
    here("data", "prepare", "digits,limit=3", rc=2, id="usage")


@pytest.mark.parametrize(
    ("name", "content", "keys", "id"),
    [
        ("a.txt", b"a\xffb", {}, "data-encoding"),
        ("a.jsonl", b"[1]\n", {}, "data-format"),
        ("a.jsonl", b'{"text": 3}\n', {}, "data-format"),
        ("a.jsonl", b"{" * 100_000, {}, "data-format"),
        ("a.txt", b" \n\n", {}, "data-empty"),
        ("a.txt", b"one document", {}, "data-empty"),
        ("a.txt", b"x", {"vocab": 10}, "config"),
        ("a.pdf", b"x", {}, "data-empty"),
    ],
)
def test_faults_are_named(tmp_path, name, content, keys, id):
    home = tmp_path / "docs"
    home.mkdir()
    (home / name).write_bytes(content)
    with pytest.raises(GenctlError) as e:
        opened(home, **keys)
    assert e.value.id == id


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GENCTL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(GenctlError, match="GENCTL_CACHE"):
        opened(lines(tmp_path), documents="lines")
    with pytest.raises(GenctlError, match=r"data\.path"):
        corpus.open(corpus.Config())
