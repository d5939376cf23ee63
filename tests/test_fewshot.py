"""Few-shot: prompts as they are written, known answers of models whose way to learn from examples is known, and faults of files."""

import json

import pytest
import torch
from PIL import Image

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.media import text
from genctl.metrics import Case, Likelihood, fewshot
from genctl.tasks import audit, shots
from genctl.tasks import train as training
from tests.faults.tools import here
from tests.test_eval import Quiet

FORM = r"{text}: {label}\n"
ANIMALS = [("ox", "beast"), ("ant", "bug"), ("cow", "beast"), ("bee", "bug")]


def pieces(pairs):
    return [{"before": f"{q}: ", "answer": a, "behind": "\n"} for q, a in pairs]


def measured(pairs, likes, folder, size=400, end=None):
    """The metric of a model whose log probability of a text is what `likes` says of it."""
    letters = sorted(set("".join(q + a for q, a in pairs)) | set(": \n"))
    spec = Spec(shape=(size,), vocab=len(letters) + 1, end=end, media="text", codec={"symbols": ["", *letters]})

    def of(x):
        return torch.tensor([float(likes(text.decode(row, spec))) for row in x])

    likelihood = Likelihood(values=None, of=of)
    return fewshot.measure(
        Case(spec=spec, reference=Batch(x=torch.empty(0)), likelihood=likelihood, templates=pieces(pairs), folder=folder)
    )


def looked_up(said):
    """What a model thinks that knows nothing but what its examples say of the same question, and that calls the rest a."""
    *known, (question, answer) = [line.split(": ") for line in said.splitlines()]
    seen = [a for q, a in known if q == question]
    return 2.0 * (answer in seen) + 1.0 * (answer == "a")


@pytest.mark.parametrize("end", [None, 0])
def test_one_that_looks_its_answer_up(tmp_path, end):
    """Eight questions ten times each; of those called b, one is right if it is among the K examples out of the other 79."""
    pairs = [(q, "ab"[i % 2]) for i, q in enumerate("stuvwxyz")] * 10
    found = measured(pairs, looked_up, tmp_path, end=end)
    assert found.fields["shots_0"] == found.fields["chance"] == 0.5 and found.fields["items"] == 80
    for k in (1, 2, 4, 8, 16, 32, 64):
        absent = 1.0
        for i in range(k):
            absent *= max(0, 70 - i) / (79 - i)
        assert abs(found.fields[f"shots_{k}"] - (1 - absent / 2)) < 4 * (0.25 * absent / 80) ** 0.5 + 1e-9, k
    assert found.value == found.fields["shots_64"] == 1.0


def test_one_that_knows_needs_no_example_and_one_that_errs_learns_nothing(tmp_path):
    truth = dict(ANIMALS)

    def knows(said):
        question, answer = said.splitlines()[-1].split(": ")
        return answer == truth[question]

    right, wrong = measured(ANIMALS, knows, tmp_path), measured(ANIMALS, lambda s: -knows(s), tmp_path)
    assert [right.fields[f"shots_{k}"] for k in (0, 1, 2)] == [1.0] * 3 and "shots_4" not in right.fields
    assert wrong.value == 0.0
    with Image.open(right.fields["picture"]) as picture:
        assert picture.width > 400 and json.loads(picture.text["genctl"]) == {"generated": True}


def test_only_as_many_examples_as_the_model_reads(tmp_path):
    found = measured(ANIMALS, len, tmp_path, size=25)  # "cow: beast\n" has 11 symbols
    assert "shots_1" in found.fields and "shots_2" not in found.fields
    assert "the model reads 9" in measured(ANIMALS, len, tmp_path, size=9).reason
    assert "two answers" in measured(ANIMALS[:1], len, tmp_path).reason


@pytest.mark.parametrize("form", ["{text}", "{text}{label}", "{a} {b} {c}", "", "{0.real} {x}"])
def test_forms_that_are_none(form):
    with pytest.raises(GenctlError) as e:
        shots.Form.read(form)
    assert e.value.id == "usage"


@pytest.mark.parametrize(
    ("name", "content", "id"),
    [
        ("e.jsonl", None, "no-input"),
        ("e.jsonl", "", "data-empty"),
        ("e.jsonl", '{"text": "a"}', "data-format"),
        ("e.csv", "text,no\na,b", "data-format"),
    ],
)
def test_faults_are_named(tmp_path, name, content, id):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(GenctlError) as e:
        audit.shots(tmp_path / name, FORM)
    assert e.value.id == id


# --- the command line --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """An n-gram model of a text that says which animals are bugs, and the file that asks it."""
    where = tmp_path_factory.mktemp("counts")
    (where / "a.txt").write_text("".join(f"{q}: {a}\n" for q, a in ANIMALS) * 50)
    (where / "asked.jsonl").write_text("".join(json.dumps({"text": q, "label": a}) + "\n" for q, a in ANIMALS))
    recipe = f"family: ngram\ndata: {{name: text, path: '{where}/a.txt', length: 40}}\nmodel: {{order: 8, capacity: 4000}}\n"
    (where / "r.yaml").write_text(recipe + "train: {steps: 20, batch: 4, sample_every: 100000}\n")
    training.train(training.Request(recipe=str(where / "r.yaml"), overrides=[], out=where / "run", device="cpu"), Quiet())
    return where


def test_eval_asks_what_was_counted(counts, tmp_path):
    said = here(
        "eval",
        "--ckpt",
        counts / "run",
        "--metric",
        "fewshot",
        "--examples",
        counts / "asked.jsonl",
        "--form",
        FORM,
        "--json",
        "--out",
        tmp_path / "s.json",
    )
    found = json.loads(said.out)["results"]["fewshot"]
    assert found["value"] == found["shots_0"] == found["shots_2"] == 1.0 and found["n"] == 4 and found["chance"] == 0.5
    assert (tmp_path / "fewshot-seed-0.png").exists()
    assert "--examples FILE" in here("eval", "--ckpt", counts / "run", "--metric", "fewshot").out


def test_sample_answers_behind_examples(counts, tmp_path):
    ask = ("sample", "--ckpt", counts / "run", "--examples", counts / "asked.jsonl", "--form", FORM, "temperature=0", "--device", "cpu")
    (tmp_path / "q.txt").write_text("ant\ncow\n")
    said = here(*ask, "--prompts", tmp_path / "q.txt", "--out", tmp_path / "o")
    texts = (tmp_path / "o" / "samples.txt").read_text().removesuffix("\n").split("\n" + "-" * 40 + "\n")
    front = "ant: bug\ncow: beast\nbee: bug\n"  # with a question and the longest answer 40 symbols, all that it reads
    assert texts == [f"{front}ant: bug", f"{front}cow: beast"]
    assert "the last 3 of 4 examples fit" in said.err
    here(*ask, "--out", tmp_path / "x", rc=2)
