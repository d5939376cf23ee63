"""Pairs of texts: what becomes of them as data, and how what is written from a source is scored."""

import gzip
import json
import math
from collections import Counter

import pytest
import torch

from genctl import catalog, metrics
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.media import text as letters
from genctl.metrics import Case, _texts, bleu, chrf, exact_match, rouge

READER = catalog.load("data", "text-pairs")
PAIRS = [(f"the cat {i} sat on mat {i % 7}", f"die Katze {i} saß auf Matte {i % 7}") for i in range(40)]


def opened(path, **keys):
    return READER.open(READER.Config(path=str(path), **keys))


def table(tmp_path, pairs=PAIRS, name="pairs.tsv"):
    path = tmp_path / name
    path.write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return path


def folder(tmp_path, a, b):
    (tmp_path / "a").write_bytes(a)
    (tmp_path / "b").write_bytes(b)
    return tmp_path


# --- data ---


@pytest.mark.parametrize("way", ["bpe", "chars", "bytes", "words"])
def test_both_sides_come_back_as_they_were(way, tmp_path):
    data = opened(table(tmp_path), tokenise=way, vocab=300 if way == "bpe" else 0, valid=0.25, test=0.25)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [20, 10, 10]
    source = data.spec.given["source"]
    assert source.codec == data.spec.codec and source.end == data.spec.end
    for split in (data.train, *((data.valid, data.test) if way != "words" else ())):  # words of others may not be known
        batch = split.batch(0, len(split))
        assert batch.x.dtype == torch.long
        for x, s, (read, (written,)) in zip(batch.x, batch.given["source"], split.said, strict=True):
            assert (letters.decode(s, source), letters.decode(x, data.spec)) == (read, written)
            assert (read, written) in PAIRS
            assert x[-1] == s[-1] == data.spec.end


def test_pieces_are_learned_on_both_sides_of_the_training_part_alone(tmp_path):
    rare = [(f"q{'z' * 30} {i}", f"q{'w' * 30} {i}") for i in range(30)]
    data = opened(table(tmp_path, rare), vocab=300, valid=0.3, test=0.3)
    held = [t for s in (data.valid, data.test) for a, (b,) in s.said for t in (a, b)]
    assert any("z" * 8 in p for p in letters.symbols(data.spec)) and any("w" * 8 in p for p in letters.symbols(data.spec))
    other = opened(table(tmp_path, [(a, b) if a not in held else (a + "x", b) for a, b in rare], "b.tsv"), vocab=300, valid=0.3, test=0.3)
    assert other.spec.codec == data.spec.codec


def test_long_sources_are_cut_and_long_targets_left_out_of_training(tmp_path):
    pairs = [("a" * (3 + i % 4), "b" * (3 + i % 3)) for i in range(24)]
    data = opened(table(tmp_path, pairs), tokenise="chars", length=5, source_length=6, valid=0.25, test=0.25)
    assert data.spec.shape == (5,) and data.spec.given["source"].shape == (6,)
    train = sum(len(b) < 5 for _, (b,) in data.train.said)
    assert train == len(data.train) == len(data.train.batch(0, 100))
    assert len(data.valid) == len(data.test) == 6
    assert len(data.notes) == 2 and "left out" in data.notes[0] and "cut" in data.notes[1]
    assert any(len(b) == 5 for _, (b,) in data.test.said)
    with pytest.raises(GenctlError, match="no target"):
        opened(table(tmp_path, pairs), tokenise="chars", length=3)


def test_two_files_belong_together_line_by_line(tmp_path):
    data = opened(folder(tmp_path, b"one\r\ntwo\r\nthree\n", b"eins\nzwei\ndrei"), source="a", target="b", tokenise="chars")
    said = {a: b for s in (data.train, data.valid, data.test) for a, (b,) in s.said}
    assert said == {"one": "eins", "two": "zwei", "three": "drei"}


def test_limit_keeps_texts_and_rows_together(tmp_path):
    data = opened(table(tmp_path), tokenise="chars", limit=3)
    assert len(data.train) == len(data.train.said) == 3


