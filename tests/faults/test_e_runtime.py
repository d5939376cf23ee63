"""Group E: what happens while a run runs: signals, numbers that are not finite, streams that close, folders that lie."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from genctl import checkpoint, durable
from genctl.cli import show
from genctl.contract import Loss
from genctl.data import Split
from genctl.families.autoencoder.vae import VAE
from genctl.tasks import train
from genctl.training import order
from genctl.training.trainer import Trainer
from tests.faults import checker, tools
from tests.faults.tools import TINY, cli, copy_of_run, here, last

RUN = [*TINY, "train.ema=0.9", "train.steps=8", "train.save_every=2", "train.keep=10", "--device", "cpu"]
CODE = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The digest of the last step of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    here("train", *RUN, "--out", run)
    return checker.digest(last(run))


def strike(monkeypatch, moment: str, number: int, at: int = 3) -> None:
    """Sends this process a signal once, at the `at`-th call of what makes the moment."""
    owner, name = {
        "a step": (VAE, "loss"),
        "a save": (durable.FS, "write"),
        "reading data": (Split, "batch"),
        "a preview": (Trainer, "preview"),
        "the journal": (Trainer, "log"),
    }[moment]
    real, calls = getattr(owner, name), []

    def then(*args, **named):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), number)
        return real(*args, **named)

    monkeypatch.setattr(owner, name, then)


@pytest.mark.parametrize("moment", ["a step", "a save", "a preview", "the journal"])
@pytest.mark.parametrize("number", CODE, ids=lambda n: n.name)
def test_34_a_signal_during(moment, number, tmp_path, monkeypatch, uninterrupted, capfd):
    """One line, the step saved, how to go on, the exit status of the signal; resumed, the run ends as if nothing had been."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        strike(patch, moment, number, at=1 if moment == "a preview" else 3)
        done = here("train", *RUN, "train.sample_every=4", "--out", run, rc=CODE[number])
    assert capfd.readouterr().err.count(f"stopping after this step (signal {number.name})") == 1
    assert "resume with: genctl train --resume" in done.err
    saved = int(re.findall(r"saved step (\d+)", done.err)[-1])
    assert checker.whole(run / "checkpoints")[0] == saved < 8
    assert json.loads((run / "exit.json").read_text()) == {"code": CODE[number], "id": "stopped", "step": saved, "resumable": True}
    here("train", "--resume", run, "train.sample_every=100000")
    assert checker.digest(last(run)) == uninterrupted


@pytest.mark.parametrize("number", CODE, ids=lambda n: n.name)
def test_34_a_signal_before_the_first_step(number, tmp_path, monkeypatch, capfd):
    """There is nothing to save: the run ends at once, with the signal's status."""
    real = train.open_data
    monkeypatch.setattr(train, "open_data", lambda plan: (os.kill(os.getpid(), number), real(plan))[1])
    here("train", *RUN, "--out", tmp_path / "run", rc=CODE[number])
    assert f"signal {number.name}" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_34_ignored_at_the_start_stays_ignored(tmp_path, monkeypatch, uninterrupted):
    """nohup: a hang-up does not stop the run."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        strike(monkeypatch, "a step", signal.SIGHUP)
        here("train", *RUN, "--out", tmp_path / "run")
    finally:
        signal.signal(signal.SIGHUP, old)
    assert checker.digest(last(tmp_path / "run")) == uninterrupted


def test_34_usr1_saves_now(tmp_path, monkeypatch):
    strike(monkeypatch, "a step", signal.SIGUSR1)
    done = here("train", *TINY, "train.steps=8", "train.save_every=100", "--out", tmp_path / "run")
    assert re.findall(r"saved step (\d+)", done.err) == ["3", "8"]


def test_34_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(n) for n in CODE]
    here("train", *TINY, "train.steps=1", "--out", tmp_path / "run")
    assert [signal.getsignal(n) for n in CODE] == before


SLOW_STEP = """
import sys, time
sys.path.insert(0, {root!r})
from genctl.families.autoencoder.vae import VAE
real = VAE.loss
def slow(self, batch, at):
    if self.training and at.step == 4: print("ASLEEP", file=sys.stderr, flush=True); time.sleep(60)
    return real(self, batch, at)
