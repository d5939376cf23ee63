"""predict, search, and the metrics of what a model tells: known values, baselines beside them, and inputs of every kind of badness."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from genctl.cli.app import run
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.metrics import Case, accuracy, em, f1, retrieval, spearman
from genctl.tasks import train as training
from tests.battery import Quiet

WORDS = "tokenise: words, vocab: 0"
BODY = "model.body={family: bert, model: {layers: 0, heads: 1, width: 8}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Readers of classes, tags and spans and an embedder, of a few steps on tiny files."""
    home = tmp_path_factory.mktemp("runs")
    rows = [f'"{"good" if i % 2 else "bad"} film number {i}",{"yes" if i % 2 else "no"}\n' for i in range(60)]
    (home / "a.csv").write_text("text,label\n" + "".join(rows))
    (home / "a.conll").write_text("Ada B-person\nLovelace I-person\nsleeps O\n\nnobody O\nsleeps O\n\n" * 20)
    context = "Ada Lovelace wrote the first program in 1843."
    qa = {"question": "When?", "answers": [{"text": "1843", "answer_start": 40}]}
    (home / "a.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [qa]}]}] * 20}))
    kinds = {
        "class": ("reader", "labelled", "a.csv", "bag: 2, buckets: 256", WORDS),
        "tags": ("reader", "conll", "a.conll", "target: tag", WORDS),
        "span": ("reader", "squad", "a.json", "target: span", "length: 80, vocab: 600, tokenise: wordpiece"),
        "near": ("embedder", "labelled", "a.csv", "near: label", WORDS),
    }
    for name, (family, data, file, model, keys) in kinds.items():
        path = home / f"{name}.yaml"
        path.write_text(
            f"family: {family}\ndata: {{name: {data}, path: {home / file}, {keys}}}\nmodel: {{{model}}}\n"
            "train: {steps: 150, batch: 16, lr: 0.05}\n"
        )
        training.train(training.Request(recipe=str(path), overrides=[(BODY, None)], out=home / name, device="cpu"), Quiet())
    return home


def told(capsys, *args):
    assert run([str(a) for a in args]) == 0
    return json.loads(capsys.readouterr().out)


# --- predict ---


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("b.txt", "a good film\nBAD film\n"),
        ("b.csv", "text,id\na good film,1\nBAD film,2\n"),
        ("b.jsonl", '{"text": "a good film"}\n\n{"text": "BAD film"}\n'),
        ("b.tsv", b"\xef\xbb\xbftext\tid\r\na good film\t1\r\nBAD film\t2\r\n"),
    ],
)
def test_predict_tells_classes(runs, tmp_path, capsys, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    found = told(capsys, "predict", "--ckpt", runs / "class", "--input", path, "--json")
    assert [row["label"] for row in found] == ["yes", "no"] and [row["text"] for row in found] == ["a good film", "BAD film"]
    assert all(math.isclose(sum(row["likeliest"].values()), 1, abs_tol=1e-5) and row["probability"] > 0.6 for row in found)


def test_predict_writes_json_lines(runs, tmp_path, capsys):
    (tmp_path / "b.txt").write_text("good\nbad\ngood\n")
    out = tmp_path / "new" / "b.jsonl"
    assert run(["predict", "--ckpt", str(runs / "class"), "--input", str(tmp_path / "b.txt"), "--out", str(out)]) == 0
    assert [json.loads(line)["label"] for line in out.read_text().splitlines()] == ["yes", "no", "yes"]
    capsys.readouterr()
    assert run(["predict", "--ckpt", str(runs / "class"), "--input", str(tmp_path / "b.txt")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_predict_tells_entities(runs, tmp_path, capsys):
    (tmp_path / "b.txt").write_text("nobody Ada Lovelace\n")
    (found,) = told(capsys, "predict", "--ckpt", runs / "tags", "--input", tmp_path / "b.txt", "--json")
    assert found["words"] == ["nobody", "Ada", "Lovelace"] and found["tags"] == ["O", "B-person", "I-person"]
    assert [(e["text"], e["type"]) for e in found["entities"]] == [("Ada Lovelace", "person")]


def test_predict_answers_questions(runs, tmp_path, capsys):
    row = {"question": "When?", "context": "Ada Lovelace wrote the first program in 1843."}
    (tmp_path / "b.jsonl").write_text(json.dumps(row) + "\n")
    (found,) = told(capsys, "predict", "--ckpt", runs / "span", "--input", tmp_path / "b.jsonl", "--json")
    assert found["answer"] == "1843." and 0 < found["probability"] <= 1


@pytest.mark.parametrize(
    ("name", "data", "id"),
    [
        ("b.jsonl", "{", "data-format"),
        ("b.jsonl", '{"other": "a"}\n', "data-format"),
        ("b.jsonl", '{"text": 3}\n', "data-format"),
        ("b.csv", "a,b\n1,2\n", "data-format"),
        ("b.txt", "", "data-empty"),
        ("none.txt", None, "no-input"),
    ],
)
def test_predict_refuses_bad_files(runs, tmp_path, name, data, id):
    if data is not None:
        (tmp_path / name).write_text(data)
    with pytest.raises(GenctlError) as e:
        run(["predict", "--ckpt", str(runs / "class"), "--input", str(tmp_path / name)])
    assert e.value.id == id


def test_what_cannot_predict_or_draw_says_so(runs, tmp_path):
    (tmp_path / "b.txt").write_text("a\n")
    for words in (["predict", "--ckpt", runs / "near", "--input", tmp_path / "b.txt"], ["sample", "--ckpt", runs / "class"]):
        with pytest.raises(GenctlError) as e:
            run([str(w) for w in words])
        assert e.value.id == "power"


# --- search ---


def test_search_finds_what_is_near_and_keeps_the_codes(runs, tmp_path, capsys):
    (tmp_path / "c.txt").write_text("bad bad film\n\na good film\nnumber\n")
    words = ["search", "something good", "--ckpt", runs / "near", "--index", tmp_path / "c.txt", "-k", "2", "--json"]
    found = told(capsys, *words)
    assert found[0]["line"] == 3 and found[0]["text"] == "a good film" and len(found) == 2
    assert found[0]["likeness"] >= found[1]["likeness"]
    assert told(capsys, *words) == found and "once" not in capsys.readouterr().err
    (kept,) = (tmp_path / "cache" / "search").iterdir()
    kept.write_bytes(b"damaged")
    assert told(capsys, *words) == found


def test_search_refuses_nothing(runs, tmp_path):
    (tmp_path / "c.txt").write_text("\n\n")
    for query, file, id in (("a", "c.txt", "data-empty"), ("a", "none.txt", "no-input")):
        with pytest.raises(GenctlError) as e:
            run(["search", query, "--ckpt", str(runs / "near"), "--index", str(tmp_path / file)])
        assert e.value.id == id


# --- figures ---


def test_eval_sets_a_bag_of_words_beside(runs, capsys):
    found = told(capsys, "eval", "--ckpt", runs / "class", "--metric", "accuracy,loss", "--json")["results"]
    a = found["accuracy"]
    assert a["value"] == a["bag_of_words"] == 1.0 and a["over_bag_of_words"] == 0.0 and a["n"] == 6
    assert found["loss"]["value"] < 0.5


def test_eval_measures_tags_spans_and_codes(runs, capsys):
    assert told(capsys, "eval", "--ckpt", runs / "tags", "--metric", "f1,accuracy", "--json")["results"]["f1"]["value"] == 1.0
    assert told(capsys, "eval", "--ckpt", runs / "span", "--metric", "em", "--json")["results"]["em"]["value"] == 1.0
    found = told(capsys, "eval", "--ckpt", runs / "near", "--metric", "retrieval,accuracy", "--json")["results"]
    assert found["retrieval"]["recall_1"] == 1.0
    assert found["accuracy"]["value"] is None and "lacks the power" in found["accuracy"]["reason"]


def test_a_classifier_of_pictures_has_an_accuracy_too(tmp_path, capsys):
    out = tmp_path / "run"
    overrides = [("train.steps=20", None)]
    training.train(training.Request(recipe="classifier-digits", overrides=overrides, out=out, device="cpu"), Quiet())
    found = told(capsys, "eval", "--ckpt", out, "--metric", "accuracy", "--json")["results"]["accuracy"]
    assert 0.05 < found["chance"] < 0.2 and "bag_of_words" not in found and found["se"] > 0


def test_macro_f1_by_hand():
    """Three of class 0, one of class 1: 0 is told thrice, twice rightly; F1 2/3 and 0; class 2 is neither told nor there."""
    said, truth = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 0, 1])
    assert accuracy.macro_f1(said, truth, 3) == pytest.approx((2 * 2 / 6 + 0) / 2)


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-a I-a O", [(1, 3, "a")]),
        ("B-a B-a", [(0, 1, "a"), (1, 2, "a")]),
        ("I-a I-a O", []),
        ("B-a I-b I-a", [(0, 1, "a")]),
        ("B-a I-a I-a", [(0, 3, "a")]),
        ("O", []),
    ],
)
def test_entities_are_those_of_strict_iob2(tags, found):
    """As seqeval parses them with mode='strict' and scheme=IOB2."""
    assert f1.entities(tags.split()) == found


