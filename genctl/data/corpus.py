"""Your own documents, as many as the disk holds: tokenised once into memory-mapped files, without duplicates, split by document.

Documents are files, lines, paragraphs between empty lines, or the `text` of JSON lines. One is where it was when others are added: its
own content says to which split it goes. What is made of them lies in the cache, under a name made of their content and these settings, and
is verified by sha256 when it is opened. `genctl data prepare corpus,path=DOCUMENTS` makes it ahead, and says how far it is.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl import catalog
from genctl.contract import Batch, Spec
from genctl.data import Dataset, Split, find
from genctl.data._tokenise import Coder, TokeniseConfig, Way, fit, small
from genctl.data._tokens import checked, windows
from genctl.errors import GenctlError, safe_text

SPLITS = ("train", "valid", "test")
SUFFIXES = (".txt", ".md", ".jsonl")
BATCH, LEARN = 2000, 2**26  # documents tokenised at once; characters that symbols are learned from
LONGEST = 2**24  # characters of a document; a longer one is cut
BLOCK = 2**20
Say = Callable[[str], None]


class Config(TokeniseConfig):
    name: Literal["corpus"] = "corpus"
    """Documents from files."""
    path: str | None = None
    """A .txt, .md or .jsonl file, or a folder of them."""
    documents: Literal["files", "lines", "paragraphs"] = "files"
    """What a document is; of .jsonl files it is the `text` of a line."""
    tokenise: Way = "bpe"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    length: int = Field(257, ge=2, le=1_000_000)
    """Symbols in a row."""
    packed: bool = True
    """Rows are windows over documents one behind another (model.documents keeps those apart); otherwise a row holds one or a part of one."""
    valid: float = Field(0.05, gt=0, le=0.45)
    """The share of documents held out for validation."""
    test: float = Field(0.05, gt=0, le=0.45)
    """The share of documents held out for testing."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad, limit, io."""
    home, coder = _ready(config, lambda text: None)
    facts = json.loads((home / "facts.json").read_text())
    dtype = small(coder.vocab)
    rows = [_mapped(home / f"{name}.symbols", dtype) for name in SPLITS]
    if min(map(len, rows)) < 2:
        raise GenctlError(
            "data-empty", f"a split of {facts['documents']} documents has no text", "more documents, or data.documents=lines or paragraphs"
        )
    prints, notes = [facts["sha256"][f"{name}.symbols"][:16] for name in SPLITS], tuple(facts["notes"])
    if not config.packed:
        starts = [_mapped(home / f"{name}.starts", torch.int64) for name in SPLITS]
        train, valid, test = (_pieces(*found, config.length, coder.end) for found in zip(rows, starts, prints, strict=True))
        return Dataset(coder.spec(config.length), train.first(config.limit), valid, test, notes=notes)
    length = min(config.length, *map(len, rows))
    spec = Spec(shape=(length,), vocab=coder.vocab, separator=coder.end, media="text", codec=coder.codec)
    train, valid, test = (
        windows(row, length, 1 if k == 0 else length - 1, print) for k, (row, print) in enumerate(zip(rows, prints, strict=True))
    )
    return Dataset(spec, train.first(config.limit), valid, test, notes=notes)


def _pieces(row: Tensor, starts: Tensor, print: str, length: int, end: int) -> Split:
    """Each document in pieces of at most `length` symbols, its end counted."""
    stops = torch.cat([starts[1:], torch.tensor([len(row)])])
    begin = torch.cat([torch.arange(int(a), int(b), length) for a, b in zip(starts, stops, strict=True)])
    stop = torch.minimum(begin + length, stops[torch.searchsorted(starts, begin, right=True) - 1])
    steps = torch.arange(length)

    def get(index: Tensor) -> Batch:
        at = begin[index][:, None] + steps
        return Batch(x=torch.where(at < stop[index][:, None], row[at.clamp(max=len(row) - 1)].long(), end))

    return Split(len(begin), get, lambda: f"{print}-{length}")


# --- made once ---------------------------------------------------------------------------------------------------------------


def prepare(config: Config, say: Say) -> Path:
    """The folder in the cache, made where it is not there or not whole. Raises GenctlError as `open` does."""
    return _ready(config, say)[0]


def _ready(config: Config, say: Say) -> tuple[Path, Coder]:
    if not config.path:
        raise GenctlError("config", "data.path: data 'corpus' needs a file, or a folder of .txt, .md or .jsonl files", "data.path=FILE")
    root = find("corpus", config.path, "documents")
    files = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES and p.is_file()) if root.is_dir() else [root]
    if not files:
        raise GenctlError("data-empty", f"{safe_text(root)} holds no {', '.join(SUFFIXES)} file")
    content = [_content(files), config.documents, config.valid, config.test]
    cache = catalog.cache_home() / "corpus"
    try:
        coder = _coder(config, files, cache / f"{_key([*content, config.tokenise, config.vocab])}.json", say)
        home = cache / _key([*content, coder.codec])
        if _whole(home):
            say(f"{safe_text(home)} is there")
        else:
            _make(config, files, coder, home, say)
    except OSError as e:
        raise GenctlError(
            "io", f"{safe_text(cache)} cannot be written: {safe_text(e.strerror)}", "set GENCTL_CACHE to a folder with room"
        ) from None
    return home, coder


def _key(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:20]


