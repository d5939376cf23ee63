"""repro: figures against targets, written between markers, unlike stamps in tables of their own."""

import json

import pytest

from genctl.errors import GenctlError
from genctl.tasks import repro
from genctl.tasks import train as training
from tests.battery import Quiet

RECIPE = """
family: mixture
data: {{name: toy2d, count: 500}}
train: {{steps: 20, batch: 100}}
expect:
  targets: {{{metric}: "{target}"}}
  minutes: 1
  published: "0.3"
  source: "a paper"
  protocol: "the test split"
  n: 200
"""


def recipe(folder, name="mix", metric="nll.nats", target="<= 100", extra=""):
    path = folder / f"{name}.yaml"
    path.write_text(RECIPE.format(metric=metric, target=target) + extra)
    return str(path)


def once(folder, *names, **more):
    ask = repro.Request(names=list(names), runs=folder / "runs", out=folder / "docs" / "results.md", device="cpu", **more)
    report = Quiet()
    return repro.repro(ask, report), report.lines


def test_a_recipe_is_trained_measured_and_written_down(tmp_path):
    (record,), lines = once(tmp_path, recipe(tmp_path))
    assert record["met"] is True
    assert record["se"] > 0
    assert record["minutes"] >= 0
    assert record["stamp"]["n"] == 200
    assert any("met" in line for line in lines)
    text = (tmp_path / "docs" / "results.md").read_text()
    assert repro.BEGIN in text
    assert "| mix | " in text
    assert "0.3 (a paper)" in text
    assert f"`{record['stamp']['id']}`" in text
    assert json.loads((tmp_path / "docs" / "results.json").read_text()) == [record]


def test_a_finished_run_is_taken_and_a_miss_is_a_miss(tmp_path):
    name = recipe(tmp_path)
    once(tmp_path, name)
    recipe(tmp_path, target="<= -50")
    (record,), lines = once(tmp_path, name)
    assert not any("saved step" in line for line in lines)
    assert record["met"] is False
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "**MISSED**" in text
    assert text.count("| mix |") == 1


def test_words_around_the_markers_stay(tmp_path):
    name = recipe(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text(f"# Mine\n\nbefore\n\n{repro.BEGIN}\nold\n{repro.END}\n\nafter\n")
    once(tmp_path, name)
    text = (tmp_path / "docs" / "results.md").read_text()
    assert text.startswith("# Mine\n\nbefore")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text


def test_unlike_stamps_and_protocols_stand_apart(tmp_path):
    records, _ = once(tmp_path, recipe(tmp_path, "a"), recipe(tmp_path, "b"))
    assert sum(line.startswith("## ") for line in repro.tables(records)) == 1
    a, b = records
    for other in ({**b, "protocol": "another"}, {**b, "stamp": {**b["stamp"], "like": "x"}}, {**b, "metric": "nll.bits_per_dim"}):
        assert sum(line.startswith("## ") for line in repro.tables([a, other])) == 2


def test_a_run_of_another_recipe_is_refused(tmp_path):
    name = recipe(tmp_path)
    once(tmp_path, name)
    run = tmp_path / "runs" / "mix"
    recipe(tmp_path, extra="model: {components: 3}\n")
    with pytest.raises(GenctlError, match="components") as e:
        once(tmp_path, name, ckpt=run)
    assert e.value.id == "ckpt-mismatch"


def test_an_unfinished_run_goes_on(tmp_path):
    name = recipe(tmp_path)
    first = training.Request(recipe=name, overrides=[("train.steps=10", None)], out=tmp_path / "runs" / "mix", device="cpu")
    training.train(first, Quiet())
    (record,), lines = once(tmp_path, name)
    assert "resumed from step 10" in lines
    assert record["stamp"]["family"] == "mixture"


@pytest.mark.parametrize("metric", ["nll.nope", "fid"])
def test_a_figure_that_is_not_computed_is_a_usage_error(tmp_path, metric):
    with pytest.raises(GenctlError) as e:
        once(tmp_path, recipe(tmp_path, metric=metric))
    assert e.value.id == "usage"


def test_a_recipe_without_expectations_is_a_usage_error(tmp_path):
    path = tmp_path / "plain.yaml"
    path.write_text("family: mixture\ndata: {name: toy2d}\n")
    with pytest.raises(GenctlError, match="expect"):
        once(tmp_path, str(path))


def test_two_targets_are_two_records_and_families_meet_on_made_data(tmp_path):
    name = recipe(tmp_path, metric="truth.kl", target="<= 100")
    path = tmp_path / "mix.yaml"
    path.write_text(path.read_text().replace('"<= 100"}', '"<= 100", truth.modes: ">= 9"}'))
    records, _ = once(tmp_path, name)
    assert [(r["metric"], r["met"]) for r in records] == [("truth.kl", True), ("truth.modes", False)]
    text = (tmp_path / "docs" / "results.md").read_text()
    (row,) = [line for line in text.split("The toy suite")[1].splitlines() if "| mixture |" in line]
    assert "toy2d ring8" in row
    assert "of 8" in row
