"""Group A: crash, power, storage. Whatever stops a run, every step it called saved is there, and it goes on from the newest."""

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from genctl import checkpoint, durable, header
from genctl.errors import GenctlError
from tests.faults import checker, power, tools
from tests.faults.tools import TINY, cli, copy_of_run, here, last

MANIFEST = {
    "family": "vae", "world_size": 1, "threads": 1, "device": "cpu", "precision": "fp32",
    "torch": "2", "data": "", "state": {"alike": 0, "scalers": {}},
}  # fmt: skip


def files(step: int) -> dict[str, bytes]:
    """Two small files that say which step they are of."""
    meta = {"format": 1, "family": "vae", "step": step}
    return {name: checkpoint.pack({"w": torch.full((3,), float(step))}, meta) for name in (durable.MODEL, durable.RESUME)}


def saving(home: Path, fs: durable.FS, steps: list[int], keep: int = 2, ack=lambda step: None) -> None:
    """What a run does to its disk: folders, saves, `latest`, retention."""
    durable.make_home(home, fs)
    for step in steps:
        durable.save(home, step, {k: [v] for k, v in files(step).items()}, MANIFEST, fs)
        ack(step)
        durable.point(home, "latest", step, fs)
        durable.retain(home, keep, fs=fs)


def test_01_sigkill_at_random_instants(ram, figure):
    run, kills = ram / "run", tools.times(50)
    out = subprocess.run(
        [sys.executable, "-m", "tests.faults.zygote", run, str(kills), "1"],
        cwd=tools.ROOT, env=tools.environment(), capture_output=True, text=True, timeout=60 + kills,
    )  # fmt: skip
    found = json.loads(out.stdout.splitlines()[-1]) if out.returncode == 0 else pytest.fail(out.stderr[-2000:])
    assert not found["violations"], found
    assert found["acknowledged"] >= 1
    assert found["inside_a_save"] or kills < 20, "no kill fell inside a save: the test does not test"
    figure(f"{found['kills']} kills, {found['inside_a_save']} inside a save, {found['acknowledged']} steps, 0 lost")
    done = cli("train", "--resume", run, "--steps", found["acknowledged"] + 3, "train.save_every=100")
    assert (
        f"resumed from step {found['acknowledged']}" in done.err
        or int(re.search(r"resumed from step (\d+)", done.err)[1]) > found["acknowledged"]
    )
    assert not checker.leftovers(run / "checkpoints")


