"""data prepare: fetches a named thing from its official mirrors when the user asks, and believes nothing but its sha256."""

import hashlib
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genctl import catalog
from genctl.errors import GenctlError, safe_text
from genctl.tasks import data as sources


@dataclass(frozen=True)
class Remote:
    """A file by its content: size and sha256 are those of the bytes after unpacking, where `url` ends in .gz."""

    urls: tuple[str, ...]
    size: int
    sha256: str


INCEPTION = Remote(
    ("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",),
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


def names() -> list[str]:
    """What can be prepared."""
    return ["inception", *(n for n in catalog.entries("data") if hasattr(catalog.load("data", n), "REMOTE"))]


def prepare(name: str, out: Path | None, mirror: str | None, say: Callable[[str], None]) -> list[Path]:
    """Fetches what is missing of a named thing, or computes ahead what a recipe's data needs; returns the files. What is whole is left alone.

    Data goes to OUT/<name>, or $GENCTL_DATA/<name>; the Inception weights to the cache. mirror: a base URL tried first.
    Raises GenctlError (usage, io, data-bad, out-unwritable).
    """
    if name == "inception":
        return [_inception(out, mirror, say)]
    if "," in name or name in catalog.recipes() or Path(name).suffix in (".yaml", ".yml"):
        return _ahead(name, say)
    reader = catalog.load("data", name) if name in catalog.entries("data") else None
    if not hasattr(reader, "REMOTE"):
        raise GenctlError("usage", f"there is nothing to fetch for '{safe_text(name)}'; known: {', '.join(names())}")
    root = out or (Path(os.environ["GENCTL_DATA"]) if os.environ.get("GENCTL_DATA") else None)
    if root is None:
        raise GenctlError(
            "usage", "where to? $GENCTL_DATA is not set", f"genctl data prepare {name} --out FOLDER, then export GENCTL_DATA=FOLDER"
        )
    remote: dict[str, Remote] = {file: Remote(tuple(urls), size, sha) for file, (urls, size, sha) in reader.REMOTE.items()}  # type: ignore[union-attr]
    return [fetch(root / name / file, what, mirror, say) for file, what in remote.items()]


def _ahead(source: str, say: Callable[[str], None]) -> list[Path]:
    """What data with a `prepare` of its own keeps in the cache."""
    settings = sources.settings_of(source)
    reader = catalog.load("data", settings.name)
    if not hasattr(reader, "prepare"):
        raise GenctlError("usage", f"data '{settings.name}' is read as it is: there is nothing to prepare")
    home: Path = reader.prepare(settings, say)
    return sorted(home.iterdir())


def _inception(out: Path | None, mirror: str | None, say: Callable[[str], None]) -> Path:
    """The weights as safetensors: fetched, checked, and read without running what the file says (tasks/torchfile.py)."""
    target = (out or catalog.cache_home()) / "inception.safetensors"
    if not target.exists():
        from safetensors.torch import save_file

        from genctl.tasks import torchfile

        source = fetch(target.with_suffix(".pth"), INCEPTION, mirror, say)
        save_file(torchfile.read(source), target)
        source.unlink()
    say(f"use it with: --weights {safe_text(target)}, or export GENCTL_INCEPTION_WEIGHTS={safe_text(target)}")
    return target


def fetch(target: Path, remote: Remote, mirror: str | None, say: Callable[[str], None]) -> Path:
    """One file at `target`, with the content that `remote` promises. Raises GenctlError (io, data-bad, out-unwritable)."""
    if target.exists() and _digest(target) == (remote.size, remote.sha256):
        say(f"{safe_text(target)} is there")
        return target
    base = [f"{mirror.rstrip('/')}/{remote.urls[0].rsplit('/', 1)[1]}"] if mirror else []
    problems = []
    for url in [*base, *remote.urls]:
        say(f"fetching {safe_text(url)}")
        try:
            content = _download(url, remote.size)
        except (urllib.error.URLError, OSError, zlib.error, ValueError) as e:
            problems.append(f"{safe_text(url)}: {safe_text(e)}")
            continue
        if (len(content), hashlib.sha256(content).hexdigest()) != (remote.size, remote.sha256):
            raise GenctlError(
                "data-bad",
                f"{safe_text(url)} is not the known file: its sha256 differs",
                "try again, or another --mirror; nothing was written",
            )
        _write(target, content)
        return target
    raise GenctlError("io", ["could not fetch " + safe_text(target.name), *problems], "check the network, or give --mirror URL")


def _download(url: str, size: int) -> bytes:
    """The content behind a URL, unpacked where it ends in .gz, and never more than it should be."""
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise ValueError("only https is fetched")
    with urllib.request.urlopen(url, timeout=60) as answer:
        if not url.endswith(".gz"):
            content: bytes = answer.read(size + 1)
        else:
            unpack = zlib.decompressobj(wbits=31)
            packed = answer.read(size + 2**16)  # no gzip of it is longer
            content = unpack.decompress(packed, size + 1)
    if len(content) > size:
        raise ValueError("longer than the known file")
    return content


def _write(target: Path, content: bytes) -> None:
    """As .gz where the name says so; in place in one step."""
    import gzip

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        temporary.write_bytes(gzip.compress(content, 6, mtime=0) if target.suffix == ".gz" else content)
        os.replace(temporary, target)
    except OSError as e:
        raise GenctlError("out-unwritable", f"{safe_text(target)}: {safe_text(e.strerror)}", "give another --out") from None


def _digest(path: Path) -> tuple[int, str]:
    import gzip

    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return 0, ""
    return len(content), hashlib.sha256(content).hexdigest()
