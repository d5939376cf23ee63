"""The main job through the command line, and the form of what it prints. Faults are in tests/faults."""

import json
import re

import pytest

from genctl import errors
from tests.faults.tools import TINY, cli, here

SMALL = [*TINY, "train.steps=3", "train.save_every=2", "--device", "cpu"]


def test_train_sample_inspect_as_processes(tmp_path):
    """From a recipe to samples by the program alone, each step with what the last one left."""
    run, out = tmp_path / "run", tmp_path / "samples"
    done = cli("train", *SMALL, "--out", run)
    assert re.findall(r"^saved step (\d+)$", done.err, re.M) == ["2", "3"]
    assert done.out.splitlines() == [f"run {run}", f"checkpoint {run}/checkpoints/step-0000000003"]
    cli("sample", "--ckpt", run, "-n", 5, "--out", out)
    assert sorted(p.name for p in out.iterdir()) == [*(f"{i:06d}.png" for i in range(5)), "grid.png", "samples.json"]
    assert json.loads((out / "samples.json").read_text())["generated"] is True


def test_json_is_one_document_on_stdout(tmp_path):
    run = tmp_path / "run"
    done = here("train", *SMALL, "--out", run, "--json")
    assert json.loads(done.out)["step"] == 3
    assert json.loads(here("inspect", run, "--json").out)["family"] == "vae"
    assert json.loads(here("sample", "--ckpt", run, "-n", 2, "--out", tmp_path / "s", "--json").out)["n"] == 2
    for what in ("families", "recipes", "data", "metrics", "powers"):
        rows = json.loads(here("list", what, "--json").out)
        assert all("name" in row for row in rows)
    failed = here("sample", "--ckpt", tmp_path / "absent", "--json", rc=66)
    assert json.loads(failed.out)["error"] == {"id": "no-input", "code": 66, "message": failed_message(failed.out), "hint": None}


def failed_message(out: str) -> str:
    return json.loads(out)["error"]["message"]


def test_sample_i_does_not_depend_on_n(tmp_path):
    here("train", *SMALL, "--out", tmp_path / "run")
    for n in (3, 70):
        here("sample", "--ckpt", tmp_path / "run", "-n", n, "--seed", 5, "--out", tmp_path / str(n))
    for i in range(3):
        name = f"{i:06d}.png"
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "70" / name).read_bytes()


def test_sampling_again_replaces_only_its_own_files(tmp_path):
    here("train", *SMALL, "--out", tmp_path / "run")
    out = tmp_path / "s"
    here("sample", "--ckpt", tmp_path / "run", "-n", 9, "--out", out)
    (out / "mine.txt").write_text("mine")
    here("sample", "--ckpt", tmp_path / "run", "-n", 2, "--out", out)
    assert sorted(p.name for p in out.iterdir()) == ["000000.png", "000001.png", "grid.png", "mine.txt", "samples.json"]
    (out / "samples.json").write_text('{"files": ["../keep", "/etc/passwd", 5, "mine.txt/../x"]}')
    (tmp_path / "keep").write_text("mine")
    here("sample", "--ckpt", tmp_path / "run", "-n", 2, "--out", out)
    assert (tmp_path / "keep").exists()


def test_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = here("train", *SMALL, "--dry-run")
    assert "parameters" in done.out
    assert "steps: 3  # from:" in done.out
    assert list(tmp_path.iterdir()) == []


def test_init_from_takes_what_fits(tmp_path):
    here("train", *SMALL, "--out", tmp_path / "a")
    done = here("train", *SMALL, "model.latent=3", "--init-from", tmp_path / "a", "--out", tmp_path / "b")
    taken, whole = map(int, re.search(r"init-from: (\d+) of (\d+) tensors", done.err).groups())
    assert 0 < taken < whole


def test_runs_lists_them_newest_first(tmp_path):
    for name in ("one", "two"):
        here("train", *SMALL, "--out", tmp_path / name)
    rows = json.loads(here("runs", tmp_path, "--json").out)
    assert [r["name"] for r in rows] == ["two", "one"]
    assert rows[0]["state"] == "done"
    (tmp_path / "one" / "recipe.yaml").write_text("data: 3\ntrain: [1]\n")
    here("runs", tmp_path)


def test_debug_adds_the_traceback(capfd, monkeypatch):
    from genctl.cli import main

    with pytest.raises(SystemExit):
        main(["sample", "--ckpt", "absent", "--debug"])
    assert "Traceback" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main(["sample", "--ckpt", "absent"])
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_is_status_1_and_asks_for_a_report(monkeypatch, capsys):
    from genctl.cli import main
    from genctl.tasks import inspect

    monkeypatch.setattr(inspect, "runs", lambda folder: 1 / 0)
    with pytest.raises(SystemExit) as caught:
        main(["runs"])
    assert caught.value.code == 1
    assert "error[internal]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_is_71(error, monkeypatch, capsys):
    from genctl.cli import main
    from genctl.tasks import inspect

    def fail(folder):
        raise error

    monkeypatch.setattr(inspect, "runs", fail)
    with pytest.raises(SystemExit) as caught:
        main(["runs"])
    assert caught.value.code == 71
    assert "error[oom]" in capsys.readouterr().err


def test_exit_codes_are_those_that_are_documented():
    assert set(errors.EXIT.values()) == {1, 2, 65, 66, 69, 71, 73, 74, 75, 77, 78, 80, 81}
    assert [k for k, v in errors.EXIT.items() if v == 1] == ["internal"]


def test_safe_text():
    assert errors.safe_text("a\x1b[31m\n\u202e\x9b") == "a\\x1b[31m\\n\\u202e\\x9b"
    assert errors.safe_text("x" * 500) == "x" * 120 + "..."
    assert errors.safe_text("é 🎲 日本") == "é 🎲 日本"
    assert "\udcff" not in errors.safe_text("\udcff")