@pytest.mark.slow
def test_01_sigkill_of_the_command(tmp_path, figure):
    """The same through the real command line."""
    run, acked, kills = tmp_path / "run", 0, max(2, tools.times(50) // 5)
    dice = random.Random(2)
    for _ in range(kills):
        args = ["--resume", run] if acked else [*TINY, "train.save_every=1", "train.steps=1000000", "--out", run]
        if not acked:
            shutil.rmtree(run, ignore_errors=True)
        child = tools.start("train", *args, "--progress", "none", "--device", "cpu")
        tools.wait_for(child, "saved step")
        time.sleep(dice.uniform(0.002, 0.3))
        child.kill()
        steps = [int(n) for n in re.findall(r"saved step (\d+)", tools.finish(child).err)]
        acked = max([acked, *steps])
        assert max(checker.whole(run / "checkpoints")) >= acked
        tools.no_survivors(child)
    figure(f"{kills} kills of the command, 0 of {acked} steps lost")


def lost(log: list[power.Op], root: Path, scratch: Path, first: bool = False) -> tuple[int, list[str]]:
    """(states, violations) over every state that a crash may leave at every point of the log. `first`: up to a violation."""
    scratch.mkdir(exist_ok=True)
    disk, acked, states, wrong = power.Disk(root), 0, 0, []
    seen: set[str] = set()
    for op in log:
        if op[0] == "ack":
            acked = op[1]
        else:
            disk.do(op)
        for state in disk.crashes():
            states += 1
            key = f"{acked} {sorted((k, v if isinstance(v, str | None) else hash(v)) for k, v in state.items())}"
            if key in seen:
                continue
            seen.add(key)
            place = scratch / str(len(seen))
            power.lay_out(state, place)
            wrong += [f"after {op[0]} {op[1]}: {w}" for w in verdict(place / "run" / "checkpoints", acked)]
            shutil.rmtree(place)
            if first and wrong:
                return states, wrong
    return states, wrong


def verdict(home: Path, acked: int) -> list[str]:
    """The shipped reader and the independent one agree; nothing acknowledged is lost; what is accepted is what was written."""
    try:
        found = durable.newest(home, lambda text: None)
    except GenctlError:
        found = None
    mine, independent = (found.number if found else 0), max(checker.whole(home), default=0)
    wrong = [] if mine == independent else [f"readers disagree: {mine} and {independent}"]
    if mine < acked:
        wrong.append(f"step {acked} was acknowledged, the newest whole one is {mine}")
    if found and any((found.path / k).read_bytes() != v for k, v in files(found.number).items()):
        wrong.append(f"step {mine} is accepted and is not what was written")
    return wrong


def logged(place: Path, steps: list[int], skip: int = -1) -> power.LogFS:
    place.mkdir()
    fs = power.LogFS(skip=skip)
    saving(place / "run" / "checkpoints", fs, steps, ack=lambda step: fs.log.append(("ack", step)))
    return fs


def test_02_power_loss(ram, figure):
    fs = logged(ram / "disk", [10, 20, 30, 40])
    states, wrong = lost(fs.log, ram / "disk", ram)
    assert not wrong, wrong[:3]
    figure(f"{states} states, 0 lost, 0 corrupt accepted")


def test_02_every_sync_is_needed(ram, figure):
    """The mutation check: a writer that leaves out any one sync must be caught by the test above."""
    whole = logged(ram / "whole", [10, 20])
    for k in range(whole.syncs):
        fs = logged(ram / f"disk{k}", [10, 20], skip=k)
        assert lost(fs.log, ram / f"disk{k}", ram / f"states{k}", first=True)[1], f"leaving out sync {k} of {whole.syncs} goes unnoticed"
    figure(f"{whole.syncs} of {whole.syncs} left-out syncs caught")


@pytest.mark.slow
def test_02_order_of_system_calls(tmp_path):
    """data fsync < rename < parent fsync, as the kernel sees them."""
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    log = tmp_path / "strace.txt"
    prefix = ["strace", "-f", "-y", "-e", "trace=fsync,rename,renameat,renameat2", "-o", str(log)]
    cli("train", *TINY, "train.steps=1", "--out", tmp_path / "run", prefix=prefix, timeout=300)
    calls = [line for line in log.read_text(errors="replace").splitlines() if "checkpoints" in line]
    commit = next(i for i, line in enumerate(calls) if "rename" in line and ".tmp-1-" in line and "step-0000000001" in line)
    before = [line for line in calls[:commit] if "fsync" in line and ".tmp-1-" in line]
    assert len(before) == 4, calls  # two files, the manifest, the folder
    assert "fsync" in calls[commit + 1], calls
    assert calls[commit + 1].rstrip().endswith("= 0")


def test_03_file_size_limit(tmp_path):
    """A save that fails is told and retried; after three in a row, or at the end, the run gives up; old steps stand."""
    copy = copy_of_run(tmp_path / "run")
    first = copy_of_run(tmp_path / "first")
    before = checker.listing(copy / "checkpoints" / "step-0000000006")
    with tools.limited(resource.RLIMIT_FSIZE, 4096):
        done = here("train", "--resume", copy, "train.steps=12", "train.save_every=1", rc=74, id="save-failed")
        assert done.err.count("warning[save-failed]") == 2  # the third gives up
        assert "last good: step 6" in done.err
        assert "MB free" in done.err
        final = here("train", "--resume", first, "train.steps=7", "train.save_every=100", rc=74, id="save-failed")
        assert "warning" not in final.err
    assert checker.listing(copy / "checkpoints" / "step-0000000006") == before
    assert not checker.leftovers(copy / "checkpoints")
    assert json.loads((copy / "exit.json").read_text())["code"] == 74
    assert "resumed from step 6" in here("train", "--resume", copy, "train.steps=12").err


def test_03_a_disk_that_empties_again(tmp_path, monkeypatch):
    """One failed save costs nothing but that checkpoint."""
    copy, calls, write = copy_of_run(tmp_path / "run"), [], durable.FS.write

    def full_once(self, path, data):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, path, data)

    monkeypatch.setattr(durable.FS, "write", full_once)
    done = here("train", "--resume", copy, "train.steps=10", "train.save_every=2", id="save-failed")
    assert "step 8 not saved: No space left on device" in done.err
    assert checker.whole(copy / "checkpoints")[0] == 10