def _coder(config: Config, files: list[Path], known: Path, say: Say) -> Coder:
    """As it was learned before, or learned now."""
    if config.tokenizer:
        return fit(config, [])
    try:
        return Coder(**json.loads(known.read_text()))
    except (OSError, ValueError, TypeError):
        say(f"learning symbols: {config.tokenise} ...")
    coder = _learn(config, files)
    known.parent.mkdir(parents=True, exist_ok=True)
    temporary = known.with_name(f".{known.name}-{os.getpid()}")
    temporary.write_text(json.dumps({"codec": coder.codec, "vocab": coder.vocab, "special": coder.special}))
    os.replace(temporary, known)
    return coder


def _make(config: Config, files: list[Path], coder: Coder, home: Path, say: Say) -> None:
    """Written beside its place, and moved there whole."""
    temporary = home.with_name(f".{home.name}-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        _write(config, files, coder, temporary, say)
        shutil.rmtree(home, ignore_errors=True)
        os.replace(temporary, home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _content(files: list[Path]) -> str:
    """A hash over names and bytes."""
    sha = hashlib.sha256()
    for path in files:
        sha.update(f"{path.name} {path.stat().st_size}\n".encode())
        sha.update(_digest(path).encode())
    return sha.hexdigest()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError:
        raise GenctlError("permission", f"{safe_text(path)} may not be read") from None


def _whole(home: Path) -> bool:
    """Whether every file is what its maker wrote."""
    try:
        facts = json.loads((home / "facts.json").read_text())
        return all(_digest(home / name) == sha for name, sha in facts["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write(config: Config, files: list[Path], coder: Coder, home: Path, say: Say) -> None:
    dtype = small(coder.vocab)
    count, double, seen = 0, 0, set()
    out = {f"{name}.{what}": (home / f"{name}.{what}").open("wb") for name in SPLITS for what in ("symbols", "starts")}
    ends = dict.fromkeys(SPLITS, 0)
    wait: list[tuple[str, str]] = []

    def flush() -> None:
        for (split, _), row in zip(wait, coder.encode([text for _, text in wait]), strict=True):
            out[f"{split}.starts"].write(torch.tensor([ends[split]]).numpy().tobytes())
            out[f"{split}.symbols"].write(torch.tensor([*row, coder.end], dtype=dtype).numpy().tobytes())
            ends[split] += len(row) + 1
        wait.clear()
        say(f"{count:,} documents, {sum(ends.values()):,} symbols")

    try:
        for key, text in _documents(config, files):
            if key in seen:
                double += 1
                continue
            seen.add(key)
            count += 1
            wait.append((_split(key, config), text))
            if len(wait) == BATCH:
                flush()
        flush()
    finally:
        for file in out.values():
            file.close()
    if not count:
        raise GenctlError("data-empty", "the files hold no document that is not empty")
    facts = {
        "documents": count,
        "notes": [f"warning[data-double]: {double:,} of {count + double:,} documents stand there twice: left out"] if double else [],
        "sha256": {name: _digest(home / name) for name in out},
    }
    (home / "facts.json").write_text(json.dumps(facts))


def _learn(config: Config, files: list[Path]) -> Coder:
    """The symbols, learned from the first training documents; characters are those of all."""
    if config.tokenise == "chars" and not config.tokenizer:
        return fit(config, ["".join(sorted(set().union(*(text for _, text in _documents(config, files)))))])
    return fit(config, [], learn=_some(text for key, text in _documents(config, files) if _split(key, config) == "train"))


def _some(texts: Iterator[str]) -> list[str]:
    found, room = [], LEARN
    for text in texts:
        found.append(text)
        room -= len(text)
        if room < 0:
            break
    return found


def _split(key: bytes, config: Config) -> str:
    place = int.from_bytes(key[:8], "little") / 2**64
    return "test" if place < config.test else "valid" if place < config.test + config.valid else "train"


def _mapped(path: Path, dtype: torch.dtype) -> Tensor:
    size = path.stat().st_size // dtype.itemsize
    return torch.from_file(str(path), shared=False, size=size, dtype=dtype) if size else torch.empty(0, dtype=dtype)


# --- documents ---------------------------------------------------------------------------------------------------------------


def _documents(config: Config, files: list[Path]) -> Iterator[tuple[bytes, str]]:
    """(a hash of its words, text) of every document that is not empty."""
    for path in files:
        with path.open("rb") as file:
            for text in _parts(path.name, file, "jsonl" if path.suffix == ".jsonl" else config.documents):
                if words := text.split():
                    yield hashlib.blake2b(" ".join(words).encode(), digest_size=16).digest(), text[:LONGEST]


def _parts(name: str, file: IO[bytes], how: str) -> Iterator[str]:
    if how == "files":
        yield _decoded(name, file.read(4 * LONGEST))
        return
    wait: list[str] = []
    for k, line in enumerate(_lines(name, file)):
        if how == "jsonl":
            yield _field(name, k, line)
        elif how == "lines":
            yield line
        elif line.strip():
            wait.append(line)
        elif wait:
            yield "\n".join(wait)
            wait = []
    if wait:
        yield "\n".join(wait)


def _lines(name: str, file: IO[bytes]) -> Iterator[str]:
    """A line is never longer in memory than a document may be."""
    while line := file.readline(4 * LONGEST):
        yield _decoded(name, line).rstrip("\n")


def _decoded(name: str, data: bytes) -> str:
    return checked(name, data).decode().replace("\r\n", "\n").replace("\r", "\n")


def _field(name: str, k: int, line: str) -> str:
    if not line.strip():
        return ""
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise GenctlError(
            "data-format", f"{safe_text(name)}: line {k + 1} is not a JSON object with a 'text'", 'lines such as {"text": "..."}'
        )
    return text
