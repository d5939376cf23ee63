"""Reading and writing recipes: what the file says is what is meant. Hostile and mistaken files are in tests/faults."""

import pytest

from genctl import catalog, config, recipe
from genctl.config import Tree
from genctl.errors import GenctlError


@pytest.mark.parametrize(("text", "value"), [
    ("1", 1), ("-3", -3), ("+3", 3), ("0", 0), ("1e-4", 1e-4), ("2e3", 2000.0), ("1.", 1.0), (".5", 0.5), ("-1.5E+2", -150.0), ("true", True),
    ("False", False), ("null", None), ("~", None), ("", None), ("word", "word"), ("a b", "a b"), ("1.2.3", "1.2.3"), ("v1", "v1"), ("0x", "0x"),
])  # fmt: skip
def test_scalars(text, value):
    found = config.scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "on", "OFF", "y", "010", "-07", "1_000", "12:30", "12:30:45", ".inf", "-.INF", ".nan", "NaN", "inf", "1e999", "1" * 40],
)
def test_scalars_that_readers_disagree_on(text):
    with pytest.raises(ValueError):  # noqa: PT011
        config.scalar(text)


VALUES = [0, -1, 1.5, 1e-300, 123456789012345, True, False, None, "", "word", "yes", "010", "1e5", "a: b", "# no", "- x", "'", '"', "\\", "é 🎲", "line\nline",
          "\t", "null", "~", "[1]", "{a: 1}", " pad ", "!x", "&x", "*x", "%x", "@x", "`x", "|", ">", "true", [1, [2, "x"]], [], {"a": {"b": [1]}}, {}]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_written_is_read_back(value):
    text = config.dump({"section": {"key": value, "other": [value]}})
    assert config.parse(text).value == {"section": {"key": value, "other": [value]}}


@pytest.mark.parametrize("name", catalog.recipes())
def test_a_resolved_recipe_is_a_recipe(name):
    """`genctl inspect R > file; genctl train file` is `genctl train R`."""
    plan, _ = recipe.read(name)
    assert recipe.resolve(config.parse(config.dump(plan.plain()))) == plan


def test_overrides_come_last_and_say_so():
    plan, tree = recipe.read("vae-digits", [("train.lr=1e-4", None), ("model.hidden=[8, 16]", None), ("train.steps=5", "--steps")])
    assert (plan.train.lr, plan.model.hidden, plan.train.steps) == (1e-4, [8, 16], 5)
    text = config.dump(plan.plain(), {k: v for k, v in tree.marks.items() if v.startswith(("override", "--"))})
    assert "steps: 5  # from: --steps" in text
    assert "lr: 0.0001  # from: override 'train.lr=1e-4'" in text


def test_a_wrong_flag_is_a_usage_error_and_a_wrong_file_is_not(tmp_path):
    with pytest.raises(GenctlError) as caught:
        recipe.read("vae-digits", [("train.lr=-1", None)])
    assert caught.value.id == "usage"
    path = tmp_path / "r.yaml"
    path.write_text("family: vae\ndata: {name: digits}\ntrain: {lr: -1}\n")
    with pytest.raises(GenctlError) as caught:
        recipe.read(str(path), [("train.steps=5", None)])
    assert caught.value.id == "config"


def test_unknown_families_and_data_name_the_nearest():
    with pytest.raises(GenctlError) as caught:
        recipe.resolve(Tree({"family": "vea", "data": {"name": "digit"}}))
    assert any("'vae'" in line for line in caught.value.lines)
    assert any("'digits'" in line for line in caught.value.lines)


def test_which_keys_may_change_on_resume():
    plain = recipe.read("vae-digits")[0].plain()
    other = recipe.read(
        "vae-digits", [("train.steps=9", None), ("train.lr=1", None), ("model.latent=9", None), ("guard.collapse=stop", None)]
    )[0].plain()
    bends, free = recipe.changes(plain, other)
    assert bends == ["model.latent", "train.lr"]
    assert set(free) == {"train.steps", "guard.collapse"}
