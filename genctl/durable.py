"""The folder of a run's checkpoints: steps written atomic and durable, verified, kept, found again.

    run/checkpoints/step-0000000500/model.safetensors    what one samples with; explains itself, verifies alone
                                    resume.safetensors   raw weights (under EMA), optimiser state, Memories
                                    manifest.json        sizes and sha256 of both, counters, the held-out loss
                   latest, best                          links to the newest step and to that of the lowest held-out loss

Order of writing: files and manifest into a temporary folder, each synced; the folder synced; renamed (the commit); the parent
synced. Only then is a step called saved. A crash at any point leaves the old checkpoints or the new one, never a mixture.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genctl import header
from genctl.errors import GenctlError, safe_text
from genctl.header import FORMAT, bad

STEP = re.compile(r"step-(\d{10})")
MAX_MANIFEST = 8 * 2**20
MODEL, RESUME, MANIFEST = "model.safetensors", "resume.safetensors", "manifest.json"
Pieces = Sequence[bytes | memoryview]  # a file to be, piece by piece


# --- writing a step ----------------------------------------------------------------------------------------------------------


class FS:
    """The file operations that durability rests on, one method each, so that a test can count, fail or replay them."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def write(self, path: Path, data: Pieces) -> None:
        """Creates the file, writes all pieces and syncs them to the disk."""
        umask = os.umask(0)
        os.umask(umask)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 & ~umask)
        try:
            for piece in data:
                view = memoryview(piece)
                while view:
                    view = view[os.write(fd, view[: 2**30]) :]
            self.sync(fd)
        finally:
            os.close(fd)

    def sync(self, fd: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def sync_dir(self, path: Path) -> None:
        """Syncs a folder's entries. File systems that cannot (EINVAL, ENOTSUP) are passed over."""
        fd = os.open(path, os.O_RDONLY)
        try:
            self.sync(fd)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def link(self, target: str, path: Path) -> None:
        """Makes `path` a symbolic link to `target`, replacing a file or link in one step."""
        temporary = path.with_name(f".link-{secrets.token_hex(4)}")
        os.symlink(target, temporary)
        os.replace(temporary, path)

    def remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


_believed: dict[Path, tuple[tuple[str, int, int, int], ...]] = {}  # folders this process wrote or verified, and their traits then


def _traits(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What changes when a file of the folder is written to: name, inode, size and time of each."""
    with contextlib.suppress(OSError), os.scandir(folder) as it:
        return tuple(sorted((e.name, e.inode(), e.stat().st_size, e.stat().st_ctime_ns) for e in it))
    return ()


@dataclass(frozen=True)
class Step:
    """A checkpoint folder that verified: its number, place and manifest."""

    number: int
    path: Path
    manifest: dict[str, Any]

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def resume(self) -> Path:
        return self.path / RESUME


def save(home: Path, step: int, files: Mapping[str, Pieces], manifest: Mapping[str, Any], fs: FS | None = None) -> Path:
    """Writes one checkpoint folder under `home` (the run's `checkpoints/`) and returns when it is durable.

    Raises OSError; then the temporary folder is gone and every older checkpoint is as it was.
    """
    fs = fs or FS()
    final = home / f"step-{step:010d}"
    if final.exists() and verified(home, step):
        return final  # steps are immutable
    temporary = home / f".tmp-{step}-{secrets.token_hex(4)}"
    try:
        with ThreadPoolExecutor(1) as beside:  # hashing and writing both leave Python free
            hashing = {name: beside.submit(_sha256, data) for name, data in files.items()}
            fs.mkdir(temporary)
            for name, data in files.items():
                fs.write(temporary / name, data)
        listing = {name: {"size": sum(map(len, data)), "sha256": hashing[name].result()} for name, data in files.items()}
        whole = {"format": FORMAT, "step": step, "files": listing, **manifest}
        fs.write(temporary / MANIFEST, [json.dumps(whole | {"sha256": _manifest_digest(whole)}, indent=1).encode()])
        fs.sync_dir(temporary)
        if os.path.lexists(final):  # damaged, and now trained again
            fs.rename(final, home / f"damaged-{step}-{secrets.token_hex(4)}")
        fs.rename(temporary, final)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
        raise
    fs.sync_dir(home)
    _believed[final] = _traits(final)
    return final


def _sha256(data: Pieces) -> str:
    sha = hashlib.sha256()
    for piece in data:
        sha.update(piece)
    return sha.hexdigest()


def _manifest_digest(manifest: Mapping[str, Any]) -> str:
    """sha256 over the manifest's other entries, as compact JSON with sorted keys."""
    rest = {k: v for k, v in manifest.items() if k != "sha256"}
    return _sha256([json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()])


def make_home(home: Path, fs: FS | None = None) -> None:
    """Makes a folder and those above it that are missing, each entry durable before anything is kept in it."""
    fs = fs or FS()
    missing = [p for p in (home, *home.parents) if not p.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            fs.mkdir(path)
        fs.sync_dir(path.parent)


def point(home: Path, name: str, step: int, fs: FS | None = None) -> str | None:
    """Points the link `name` (latest, best) at a step; the reason if that fails, which loses nothing."""
    link = home / name
    try:
        if link.is_dir() and not link.is_symlink():
            return f"{safe_text(link)} is a folder, not a link; it is left alone and not used"
        (fs or FS()).link(f"step-{step:010d}", link)
    except OSError as e:
        return f"{safe_text(link)} was not updated: {safe_text(e.strerror)}"
    return None


def sweep(home: Path) -> None:
    """Removes what an interrupted save or deletion left behind. Call with the run's lock held."""
    for left in [*home.glob(".tmp-*"), *home.glob(".trash-*"), *home.glob(".link-*")]:
        with contextlib.suppress(OSError):
            FS().remove(left)


def retain(home: Path, keep: int, spare: Collection[int] = (), fs: FS | None = None) -> None:
    """Deletes all but the newest `keep` checkpoints that verify and those to `spare`; those that do not verify are kept for a look.

    What this process wrote or verified is hashed again only if it was touched since.
    """
    fs = fs or FS()
    good = 0
    for number in steps(home):
        if good < keep:
            path = home / f"step-{number:010d}"
            good += (path in _believed and _believed[path] == _traits(path)) or verified(home, number) is not None
        elif number not in spare:
            with contextlib.suppress(OSError):
                discard(home, number, fs)


def discard(home: Path, number: int, fs: FS | None = None) -> None:
    """Deletes a step: first out of sight in one move, then for good."""
    fs = fs or FS()
    trash = home / f".trash-{number}-{secrets.token_hex(4)}"
    fs.rename(home / f"step-{number:010d}", trash)
    fs.remove(trash)


# --- reading a run -----------------------------------------------------------------------------------------------------------


def steps(home: Path) -> list[int]:
    """The numbers of all checkpoint folders, newest (highest) first; links are ignored."""
    found = [int(m[1]) for e in _scan(home) if (m := STEP.fullmatch(e.name)) and e.is_dir(follow_symlinks=False)]
    return sorted(found, reverse=True)


def _scan(home: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(home) as it:
            return list(it)
    except OSError:
        return []


def best(home: Path) -> int | None:
    """The step of the lowest held-out loss among those whose manifests state one; the later of two alike."""
    losses: dict[int, float] = {}
    for number in steps(home):
        with contextlib.suppress(GenctlError, OSError, ValueError, KeyError, TypeError):
            losses[number] = float(_manifest(home / f"step-{number:010d}")["valid_loss"])
    return min(losses, key=lambda k: losses[k]) if losses else None


def _manifest(path: Path) -> Any:
    """The parsed manifest in a step's folder. Raises GenctlError, ValueError."""
    with os.fdopen(header.open_regular(path / MANIFEST), "rb") as f:
        raw = f.read(MAX_MANIFEST + 1)
    if len(raw) > MAX_MANIFEST:
        raise ValueError("it is too long")
    return json.loads(raw)


def verify(home: Path, number: int) -> Step:
    """A checkpoint whose manifest and files are whole. Raises GenctlError (ckpt-*)."""
    path = home / f"step-{number:010d}"
    where = path / MANIFEST
    try:
        manifest = _manifest(path)
        if manifest["sha256"] != _manifest_digest(manifest):
            raise bad("ckpt-checksum", where, "checksum mismatch")
        listing = {str(k): (int(v["size"]), str(v["sha256"])) for k, v in manifest["files"].items()}
        if manifest["step"] != number or listing.keys() != {MODEL, RESUME}:
            raise ValueError("it does not describe this step")
        header.check_format(where, manifest["format"])
        state = manifest["state"]
        if not all(type(n) is int for n in (manifest["threads"], manifest["world_size"], state["alike"])) or not all(
            isinstance(v, dict) for v in (state["scalers"], *state["scalers"].values())
        ):
            raise ValueError("its counters are not numbers")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise bad("ckpt-meta", where, f"not a manifest: {safe_text(e)}") from None
    for name, (size, sha) in listing.items():
        with os.fdopen(header.open_regular(path / name), "rb") as f:
            real = os.fstat(f.fileno()).st_size
            if real != size:
                raise bad("ckpt-truncated", name, f"{real} bytes, the manifest promises {size}")
            if hashlib.file_digest(f, "sha256").hexdigest() != sha:
                raise bad("ckpt-checksum", name, "checksum mismatch")
    _believed[path] = _traits(path)
    return Step(number, path, manifest)


def verified(home: Path, number: int) -> Step | None:
    try:
        return verify(home, number)
    except GenctlError:
        return None


def newest(home: Path, warn: Callable[[str], None]) -> Step | None:
    """The highest step that verifies; None if there are no steps; GenctlError if there are but none is whole."""
    numbers = steps(home)
    for number in numbers:
        try:
            return verify(home, number)
        except GenctlError as e:
            warn(f"warning[ckpt-skipped]: step {number}: {e.lines[0]}")
    if numbers:
        raise GenctlError(
            "ckpt-content",
            f"none of the {len(numbers)} checkpoints in {safe_text(home)} is whole",
            "start a new run; the damaged files are left as they are",
        )
    return None


def locate(path: Path, warn: Callable[[str], None]) -> Path:
    """The model file that `--ckpt` means: a lone file, a checkpoint folder, or a run (its newest whole step)."""
    try:
        folder = path.is_dir()
    except (OSError, ValueError) as e:  # no file system takes such a name
        raise GenctlError("no-input", f"{safe_text(path)}: {safe_text(e)}") from None
    if not folder:
        return path
    if (path / MODEL).exists() or (path / MANIFEST).exists():
        return path / MODEL
    if (path / "checkpoints").is_dir():
        step = newest(path / "checkpoints", warn)
        if step is None:
            raise GenctlError("no-input", f"the run {safe_text(path)} has no checkpoint yet")
        return step.model
    if (path / ".metadata").exists():
        raise bad("ckpt-format", path, "a torch.distributed checkpoint folder", "genctl reads only safetensors (its .metadata is a pickle)")
    raise GenctlError(
        "no-input",
        f"{safe_text(path)} is neither a run, a checkpoint folder nor a safetensors file",
        "give runs/NAME or a model.safetensors",
    )