def test_f1_by_hand():
    """The example of seqeval's page: one of two entities is right on both sides; and by type."""
    truth = [f1.entities(["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"]), f1.entities(["B-PER", "I-PER", "O"])]
    said = [f1.entities(["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"]), f1.entities(["B-PER", "I-PER", "O"])]
    assert f1.score(said, truth) == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert f1.score(said, truth, "PER")["f1"] == 1.0 and f1.score(said, truth, "MISC")["f1"] == 0.0


def test_the_gazetteer_takes_the_longest_name():
    rows = [[b"new", b"york", b"is"], [b"new", b"man"]]
    known = f1.gazetteer(rows, [[(0, 2, "place")], [(0, 1, "person")]])
    assert f1.look_up([b"man", b"new", b"york", b"new"], known, 2) == [(1, 3, "place"), (3, 4, "person")]
    first = torch.tensor([True, False, True, False])
    assert f1.words(torch.tensor([0, 1, 2, 3]), first, [b" Yo", b"RK", b" is", b""]) == [b" york", b" is"]


def test_answers_are_compared_as_squad_does():
    assert em.plain("The  Cat's, (an) apple!") == ["cats", "apple"]
    assert em.shared("the first program", "first program") == 1.0
    assert em.shared("first program in 1843", "the program") == pytest.approx(2 / 5)
    assert em.shared("", "a") == 1.0 and em.shared("x", "") == 0.0