@pytest.mark.parametrize(
    ("a", "b", "id", "said"),
    [
        (b"one\ntwo\n", b"eins\n", "data-mismatch", "a has 2 lines, b has 1"),
        (b"one\n\xff\n", b"eins\nzwei\n", "data-encoding", "0xff at offset 4"),
        (b"one\n \nthree\n", b"eins\nzwei\ndrei\n", "data-bad", "an empty side"),
        (b"", b"", "data-empty", "no text"),
    ],
    ids=["lines", "utf-8", "empty side", "empty file"],
)
def test_files_that_do_not_belong_together_are_one_error(a, b, id, said, tmp_path):
    with pytest.raises(GenctlError, match=said) as e:
        opened(folder(tmp_path, a, b), source="a", target="b", tokenise="chars", valid=0, test=0)
    assert e.value.id == id


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(GenctlError, match=r"data\.target"):
        opened(folder(tmp_path, b"x\n", b"y\n"), source="a", target="c")
    with pytest.raises(GenctlError, match="'english'"):
        opened(table(tmp_path), source="english")
    with pytest.raises(GenctlError, match=r"data\.path"):
        READER.open(READER.Config())


def test_several_references_stay(tmp_path):
    for part, n in (("train", 6), ("dev", 3), ("test", 2)):
        rows = [{"source": [f"First {i} .", f"second\n {i}"], "target": [f"sum {i}\n"] + ["other"] * (part != "train")} for i in range(n)]
        (tmp_path / f"{part}.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    reader = catalog.load("data", "scitldr-a")
    data = reader.open(reader.Config(path=str(tmp_path), tokenise="chars"))
    assert data.test.said[1] == ("First 1 . second 1", ("sum 1", "other"))
    assert letters.decode(data.test.batch(1, 2).x[0], data.spec) == "sum 1"
    (tmp_path / "dev.jsonl.gz").write_bytes(gzip.compress(b'{"source": "no list of sentences"}'))
    with pytest.raises(GenctlError, match=r"dev\.jsonl\.gz: line 1"):
        reader.open(reader.Config(path=str(tmp_path)))


@pytest.mark.parametrize(("name", "sizes"), [("multi30k-en-de", (29_000, 1_014, 1_000)), ("ag-news-titles", (6_000, 800, 800))])
def test_published_sets_are_all_there(name, sizes, real_data):
    reader = catalog.load("data", name)
    data = reader.open(reader.Config(tokenise="bytes"))
    assert (len(data.train), len(data.valid), len(data.test)) == sizes
    assert all("\\" not in t for pair in data.test.said for t in (pair[0], *pair[1])) or name == "multi30k-en-de"


# --- scores ---


def case(written, references, sources=None):
    """Texts as characters, and what should have been written beside them."""
    said = [(s, r if isinstance(r, tuple) else (r,)) for s, r in zip(sources or [""] * len(written), references, strict=True)]
    known = ["", *sorted({c for t in (*written, *(r for _, refs in said for r in refs)) for c in t})]
    size = max(map(len, [*written, *(r[0] for _, r in said)])) + 1
    spec = Spec(shape=(size,), vocab=len(known), end=0, media="text", codec={"symbols": known})

    def rows(texts):
        return torch.stack([torch.tensor(([known.index(c) for c in t] + [0] * size)[:size]) for t in texts])

    return Case(
        spec=spec,
        reference=Batch(x=rows([r[0] for _, r in said])),
        samples=rows(written),
        pairs=Batch(x=rows([r[0] for _, r in said])),
        said=said,
    )


def textbook(written, references):
    """BLEU of Papineni et al.: words between spaces, one reference, no smoothing."""
    score = 0.0
    for n in range(1, 5):
        hit = total = 0
        for w, r in zip(written, references, strict=True):
            grams = [Counter(tuple(t.split()[i : i + n]) for i in range(len(t.split()) - n + 1)) for t in (w, r)]
            hit += sum((grams[0] & grams[1]).values())
            total += sum(grams[0].values())
        score += math.log(hit / total) / 4
    short = min(0.0, 1 - sum(len(r.split()) for r in references) / sum(len(w.split()) for w in written))
    return 100 * math.exp(score + short)


WRITTEN = ["the cat sat on the mat today", "a dog ran over the wide road", "Two men are in a boat"]
REFERENCE = ["the cat sat on a mat today", "a dog ran across the wide road and away", "two men are in a boat"]


def test_bleu_is_the_textbook():
    found = bleu.measure(case(WRITTEN, REFERENCE, ["x y"] * 3))
    assert found.value == pytest.approx(textbook(WRITTEN, REFERENCE), abs=1e-6)
    lower = [[t.lower() for t in side] for side in (WRITTEN, REFERENCE)]
    assert found.fields["lower"] == pytest.approx(textbook(*lower), abs=1e-6)
    assert found.fields["copy"] == 0 and "tok:13a" in found.fields["signature"] and "case:mixed" in found.fields["signature"]
    assert bleu.measure(case(REFERENCE, REFERENCE)).value == pytest.approx(100)
    assert bleu.measure(case(["", ""], ["a b", "c"])).value == 0


def test_the_source_handed_back_is_scored():
    assert bleu.measure(case(WRITTEN, REFERENCE, REFERENCE)).fields["copy"] == pytest.approx(100)


def test_several_references_help():
    two = [(r, w) for r, w in zip(REFERENCE, WRITTEN, strict=True)]
    assert bleu.measure(case(WRITTEN, two)).value == pytest.approx(100)
    assert exact_match.measure(case(WRITTEN, two)).value == 1
    assert rouge.measure(case(WRITTEN, two)).value == pytest.approx(100)
    assert bleu.measure(case(WRITTEN, [*two[:2], (REFERENCE[2],)])).value < 100


def test_chrf_of_what_is_written_right():
    right = chrf.measure(case(REFERENCE, REFERENCE))
    assert right.value == pytest.approx(100) and right.fields["words"] == pytest.approx(100)
    assert 0 < chrf.measure(case(WRITTEN, REFERENCE)).value < 100


def test_rouge_by_hand():
    """Words in one order: police kill(ed) the gunman, of four and four words, share three; pairs: one of three."""
    found = rouge.measure(case(["police kill the gunman"], ["police killed gunman the"], ["Police killed. Then they left."]))
    assert found.value == pytest.approx(75)
    assert found.fields["rouge1"] == pytest.approx(100)
    assert found.fields["rouge2"] == pytest.approx(100 / 3)
    assert found.fields["lead1_rouge1"] == pytest.approx(100 * 2 * 2 / (2 + 4))
    assert found.se is None


@pytest.mark.parametrize(
    ("said", "first"), [("One. Two.", "One."), ("It costs 3.50 now! Yes.", "It costs 3.50 now!"), ("no end", "no end"), ("", "")]
)
def test_the_first_sentence(said, first):
    assert rouge.first_sentence(said) == first


def test_exact_match_by_hand():
    found = exact_match.measure(case(["a", " b ", "c", "d"], ["a", "b", "x", ("y", "d")]))
    assert found.value == 0.75
    assert found.se == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


def test_texts_that_were_not_kept_are_read_from_the_rows():
    full = case(WRITTEN, REFERENCE)
    bare = Case(spec=full.spec, reference=full.reference, samples=full.samples, pairs=full.pairs)
    assert bleu.measure(bare).value == pytest.approx(bleu.measure(full).value)


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge", "exact_match"])
def test_what_is_no_text_has_no_figure(name):
    plain = Case(spec=Spec(shape=(2,)), reference=Batch(x=torch.zeros(1, 2)), samples=torch.zeros(1, 2), pairs=Batch(x=torch.zeros(1, 2)))
    assert metrics.load(name).measure(plain).reason == "needs texts"


def test_a_missing_library_is_a_reason():
    assert "genctl[text]" in _texts.library("no_such_library_here").reason


def test_the_error_of_bleu_is_that_of_its_spread():
    """Over many sets of sentences, the jackknife's error is about the deviation of the figure."""
    g = torch.Generator().manual_seed(0)
    words = ["a", "b", "c", "d", "e", "f", "g", "h"]

    def texts(n):
        made = [[words[i] for i in torch.randint(8, (8,), generator=g).tolist()] for _ in range(n)]
        spoiled = [[w if torch.rand(1, generator=g) < 0.9 else "z" for w in t] for t in made]
        return [" ".join(t) for t in spoiled], [" ".join(t) for t in made]

    scores = [bleu.measure(case(*texts(60))) for _ in range(25)]
    values = torch.tensor([s.value for s in scores])
    assert 0.6 < torch.tensor([s.se for s in scores]).mean() / values.std() < 1.7
