"""Exact resume: a run that is stopped and goes on in a new process ends in the same bytes as one that never stopped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from genctl import checkpoint, durable
from tests.cases import CASES, every_case, train_case
from tests.faults import checker
from tests.faults.tools import ROOT, cli, environment, here, last

STEPS, CUTS = 9, (4, 5, 7)  # 40 examples in batches of 8: before, on and after the end of the first epoch


def differences(a: Path, b: Path) -> list[str]:
    """The tensors of both files that differ between two checkpoint folders."""
    found = []
    for name in (durable.MODEL, durable.RESUME):
        left, right = checkpoint.unpack(a / name)[1], checkpoint.unpack(b / name)[1]
        found += [
            f"{name}: {k}" for k in left.keys() | right.keys() if k not in left or k not in right or not torch.equal(left[k], right[k])
        ]
    return found


def cut_runs(name: str, where: Path) -> tuple[Path, Path]:
    """(an undisturbed run, one with a checkpoint at every step)."""
    train_case(name, where / "whole", steps=STEPS)
    train_case(name, where / "parts", steps=STEPS, save_every=1)
    return where / "whole" / "run", where / "parts" / "run"


def go_on(parts: Path, cut: int, to: Path, run=cli) -> Path:
    """A copy of a run that knows nothing after `cut`, resumed to its end."""
    shutil.copytree(parts, to, symlinks=True)
    for number in durable.steps(to / "checkpoints"):
        if number > cut:
            durable.discard(to / "checkpoints", number)
    assert f"resumed from step {cut}" in run("train", "--resume", to, "--device", "cpu").err
    return to


def check(name: str, where: Path, cuts: tuple[int, ...], run=cli) -> None:
    whole, parts = cut_runs(name, where)
    assert not differences(last(whole), last(parts)), "saving bends the path of training"
    for cut in cuts:
        resumed = go_on(parts, cut, where / str(cut), run)
        assert not differences(last(whole), last(resumed)), f"cut at {cut}"


@pytest.mark.parametrize("name", every_case())
def test_resume_is_exact(name, tmp_path):
    """One cut, in this process; the three cuts in new processes are a slow test."""
    check(name, tmp_path, (5,), here)


@pytest.fixture(scope="module")
def every_run(tmp_path_factory):
    """Folder of case -> (an undisturbed run, one with a checkpoint at every step)."""
    where = tmp_path_factory.mktemp("runs")
    return where, {name: cut_runs(name, where / name) for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUTS)
def test_every_case_resumes_exactly_in_a_new_process(cut, every_run):
    """One process for each cut resumes all of them: `main` below."""
    where, runs = every_run
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_resume", where, str(cut)], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    wrong = {name: differences(last(whole), last(where / name / str(cut))) for name, (whole, _) in runs.items()}
    assert not {name: found for name, found in wrong.items() if found}


def test_resume_in_a_new_process_is_exact(tmp_path):
    check("vae", tmp_path, (7,))


def without(folder: Path, file: str, key: str) -> None:
    """Drops a tensor from a checkpoint and makes every count and digest say that it was never there."""
    head, tensors = checkpoint.unpack(folder / file)
    del tensors[key]
    meta = head.meta | ({"tensors": len(tensors)} if "tensors" in head.meta else {})
    (folder / file).write_bytes(checkpoint.pack(tensors, meta))
    reseal(folder)


def reseal(folder: Path, change=lambda manifest: None) -> None:
    import json

    manifest = json.loads((folder / durable.MANIFEST).read_text())
    for name, info in manifest["files"].items():
        data = (folder / name).read_bytes()
        info.update(size=len(data), sha256=checker.sha256(data))
    change(manifest)
    manifest.pop("sha256")
    manifest["sha256"] = checker.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
    (folder / durable.MANIFEST).write_text(json.dumps(manifest))


def ablate(name: str, where: Path) -> tuple[int, list[str]]:
    """(keys dropped one by one, those whose loss went unnoticed): neither refused nor seen in the last step's bytes."""
    whole, parts = cut_runs(name, where)
    cut, missed, dropped = 7, [], 0
    for number in durable.steps(parts / "checkpoints"):
        if number != cut:
            durable.discard(parts / "checkpoints", number)
    origin = last(parts)
    for file in (durable.MODEL, durable.RESUME):
        for key in checkpoint.unpack(origin / file)[1]:
            spoiled = where / f"{dropped}"
            shutil.copytree(parts, spoiled, symlinks=True)
            without(last(spoiled), file, key)
            done = here("train", "--resume", spoiled, "--device", "cpu", rc={0, 65})
            if done.rc == 0 and not differences(last(whole), last(spoiled)):
                missed.append(f"{file}: {key}")
            shutil.rmtree(spoiled)
            dropped += 1
    return dropped, missed


@pytest.mark.parametrize(
    "name", ["vae-mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dcgan", "rbm", "gpt-muon", "reinforce", "mixture"))]
)
def test_every_saved_tensor_matters(name, tmp_path):
    dropped, missed = ablate(name, tmp_path)
    assert dropped >= 5
    assert not missed, f"{len(missed)} of {dropped} dropped without notice: {missed[:5]}"


@pytest.mark.parametrize("key", ["state", "threads", "world_size", "files", "step", "format", "data"])
def test_every_entry_of_a_manifest_matters(key, tmp_path):
    train_case("vae-mlp", tmp_path / "a", steps=2)
    reseal(last(tmp_path / "a" / "run"), lambda manifest: manifest.pop(key))
    here("train", "--resume", tmp_path / "a" / "run", "--steps", 3, rc={65, 78})


if __name__ == "__main__":
    for one in sorted(Path(sys.argv[1]).iterdir()):
        go_on(one / "parts" / "run", int(sys.argv[2]), one / sys.argv[2], here)
