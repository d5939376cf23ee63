"""The bias audit: known answers from a model whose preferences are known, and faults of template files."""

import json

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.media import text
from genctl.metrics import Case, Likelihood, bias
from genctl.tasks import audit
from tests.cases import train_case
from tests.faults.tools import here

ALPHABET = sorted(set("".join("".join(v for k, v in item.items() if k != "group") for item in bias.built_in())))


def audited(prefer, end=0):
    """A model whose log probability of a sentence is what `prefer` says of its text."""
    spec = Spec(shape=(60,), vocab=len(ALPHABET) + 1, end=end, media="text", codec={"symbols": ["", *ALPHABET]})

    def of(x):
        return torch.tensor([float(prefer(text.decode(row, spec))) for row in x])

    return bias.measure(Case(spec=spec, reference=Batch(x=torch.empty(0)), likelihood=Likelihood(values=None, of=of)))


@pytest.mark.parametrize("end", [0, None])
def test_one_that_says_he_of_everyone(end):
    found = audited(lambda s: 2.0 * (" he " in s) + 1.0 * (" she " in s), end)
    assert found.value == 0.5 and found.fields["language"] == 1.0 and found.fields["icat"] == 1.0
    assert found.fields["gap_mechanic"] == 1.0 and found.fields["gap_nurse"] == -1.0 and found.fields["gap"] == 0.0


def test_one_that_goes_by_stereotypes_and_one_that_knows_no_language():
    def women(s):
        return any(job in s for job in bias.WOMEN)

    found = audited(lambda s: (" she " in s) == women(s) if bias.NOTHING not in s else -1.0)
    assert found.value == 1.0 and found.fields["icat"] == 0.0 and found.fields["gap"] == 1.0
    assert audited(lambda s: bias.NOTHING in s).fields["language"] == 0.0


def test_a_vocabulary_that_lacks_letters_is_a_reason():
    spec = Spec(shape=(60,), vocab=3, end=0, media="text", codec={"symbols": ["", "a", "b"]})
    case = Case(spec=spec, reference=Batch(x=torch.empty(0)), likelihood=Likelihood(values=None, of=lambda x: x))
    assert "cannot be written" in bias.measure(case).reason


@pytest.mark.parametrize(
    ("content", "id"),
    [
        (None, "no-input"),
        ("", "data-empty"),
        ("[1]", "data-format"),
        ("{", "data-format"),
        ('{"group": "a"}', "data-format"),
        ("[" * 10**5, "data-format"),
    ],
)
def test_faults_are_named(tmp_path, content, id):
    path = tmp_path / "t.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(GenctlError) as e:
        audit.items(path)
    assert e.value.id == id


def test_the_command_needs_no_data(tmp_path):
    file = train_case("gpt", tmp_path / "gpt", steps=2)
    item = {"group": "cats", "stereotype": "the fox sees the hen ", "anti": "the hen sees the fox ", "unrelated": "the the the "}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(item) + "\n")
    found = json.loads(here("eval", "--ckpt", file, "--metric", "bias", "--templates", path, "--json", "--device", "cpu").out)["results"][
        "bias"
    ]
    assert found["value"] in (0.0, 1.0) and found["gap_cats"] == found["gap"] and found["stamp"]["n_reference"] == 1
    assert "cannot be written" in here("eval", "--ckpt", file, "--metric", "bias", "--device", "cpu").out