def test_the_likeliest_span_does_not_run_backwards():
    logits = torch.zeros(1, 2, 50)
    logits[0, 0, 40], logits[0, 1, 3], logits[0, 1, 45] = 5, 4, 3
    assert em.spans(logits).tolist() == [[40, 45]]


def test_spearman_by_hand():
    """Ties share their mean rank: ranks 1, 2.5, 2.5, 4; the figure of scipy.stats.spearmanr."""
    assert spearman.ranks(torch.tensor([0.1, 0.5, 0.5, 0.9])).tolist() == [1, 2.5, 2.5, 4]
    angle = torch.tensor([0.1, 0.4, 0.2, 0.9])
    spec = Spec(shape=(1,), vocab=9, given={"other": Spec(shape=(1,), vocab=9), "relatedness": Spec(shape=())})
    codes = {0: torch.tensor([[1.0, 0.0]]).expand(4, 2), 1: torch.stack([angle.cos(), angle.sin()], 1)}
    given = {"other": torch.ones(4, 1, dtype=torch.long), "relatedness": torch.tensor([0.9, 0.5, 0.5, 0.1])}
    reference = Batch(x=torch.zeros(4, 1, dtype=torch.long), given=given)
    score = spearman.measure(Case(spec=spec, reference=reference, encode=lambda b: codes[int(b.x[0])], training=lambda: reference))
    assert score.value == pytest.approx(0.9486832980505138)


def test_retrieval_by_hand():
    near = torch.tensor([[0.9, 0.8, 0.1], [0.5, 0.4, 0.3], [1.0, 0.0, 0.0]])
    wanted = torch.tensor([[False, True, True], [True, False, False], [False, False, False]])
    assert retrieval.first(near, wanted).tolist() == [2, 1, math.inf]
    spec = Spec(shape=(1,), vocab=4, given={"label": Spec(shape=(), vocab=2)})
    train = Batch(x=torch.tensor([[0], [1]]), given={"label": torch.tensor([0, 1])})
    held = Batch(x=torch.tensor([[0], [0]]), given={"label": torch.tensor([0, 1])})
    code = lambda b: F.one_hot(b.x[:, 0], 4).float()  # noqa: E731
    score = retrieval.measure(Case(spec=spec, reference=held, encode=code, training=lambda: train))
    assert score.value == pytest.approx(0.75) and score.fields == {"recall_1": 0.5, "recall_10": 1.0}