@pytest.mark.slow
def test_03_full_disk(tmp_path):
    """A real file system of 2 MB."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    script = f"mkdir -p {tmp_path}/d && mount -t tmpfs -o size=2m none {tmp_path}/d && head -c 1900k /dev/zero > {tmp_path}/d/fill && "
    script += (
        f"{sys.executable} -m genctl train {' '.join(TINY)} train.steps=9 train.save_every=2 'model.hidden=[64]' --out {tmp_path}/d/run"
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=tools.ROOT, env=tools.environment(), check=False
    )
    tools.oracle(tools.Result(done.returncode, done.stdout, done.stderr), 74, "save-failed")


class Failing(durable.FS):
    """Fails the n-th call with an error; a write may leave half its bytes."""

    def __init__(self, n: int, code: int) -> None:
        self.left, self.code = n, code

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(self.code, os.strerror(self.code))

    def mkdir(self, path):
        self._count()
        super().mkdir(path)

    def write(self, path, data):
        if self.left == 1:
            path.write_bytes(b"".join(data)[:100])
        self._count()
        super().write(path, data)

    def sync(self, fd):
        self._count()

    def rename(self, old, new):
        self._count()
        super().rename(old, new)

    def link(self, target, path):
        self._count()
        super().link(target, path)

    def remove(self, path):
        self._count()
        super().remove(path)


def test_04_the_nth_call_fails(ram, figure):
    codes = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.EACCES)
    injections = 0
    for code in codes:
        n = 0
        while True:
            n += 1
            fs, home, acked = Failing(n, code), ram / f"{code}-{n}" / "checkpoints", []
            home.parent.mkdir()
            try:
                saving(home, fs, [10, 20, 30, 40], ack=acked.append)
            except OSError:
                pass
            if fs.left > 0:
                break
            injections += 1
            assert not verdict(home, max(acked, default=0)), (n, code)
            durable.sweep(home)
            assert not home.is_dir() or not checker.leftovers(home)
            saving(home, durable.FS(), [50])  # the next save works
            assert checker.whole(home)[0] == 50
    figure(f"{injections} injections, 0 violations")
    assert injections >= 300


def test_04_folders_that_refuse_sync(tmp_path, monkeypatch):
    """EINVAL from a folder's fsync is the file system's answer, not a failure."""
    real = os.fsync

    def refuse(fd):
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", refuse)
    saving(tmp_path / "checkpoints", durable.FS(), [1])
    assert checker.whole(tmp_path / "checkpoints") == [1]


def test_05_out_is_a_file_or_not_empty(tmp_path):
    blocked, full = tmp_path / "file", tmp_path / "full"
    blocked.write_text("mine")
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    before = checker.listing(tmp_path)
    for out, id in ((blocked, "out-exists"), (full, "out-exists"), (blocked / "run", "out-unwritable")):
        assert "step " not in here("train", *TINY, "--out", out, rc=73, id=id).err
    assert checker.listing(tmp_path) == before


def test_05_read_only_folder(tmp_path):
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    (tmp_path / "d").mkdir()
    script = f"mount -t tmpfs none {tmp_path}/d && mount -o remount,ro {tmp_path}/d && "
    script += f"{sys.executable} -m genctl train {' '.join(TINY)} --out {tmp_path}/d/run"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=tools.ROOT, env=tools.environment(), check=False
    )
    tools.oracle(tools.Result(done.returncode, done.stdout, done.stderr), 73, "out-unwritable")


def test_06_two_runs_in_one_folder(tmp_path):
    """The second is refused within a second of its start; the first is not disturbed; a killed run leaves no lock."""
    run = tmp_path / "run"
    child = tools.start("train", *TINY, "train.steps=100000", "train.save_every=50", "--out", run, "--progress", "none", "--device", "cpu")
    tools.wait_for(child, "saved step")
    for args in (["--resume", run], [*TINY, "--out", run]):
        busy = here("train", *args, rc=73, id="run-busy")
        assert f"pid {child.pid}" in busy.err
        assert busy.seconds < 1
    os.kill(child.pid, signal.SIGKILL)
    tools.finish(child)
    newest = checker.whole(run / "checkpoints")[0]
    alone = tmp_path / "alone"
    here("train", *TINY, "train.threads=1", f"train.steps={newest}", f"train.save_every={newest}", "--out", alone)
    one, two = (checkpoint.unpack(last(r) / durable.MODEL)[1] for r in (alone, run))
    assert all(torch.equal(one[k], two[k]) for k in one)
    here("train", "--resume", run, f"train.steps={newest + 1}")


def test_07_links_and_what_they_point_to(tmp_path):
    outside, run, linked = tmp_path / "outside", copy_of_run(tmp_path / "real"), tmp_path / "link"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    linked.symlink_to(run)
    assert "resumed from step 6" in here("train", "--resume", linked, "train.steps=7").err  # a linked run works
    shutil.copytree(run / "checkpoints" / "step-0000000007", outside / "step")
    (run / "checkpoints" / "step-0000009999").symlink_to(outside / "step")  # ignored
    latest = run / "checkpoints" / "latest"
    before = checker.listing(outside)
    for spoil in ("dangling", "file", "folder"):
        latest.unlink()
        {"dangling": lambda: latest.symlink_to("nowhere"), "file": lambda: latest.write_text("?"), "folder": latest.mkdir}[spoil]()
        step = checker.whole(run / "checkpoints")[0] + 1
        done = here("train", "--resume", run, f"train.steps={step}", id="latest" if spoil == "folder" else None)
        assert f"resumed from step {step - 1}" in done.err
        if spoil != "folder":
            assert os.readlink(latest) == f"step-{step:010d}"
    assert checker.listing(outside) == before


@pytest.mark.parametrize("name", ["run.lock", "journal.jsonl", "recipe.yaml", "exit.json", "samples", "checkpoints"])
def test_07_nothing_is_written_through_a_link(name, tmp_path):
    run, precious = copy_of_run(tmp_path / "run"), tmp_path / "precious"
    if (run / name).is_dir():
        shutil.move(run / name, precious)
    else:
        precious.write_text("mine")
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(precious)
    before = checker.listing(precious) if precious.is_dir() else precious.read_text()
    done = here("train", "--resume", run, "train.steps=7", rc={0, 73})
    assert (checker.listing(precious) if precious.is_dir() else precious.read_text()) == before
    assert done.rc == (0 if name in ("recipe.yaml", "exit.json") else 73)


def test_08_clocks_and_times_of_files(tmp_path, monkeypatch):
    run = copy_of_run(tmp_path / "run")
    for i, path in enumerate(sorted((run / "checkpoints").rglob("*"), reverse=True)):
        os.utime(path, (i * 1e6, i * 1e6), follow_symlinks=False)
    jumping = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(jumping)))
    done = here("train", "--resume", run, "train.steps=9")
    assert "resumed from step 6" in done.err
    rates = [json.loads(line).get("rate", 0) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert min(rates) >= 0


def flip(path: Path, at: int = -5, bit: int = 4) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("name", [durable.MODEL, durable.RESUME, durable.MANIFEST])
def test_09_bit_rot_at_resume(name, tmp_path):
    """The newest step is damaged: the one before it is used; named explicitly it is refused; it is kept for a look."""
    run = copy_of_run(tmp_path / "run")
    damaged = run / "checkpoints" / "step-0000000006"
    flip(damaged / name, at=len((damaged / name).read_bytes()) // 2)
    bad = (damaged / name).read_bytes()
    here("train", "--resume", damaged, rc=65)
    done = here("train", "--resume", run, "train.steps=8", "train.save_every=2", id="ckpt-skipped")
    assert "resumed from step 4" in done.err
    assert checker.whole(run / "checkpoints")[:3] == [8, 6, 4]
    kept = next((run / "checkpoints").glob("damaged-6-*"))
    assert (kept / name).read_bytes() == bad
    assert [json.loads(line)["step"] for line in (run / "journal.jsonl").read_text().splitlines()] == sorted(
        json.loads(line)["step"] for line in (run / "journal.jsonl").read_text().splitlines()
    )


def test_09_no_whole_checkpoint_is_never_a_fresh_start(tmp_path):
    run = copy_of_run(tmp_path / "run")
    for folder in (run / "checkpoints").glob("step-*"):
        flip(folder / durable.MODEL)
    before = checker.listing(run / "checkpoints")
    here("train", "--resume", run, rc=65, id="ckpt-content")
    assert checker.listing(run / "checkpoints") == before


def test_09_retention_counts_only_whole_checkpoints(tmp_path):
    home = tmp_path / "checkpoints"
    saving(home, durable.FS(), [1, 2, 3], keep=10)
    flip(home / "step-0000000003" / durable.MODEL)
    flip(home / "step-0000000002" / durable.RESUME)
    durable.retain(home, keep=1)
    assert checker.whole(home) == [1]
    assert checker.steps(home) == [3, 2, 1]


def test_10_a_checkpoint_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    """Bytes are read once and verified as read: the old samples, or a refusal; never a mixture, never SIGBUS."""
    run = copy_of_run(tmp_path / "run")
    path = last(run) / durable.MODEL
    whole, read = path.read_bytes(), header.read

    def then_truncate(p):
        head = read(p)
        path.write_bytes(whole[: len(whole) // 2])
        return head

    monkeypatch.setattr(header, "read", then_truncate)
    here("sample", "--ckpt", path, "-n", 2, "--out", tmp_path / "s1", rc=65)

    def then_replace(p):
        head = read(p)
        shutil.copy(run / "checkpoints" / "step-0000000002" / durable.MODEL, path)
        return head

    path.write_bytes(whole)
    monkeypatch.setattr(header, "read", then_replace)
    here("sample", "--ckpt", path, "-n", 2, "--out", tmp_path / "s2")  # a whole other file: its own samples
    monkeypatch.setattr(header, "read", read)
    here("sample", "--ckpt", run / "checkpoints" / "step-0000000002", "-n", 2, "--out", tmp_path / "s3")
    assert (tmp_path / "s2" / "000001.png").read_bytes() == (tmp_path / "s3" / "000001.png").read_bytes()


@pytest.mark.slow
def test_10_truncated_50_ms_after_the_start(tmp_path):
    run = copy_of_run(tmp_path / "run")
    path = last(run) / durable.MODEL
    child = tools.start("sample", "--ckpt", path, "-n", 2000, "--out", tmp_path / "s", "--device", "cpu")
    tools.wait_for(child, "checkpoint ")
    os.truncate(path, 100)
    tools.oracle(tools.finish(child), {0, 65})