VAE.loss = slow
from genctl.cli import main
main({args!r})
"""


def test_34_a_second_signal_ends_it_now(tmp_path):
    """Also while a step hangs; the old checkpoints are intact and nothing of the group remains."""
    run = tmp_path / "run"
    script = SLOW_STEP.format(root=str(tools.ROOT), args=[*map(str, ["train", *RUN, "--out", run])])
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             start_new_session=True, env=tools.environment())  # fmt: skip
    tools.wait_for(child, "ASLEEP")
    os.killpg(child.pid, signal.SIGTERM)
    tools.wait_for(child, "stopping after this step")
    started = time.monotonic()
    os.killpg(child.pid, signal.SIGTERM)
    done = tools.oracle(tools.finish(child), 143)
    assert time.monotonic() - started < 3, done.err
    assert checker.whole(run / "checkpoints") == [4, 2]
    tools.no_survivors(child)


@pytest.mark.slow
@pytest.mark.parametrize("number", CODE, ids=lambda n: n.name)
def test_34_as_a_process(number, tmp_path, figure):
    run, times = tmp_path / "run", tools.times(5)
    for k in range(times):
        out = run.with_name(f"run{k}")
        child = tools.start("train", *TINY, "train.steps=100000", "train.save_every=1000", "--out", out)
        tools.wait_for(child, "run ")
        time.sleep(1 + 0.37 * k)
        started = time.monotonic()
        os.killpg(child.pid, number)
        done = tools.oracle(tools.finish(child), CODE[number])
        assert time.monotonic() - started < 20
        assert "saved step" in done.err or "no step has begun" in done.err
        tools.no_survivors(child)
        if "saved step" in done.err:
            cli("train", "--resume", out, "--steps", checker.whole(out / "checkpoints")[0] + 1)
    figure(f"{number.name}: {times} of {times} graceful")


# --- 38: not finite ---


def misbehave(monkeypatch, kind: str, at_step: int) -> None:
    """A vae whose loss, gradient or both are not finite at one step of training. In the tests only."""
    real = VAE.loss

    def loss(self, batch, at):
        out = real(self, batch, at)
        if self.training and at.step == at_step:
            weight = next(self.parameters())
            bad = {
                "nan loss": lambda: out.total * float("nan"),
                "inf loss": lambda: out.total + float("inf"),
                "nan gradient": lambda: out.total + 0 * (weight * 0).abs().sqrt().sum(),  # finite value, 0 * inf in its gradient
                "inf gradient": lambda: (
                    out.total + (weight.sum() * 1e30) ** 2 * 0 + (weight * 3e38).sum() * 2 * 0 + _infinite_gradient(weight)
                ),
            }[kind]()
            return Loss(bad, **out.parts)
        return out

    monkeypatch.setattr(VAE, "loss", loss)


def _infinite_gradient(w: torch.Tensor) -> torch.Tensor:
    return (w - w.detach()).abs().pow(0.5).sum()  # 0, with an infinite slope there


def finite(run: Path) -> bool:
    return all(
        bool(torch.isfinite(v).all())
        for n in checker.whole(run / "checkpoints")
        for name in (durable.MODEL, durable.RESUME)
        for v in checkpoint.unpack(run / "checkpoints" / f"step-{n:010d}" / name)[1].values()
        if v.is_floating_point()
    )


@pytest.mark.parametrize("kind", ["nan loss", "inf loss", "nan gradient", "inf gradient"])
def test_38_stops_before_the_update(kind, tmp_path, monkeypatch, uninterrupted):
    """The step is named, nothing of it is applied or saved, and a sound resume ends as an undisturbed run."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        misbehave(patch, kind, 5)
        done = here("train", *RUN, "--out", run, rc=80, id="guard-nonfinite")
    assert "step 6" in done.err
    assert "examples [" in done.err
    assert checker.whole(run / "checkpoints") == [4, 2]
    assert finite(run)
    assert json.loads((run / "exit.json").read_text())["code"] == 80
    here("train", "--resume", run)
    assert checker.digest(last(run)) == uninterrupted


def test_38_a_hundred_injections(tmp_path, monkeypatch, figure):
    poisoned = 0
    for k in range(n := max(8, tools.times(10) if tools.SCALE < 10 else 100)):
        run = tmp_path / str(k)
        with monkeypatch.context() as patch:
            misbehave(patch, ["nan loss", "inf loss", "nan gradient", "inf gradient"][k % 4], k % 7)
            here("train", *RUN, "train.save_every=1", "--out", run, rc=80, id="guard-nonfinite")
        poisoned += not finite(run)
        assert checker.whole(run / "checkpoints")[:1] == ([k % 7] if k % 7 else [])
    assert poisoned == 0
    figure(f"{n} injections, 0 poisoned checkpoints")


