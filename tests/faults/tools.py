"""What the rows share: tiny runs, the command line as a child or in this process, and the universal oracle."""

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SCALE = float(os.environ.get("FAULTS_SCALE", "1"))  # 20: a thousand kills, a hundred thousand mutants
ROOT = Path(__file__).parent.parent.parent
GENCTL = [sys.executable, "-m", "genctl"]
TINY = [
    "vae-digits",
    "train.decay=none",
    "model.hidden=[4]",
    "model.latent=2",
    "train.batch=16",
    "train.valid_every=100000",
    "train.sample_every=100000",
]
BUG = {1, -11, -6, -7, -9}


def limit(seconds: float) -> float:
    """A bound on CPU time; under a tracer, as coverage is, every line costs several times as much."""
    return seconds * (4 if sys.gettrace() else 1)


def times(n: int) -> int:
    """A number of trials, at the scale of this run."""
    return max(1, int(n * SCALE))


@dataclass(frozen=True)
class Result:
    rc: int
    out: str
    err: str
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return self.out + self.err


def oracle(result: Result, rc: int | set[int], id: str | None = None) -> Result:
    """The expected exit status, no traceback, no death, at most ten lines of error; the id, never the prose."""
    wanted = {rc} if isinstance(rc, int) else rc
    assert result.rc in wanted, f"rc {result.rc}, expected {wanted}:\n{result.text[-1500:]}"
    assert result.rc not in BUG, result.text[-1500:]
    assert "Traceback" not in result.text, result.text[-1500:]
    assert "\x1b" not in result.text.replace("\x1b[?25", ""), "an escape character reached the terminal"
    if id:
        assert f"error[{id}]" in result.err or f"warning[{id}]" in result.err, f"no [{id}] in:\n{result.err[-1500:]}"
    return result


def environment(**more: str) -> dict[str, str]:
    """A child's environment: without torchrun's, with the checkout importable from anywhere."""
    base = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return base | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", **more}


def cli(
    *args: object, rc: int | set[int] = 0, id: str | None = None, timeout: float = 120, prefix: list[str] | None = None, **how
) -> Result:
    """`python -m genctl ...` as a child of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [*(prefix or []), *GENCTL, *map(os.fspath, map(str, args))],
        capture_output=True, timeout=timeout, env=how.pop("env", environment()), cwd=how.pop("cwd", ROOT), **how,
    )  # fmt: skip
    text = [t.decode(errors="replace") for t in (done.stdout, done.stderr)]
    return oracle(Result(done.returncode, *text, time.monotonic() - started), rc, id)


def here(*args: object, rc: int | set[int] = 0, id: str | None = None) -> Result:
    """The same in this process, which has imported everything already."""
    import torch

    from genctl.cli import main

    threads = torch.get_num_threads()
    out, err, code = io.StringIO(), io.StringIO(), 0
    started = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(a) for a in args])
        except SystemExit as e:
            code = int(e.code or 0)
        finally:
            torch.set_num_threads(threads)
    return oracle(Result(code, out.getvalue(), err.getvalue(), time.monotonic() - started), rc, id)


def start(*args: object, env: dict[str, str] | None = None, **how) -> subprocess.Popen:
    """`python -m genctl ...` in a session of its own, its output in pipes."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True, "cwd": ROOT, **how}
    return subprocess.Popen([*GENCTL, *map(str, args)], env=env or environment(), **how)


def wait_for(child: subprocess.Popen, text: str, timeout: float = 60) -> list[str]:
    """Reads the child's stderr up to a line with `text`."""
    lines, end = [], time.monotonic() + timeout
    while time.monotonic() < end:
        line = child.stderr.readline()
        lines.append(line)
        if text in line:
            return lines
        if not line:
            break
    child.kill()
    raise AssertionError(f"no '{text}' in: {''.join(lines)[-1500:]}")


def finish(child: subprocess.Popen, timeout: float = 60) -> Result:
    out, err = child.communicate(timeout=timeout)
    return Result(child.returncode, out or "", err or "")


def no_survivors(child: subprocess.Popen) -> None:
    """No process of the child's group remains."""
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return
    raise AssertionError("a process of the run is still there")


@cache
def trained(steps: int = 6, every: int = 2) -> Path:
    """A finished tiny run, made once; copy it before you spoil it."""
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="genctl-faults-")) / "run"
    here(
        "train",
        *TINY,
        "train.ema=0.9",
        f"train.steps={steps}",
        f"train.save_every={every}",
        "train.keep=10",
        "--out",
        place,
        "--device",
        "cpu",
    )
    import atexit

    atexit.register(shutil.rmtree, place.parent, True)
    return place


def copy_of_run(to: Path) -> Path:
    return Path(shutil.copytree(trained(), to, symlinks=True))


def last(run: Path) -> Path:
    """The newest checkpoint folder of a run."""
    return max((run / "checkpoints").glob("step-" + "[0-9]" * 10))


@contextlib.contextmanager
def limited(kind: int, value: int):
    """A resource limit of this process, for the length of a `with`."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def resident_mb() -> float:
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024
