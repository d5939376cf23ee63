"""An independent reader of a run: json and hashlib, nothing of genctl or torch. It judges what survived a fault."""

import hashlib
import json
import re
import struct
from pathlib import Path

STEP = re.compile(r"step-(\d{10})")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def problem(folder: Path) -> str:
    """What is wrong with one checkpoint folder; empty when it is whole."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        said = manifest.pop("sha256")
        if said != sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()):
            return "manifest checksum"
        for name, info in manifest["files"].items():
            data = (folder / name).read_bytes()
            if len(data) != info["size"] or sha256(data) != info["sha256"]:
                return f"{name} differs"
            (length,) = struct.unpack("<Q", data[:8])
            json.loads(data[8 : 8 + length])
        if {"model.safetensors", "resume.safetensors"} != set(manifest["files"]) or folder.name != f"step-{manifest['step']:010d}":
            return "not what a checkpoint holds"
    except (OSError, ValueError, KeyError, struct.error) as e:
        return f"{type(e).__name__}: {e}"
    return ""


def steps(home: Path) -> list[int]:
    """All checkpoint folders, whole or not, newest first."""
    if not home.is_dir():
        return []
    return sorted((int(m[1]) for p in home.iterdir() if (m := STEP.fullmatch(p.name)) and p.is_dir() and not p.is_symlink()), reverse=True)


def whole(home: Path) -> list[int]:
    """The steps that are whole, newest first."""
    return [n for n in steps(home) if not problem(home / f"step-{n:010d}")]


def leftovers(home: Path) -> list[str]:
    return sorted(p.name for p in home.iterdir() if p.name.startswith((".tmp-", ".trash-", ".link-")))


def digest(folder: Path) -> str:
    """One sha256 over the two tensor files of a checkpoint: equal runs have equal digests."""
    return sha256(b"".join((folder / name).read_bytes() for name in ("model.safetensors", "resume.safetensors")))


def listing(place: Path) -> dict[str, str]:
    """Every file below `place` with the hash of its contents, links by their target."""
    return {
        str(p.relative_to(place)): f"-> {p.readlink()}" if p.is_symlink() else sha256(p.read_bytes()) if p.is_file() else "folder"
        for p in sorted(place.rglob("*"))
    }
