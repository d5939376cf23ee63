"""One run, one folder, held under its lock.

runs/NAME/  recipe.yaml  journal.jsonl  run.lock  exit.json  samples/0000000500.png  checkpoints/step-0000000500/...
"""

import fcntl
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from genctl import config, durable
from genctl.errors import GenctlError, Stopped, exit_code, safe_text
from genctl.recipe import Recipe
from genctl.training import journal
from genctl.training.distributed import World


@dataclass
class Run:
    """A run's folder, held under its lock from `claim` to `release`."""

    path: Path
    world: World = field(default_factory=World)
    _lock: int = -1

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def claim(self, fresh: bool) -> None:
        """Creates the folders (fresh) and takes the lock. Raises GenctlError: out-exists, out-unwritable, run-busy."""
        self.world.follow(lambda: self._claim(fresh))

    def look(self) -> str:
        """Raises GenctlError (run-busy, out-exists) as a claim for a new run would, before anything is read or made."""
        try:
            if (self.path / "run.lock").is_file():
                self._take()
                self.release()
            self._empty()
        except OSError:
            pass  # the claim says it better
        return ""

    def _claim(self, fresh: bool) -> str:
        shown = safe_text(self.path)
        try:
            self._not_a_link("checkpoints", "samples", "run.lock", "journal.jsonl")
            if not (self.path / "run.lock").exists() and fresh:
                self._empty()  # before anything is created in it
            durable.make_home(self.path)
            self._take()
            if fresh:
                self._empty()
            durable.make_home(self.checkpoints)
            (self.path / "samples").mkdir(exist_ok=True)
            durable.sweep(self.checkpoints)
        except OSError as e:
            self.release()
            raise GenctlError(
                "out-unwritable", f"{shown} cannot be written: {safe_text(e.strerror)}", "give --out a folder you may write to"
            ) from None
        except GenctlError:
            self.release()
            raise
        return ""

    def _take(self) -> None:
        fd = os.open(self.path / "run.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(fd)
            what = f"{safe_text(self.path)} is in use by {safe_text(holder)}"
            raise GenctlError("run-busy", what, "wait for it, or give another --out") from None
        self._lock = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _empty(self) -> None:
        """Raises GenctlError (out-exists) when a new run would mix with what is there."""
        if not self.path.exists() or (self.path.is_dir() and set(os.listdir(self.path)) <= {"run.lock"}):
            return
        shown = safe_text(self.path)
        what = "holds a run or other files" if self.path.is_dir() else "is a file"
        raise GenctlError("out-exists", f"{shown} {what}", f"go on with it: genctl train --resume {shown}, or give another --out")

    def _not_a_link(self, *names: str) -> None:
        """A run may be a link to a folder; nothing inside it may lead out of it."""
        for name in names:
            if (self.path / name).is_symlink():
                what = f"{safe_text(self.path / name)} is a symbolic link: what it points to is outside the run"
                raise GenctlError("out-unwritable", what, "remove the link")

    def write(self, name: str, text: str) -> None:
        """A small file of the run, replaced as a whole."""
        temporary = self.path / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        with temporary.open("x", encoding="utf-8") as f:
            f.write(text)
        os.replace(temporary, self.path / name)

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write_exit(self, step: int, error: BaseException | None) -> None:
        """exit.json, written last: how the run ended, for a scheduler that sees only torchrun's exit status."""
        if not self.world.first:
            return
        code = 0 if error is None else exit_code(error)
        name = error.id if isinstance(error, GenctlError) else "stopped" if isinstance(error, Stopped) else "internal" if error else "done"
        try:
            self.write("exit.json", json.dumps({"code": code, "id": name, "step": step, "resumable": code != 0}) + "\n")
        except OSError:
            pass  # the exit status says it too


def write_recipe(run: Run, recipe: Recipe) -> None:
    """The resolved recipe, beside the checkpoints that hold it too."""
    if run.world.first:
        run.write("recipe.yaml", config.dump(recipe.written()))


def rewind(run: Run, step: int) -> None:
    """Forgets what came after `step`: later checkpoints and lines of the journal."""
    if run.world.first:
        for later in (n for n in durable.steps(run.checkpoints) if n > step):
            if durable.verified(run.checkpoints, later):
                durable.discard(run.checkpoints, later)
        journal.rewind(run.path / "journal.jsonl", step)
