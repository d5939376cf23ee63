"""init_from: a new run starts from the weights of another model, a checkpoint or a folder of Hugging Face, as far as they fit."""

import json

import pytest
import torch

from genctl import checkpoint, durable
from tests import foreign
from tests.faults.tools import TINY, here

SMALL = [*TINY, "train.steps=1", "--device", "cpu"]
FROZEN = ["train.lr=0", "train.optimizer=sgd"]  # what was taken over is what is saved


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(run):
    return checkpoint.unpack(durable.locate(run, print))[1]


def text_recipe(path, letters="abcdefghijk", **train):
    """A recipe on a text of these letters, for the tiny Llama of tests/foreign.py."""
    path.with_suffix(".txt").write_text(letters * 40)
    model = {"layers": 2, "heads": 4, "kv_heads": 2, "width": 16, "inner": 20, "qk_norm": False, "norm": "rms", "activation": "swiglu"}
    model |= {"tied": False, "eps": 1e-5, "base": 500.0, "begin": 3}
    data = {"name": "text", "path": str(path.with_suffix(".txt")), "length": 16}
    path.write_text(json.dumps({"family": "gpt", "data": data, "model": model, "train": {"steps": 1, "batch": 4, **train}}))
    return path


def test_the_key_of_the_recipe_and_the_flag_over_it(place):
    for seed in (1, 2):
        here("train", *SMALL, "--seed", seed, "--out", f"r{seed}")
    by_key = here("train", *SMALL, *FROZEN, "train.init_from=r1", "--out", "key")
    assert "tensors taken over" in by_key.err
    (place / "r.yaml").write_text((place / "key" / "recipe.yaml").read_text())
    assert 'init_from: "r1"' in (place / "r.yaml").read_text() or "init_from: r1" in (place / "r.yaml").read_text()
    here("train", "r.yaml", "--init-from", place / "r2", "--out", "flag", "--device", "cpu")
    for run, source in (("key", "r1"), ("flag", "r2")):
        found, wanted = weights(place / run), weights(place / source)
        assert all(torch.equal(found[k], wanted[k]) for k in wanted)


def test_a_flag_and_an_override_that_disagree_are_a_usage_error(place):
    here("train", *SMALL, "train.init_from=a", "--init-from", "b", "--out", "x", rc=2, id="usage")
    here("train", "--resume", "x", "--init-from", "b", rc=2, id="usage")


@pytest.mark.parametrize("name", ["a: b", "#x", "[1]", "1e5", "it's"])
def test_names_that_yaml_would_read_otherwise(name, place):
    here("train", *SMALL, "--out", name)
    assert "tensors taken over" in here("train", *SMALL, "--init-from", name, "--out", "y").err


def test_a_run_goes_on_when_what_it_started_from_is_gone(place):
    here("train", *SMALL, "--out", "a")
    here("train", *SMALL, "--init-from", "a", "--out", "b")
    (place / "a").rename(place / "elsewhere")
    here("train", "--resume", "b", "--steps", 2)


def test_what_does_not_fit_is_listed_and_nothing_at_all_is_an_error(place):
    here("train", *SMALL, "--out", "a")
    done = here("train", *SMALL, "model.latent=3", "--init-from", "a", "--out", "b")
    assert "; fresh: " in done.err
    here("train", "gpt-grammar", "train.steps=1", "--init-from", "a", "--out", "c", rc=78, id="ckpt-mismatch")
    assert not (place / "c").exists()


def test_a_folder_of_hugging_face_is_read_as_it_is(place):
    """At the context of the data, without an import in between; other symbols are said."""
    w = foreign.weights(foreign.LLAMA)
    foreign.write(place / "theirs", foreign.LLAMA, w)
    recipe = text_recipe(place / "r.yaml", init_from="theirs", lr=0.0)
    done = here("train", recipe, "--out", "run", "--device", "cpu")
    assert "15 of 15 tensors taken over" in done.err
    assert done.err.count("warning[symbols]") == 1
    assert torch.equal(weights(place / "run")["embed.weight"], w["model.embed_tokens.weight"])


def test_the_same_symbols_are_not_said(place):
    recipe = text_recipe(place / "r.yaml")
    here("train", recipe, "--out", "a", "--device", "cpu")
    assert "warning[symbols]" not in here("train", recipe, "--init-from", "a", "--out", "b", "--device", "cpu").err
    other = text_recipe(place / "o.yaml", letters="lmnopqrstuv")
    assert (
        "warning[symbols]: init_from was trained on 11 symbols"
        in here("train", other, "--init-from", "a", "--out", "c", "--device", "cpu").err
    )


def test_corrections_of_a_random_base_are_warned_of(place):
    recipe = text_recipe(place / "r.yaml", lora={"rank": 2})
    assert "warning[lora]" in here("train", recipe, "--out", "a", "--device", "cpu").err