def test_38_skip_leaves_the_step_out_and_resumes_exactly(tmp_path, monkeypatch):
    misbehave(monkeypatch, "nan gradient", 2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    skip = ["--set", "guard.nonfinite=skip"]
    here("train", *RUN, *skip, "--out", whole)
    here("train", *RUN, *skip, "--out", parts)
    for step in (8, 6, 4):
        durable.discard(parts / "checkpoints", step)
    assert "resumed from step 2" in here("train", "--resume", parts).err
    assert checker.digest(last(whole)) == checker.digest(last(parts))
    assert finite(whole)
    for line in (whole / "journal.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda c: pytest.fail(f"{c} in the journal"))


def test_38_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    """A buffer that the loss itself poisons is caught at the save."""
    real = VAE.loss

    def loss(self, batch, at):
        if self.training and at.step == 3:
            with torch.no_grad():
                next(self.parameters()).fill_(float("inf"))
            return real(self, batch, at)
        return real(self, batch, at)

    monkeypatch.setattr(VAE, "loss", loss)
    run = tmp_path / "run"
    here("train", *RUN, "train.save_every=1", "guard.nonfinite=skip", "--out", run, rc=80, id="guard-nonfinite")
    assert checker.whole(run / "checkpoints") == [3, 2, 1]
    assert finite(run)


def test_38_a_rate_that_diverges(tmp_path):
    run = tmp_path / "run"
    here(
        "train",
        *TINY,
        "train.optimizer=sgd",
        "train.lr=100",
        "train.steps=60",
        "train.save_every=1",
        "--out",
        run,
        rc=80,
        id="guard-nonfinite",
    )
    assert finite(run)


def test_38_collapse(tmp_path, monkeypatch):
    monkeypatch.setattr(VAE, "sample", lambda self, n, draw, given=None: torch.full((n, *self.spec.shape), 0.5))
    args = [*TINY, "train.steps=8", "train.sample_every=1", "train.save_every=100"]
    done = here("train", *args, "--out", tmp_path / "warn", id="collapse")
    assert done.err.count("warning[collapse]") == 1
    here("train", *args, "guard.collapse=stop", "--out", tmp_path / "stop", rc=80, id="guard-collapse")
    assert "warning[collapse]" not in here("train", *args, "guard.collapse=ignore", "--out", tmp_path / "ignore").err


# --- 39: what is and what is not exact ---


def test_39_other_threads_are_said(tmp_path):
    run = copy_of_run(tmp_path / "run")
    was = json.loads((last(run) / durable.MANIFEST).read_text())["threads"]
    done = here("train", "--resume", run, "train.steps=7", "train.threads=3")
    assert f"not bit for bit: threads {was} -> 3" in done.err


def test_39_the_order_of_data_is_that_of_one_rank():
    whole = order.rows(3, 37, 0, 240)
    for ranks in (2, 4):
        share = 24 // ranks
        parts = [order.rows(3, 37, step * 24 + r * share, step * 24 + (r + 1) * share) for step in range(10) for r in range(ranks)]
        assert torch.equal(torch.cat(parts), whole)


def test_39_twice_the_same(tmp_path, uninterrupted):
    here("train", *RUN, "--out", tmp_path / "run")
    assert checker.digest(last(tmp_path / "run")) == uninterrupted


# --- 40: streams and names ---


def test_40_stdout_closes_early():
    child = tools.start("list", "families", "--json")
    child.stdout.close()
    child.stdout = None
    tools.oracle(tools.finish(child), {0, 141})


def test_40_a_full_device():
    with open("/dev/full", "w") as full:
        child = tools.start("list", "families", stdout=full)
        tools.oracle(tools.finish(child), 74, "io")


@pytest.mark.parametrize("closed", ["1", "2", "0", "1 2", "0 1 2"])
def test_40_streams_that_are_closed_at_the_start(closed, tmp_path):
    """Nothing a command opens takes their place."""
    shut = " ".join(f"{fd}{'<' if fd == '0' else '>'}&-" for fd in closed.split())
    command = f"{sys.executable} -m genctl init vae-digits {tmp_path}/r.yaml {shut}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=tools.ROOT, env=tools.environment(), check=False)
    tools.oracle(tools.Result(done.returncode, done.stdout, done.stderr), 0)
    assert (tmp_path / "r.yaml").read_text() == (tools.ROOT / "configs/autoencoder/vae-digits.yaml").read_text()


def test_40_a_stderr_that_breaks(tmp_path, monkeypatch):
    """Every line that is said fails; the run does not."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with contextlib.redirect_stderr(Broken()):
        train.train(
            train.Request(TINY[0], [(t, None) for t in (*TINY[1:], "train.steps=3")], tmp_path / "run", device="cpu"), show.report("plain")
        )
    assert checker.whole(tmp_path / "run" / "checkpoints")[0] == 3


@pytest.mark.slow
def test_40_training_goes_on_when_nobody_listens(tmp_path):
    child = tools.start("train", *TINY, "train.steps=60", "train.save_every=10", "--out", tmp_path / "run")
    tools.wait_for(child, "saved step")
    child.stderr.close()
    child.stdout.close()
    child.stderr = child.stdout = None
    assert child.wait(120) == 0
    assert checker.whole(tmp_path / "run" / "checkpoints")[0] == 60
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["id"] == "done"


NAMES = [
    "[/red]",
    "[bold]x[/bold]",
    "a\x1b[31mb",
    "new\nline",
    "with space",
    "emoji 🎲",
    "x" * 255,
    "-dash",
    "a'b\"c",
    "\u202ertl",
    "%s%n",
    "../up",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_40_hostile_names(name, tmp_path):
    """A folder may be called anything; nothing of it reaches the terminal as a command."""
    (tmp_path / "in").mkdir()
    out = tmp_path / "in" / name
    done = here("train", *TINY, "train.steps=1", "--out", out)
    assert "\x1b" not in done.text
    assert "\u202e" not in done.text
    assert "new\nline" not in done.text
    for args in (
        ["inspect", out],
        ["sample", "--ckpt", out, "-n", 1, "--out", out / "s"],
        ["runs", out.parent],
        ["train", "--resume", out],
    ):
        assert "\x1b" not in here(*args).text
    assert out.is_dir()


def test_40_names_that_no_file_system_takes(tmp_path):
    for name in ("x" * 256, "a/" * 3000, "a\0b"):
        here("train", *TINY, "train.steps=1", "--out", tmp_path / name, rc={2, 73})
    here("sample", "--ckpt", tmp_path / ("x" * 5000), rc={65, 66})


@pytest.mark.parametrize("env", [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "1"},
    {"TERM": "", "LANG": "nonsense"}, {"PYTHONIOENCODING": "ascii"},
], ids=lambda e: " ".join(e))  # fmt: skip
def test_40_terminals(env, tmp_path):
    place = tmp_path / "🎲é"
    place.mkdir()
    (place / "r").mkdir()
    cli("runs", place, "--json", env=tools.environment(**env))
    cli("init", "vae-digits", place / "é.yaml", env=tools.environment(**env))


def test_40_arguments_that_are_not_utf8(tmp_path):
    raw = os.fsencode(str(tmp_path)) + b"/\xff\xfe"
    done = subprocess.run(
        [*tools.GENCTL, "sample", "--ckpt", raw], capture_output=True, cwd=tools.ROOT, env=tools.environment(), check=False
    )
    tools.oracle(tools.Result(done.returncode, done.stdout.decode(), done.stderr.decode()), 66, "no-input")
    here("train", *TINY, "data.path=\udcff", "train.steps=1", "--out", tmp_path / "run", rc=2, id="usage")


# --- 42: hostile working folder, no network ---

EVIL = "import pathlib\npathlib.Path({marker!r}).touch()\nraise SystemExit(99)\n"


@pytest.mark.parametrize("how", [pytest.param("-m", marks=pytest.mark.slow), "script"])
def test_42_a_working_folder_full_of_modules(how, tmp_path):
    """A torch.py beside the data is data."""
    marker = tmp_path / "marker"
    script = Path(sys.executable).with_name("genctl")
    if how == "script" and not script.exists():
        pytest.skip("the console script is not installed here")
    for name in ("torch", "typer", "numpy", "yaml", "json", "safetensors", "pydantic", "sklearn", "genctl", "sitecustomize", "rich", "PIL"):
        (tmp_path / f"{name}.py").write_text(EVIL.format(marker=str(marker)))
    if how == "-m":
        (tmp_path / "genctl.py").unlink()  # `python -m genctl` means the genctl that lies here, and says so
    env = {k: v for k, v in tools.environment().items() if k != "PYTHONPATH"}
    command = [str(script)] if how == "script" else [sys.executable, "-m", "genctl"]
    args = ["doctor"] if how == "-m" else ["train", *RUN, "train.steps=1", "--out", "run"]
    done = subprocess.run([*command, *args], capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    tools.oracle(tools.Result(done.returncode, done.stdout, done.stderr), 0)
    assert not marker.exists()


def test_42_no_network(tmp_path):
    """No command reaches for anything: not one socket is connected."""
    seen: list[str] = []
    listening = True
    sys.addaudithook(
        lambda event, args: seen.append(f"{event} {args}") if listening and event in ("socket.connect", "socket.getaddrinfo") else None
    )
    run = tmp_path / "run"
    for args in (["train", *RUN, "--out", run], ["sample", "--ckpt", run, "-n", 2, "--out", tmp_path / "s"], ["inspect", run], ["doctor"],
                 ["list", "recipes"], ["data", "info", "digits"]):  # fmt: skip
        here(*args)
    listening = False
    assert not seen


@pytest.mark.slow
def test_42_offline_machine(tmp_path):
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here")
    cli("train", *RUN, "--out", tmp_path / "run", prefix=["unshare", "-rn"])
