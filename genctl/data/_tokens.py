"""What every set of text has in common: hostile bytes to symbols, and a long row of symbols to windows."""

import gzip
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import Dataset, Split, fingerprint
from genctl.data._tokenise import MAX_SYMBOLS, Coder, TokeniseConfig, fit, small
from genctl.errors import GenctlError, safe_text

MAX_BYTES = 200 * 2**20  # of text in all: it lives in memory, and no process should pass a gigabyte for it
MAX_FILES = 100_000
BLOCK = 4 * 2**20  # characters that are numbered at once


class TextConfig(TokeniseConfig):
    """The keys that every set of running text takes."""

    length: int = Field(65, ge=2, le=1_000_000)
    """Symbols in a window. Training takes a window at every offset; held-out windows share one symbol, the last of one and the first
    of the next, so that every symbol but the split's first is scored once, after 1 to length - 1 others (nanoGPT's protocol)."""


# --- bytes to text -----------------------------------------------------------------------------------------------------------


def read(path: Path) -> bytes:
    """The text at `path` as checked UTF-8: a file, or every .txt of a folder or zip in the order of their names, joined. A .gz is unpacked.

    Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit.
    """
    shown = safe_text(path)
    try:
        if path.is_dir():
            pieces = _folder(path)
        elif not stat.S_ISREG(path.stat().st_mode):
            raise GenctlError("data-format", f"{shown}: not a regular file", "give a text file, or a folder or zip of .txt files")
        elif zipfile.is_zipfile(path):
            pieces = _zip(path)
        else:
            pieces = [(path.name, _whole(path))]
    except FileNotFoundError:
        raise GenctlError("no-input", f"{shown} is missing") from None
    except PermissionError as e:
        raise GenctlError("permission", f"{safe_text(e.filename or path)} may not be read") from None
    out = b"".join(checked(name, data) for name, data in pieces)
    if not out:
        raise GenctlError("data-empty", f"{shown}: holds no text", "a text file, or a folder or zip of .txt files")
    return out


def _whole(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is a .gz."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as e:
            raise GenctlError("data-format", f"{safe_text(path)}: {safe_text(e)}") from None
    if len(data) > MAX_BYTES:
        raise _large(path.name)
    return data


def _folder(path: Path) -> list[tuple[str, bytes]]:
    files = sorted(p for p in path.rglob("*.txt") if p.is_file() and not p.name.startswith("."))
    if len(files) > MAX_FILES or sum(p.stat().st_size for p in files) > MAX_BYTES:
        raise _large(path.name)
    return [(str(p.relative_to(path)), _line(p.read_bytes())) for p in files]


def _zip(path: Path) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((m for m in archive.infolist() if m.filename.endswith(".txt") and not m.is_dir()), key=lambda m: m.filename)
            if len(members) > MAX_FILES or sum(m.file_size for m in members) > MAX_BYTES:
                raise _large(path.name)
            return [(f"{path.name}:{m.filename}", _line(archive.read(m))) for m in members]  # read() checks size and CRC
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as e:
        raise GenctlError("data-format", f"{safe_text(path)}: damaged or protected zip: {safe_text(e)}") from None


def _large(name: str) -> GenctlError:
    return GenctlError(
        "limit", f"{safe_text(name)}: more than {MAX_BYTES // 2**20} MB of text or {MAX_FILES:,} files", "train on a part of it"
    )


def _line(data: bytes) -> bytes:
    """Joined texts begin on a line of their own."""
    return data if not data or data.endswith(b"\n") else data + b"\n"


def checked(name: str, data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as e:
        what = f"{safe_text(name)}: byte 0x{data[e.start]:02x} at offset {e.start} is not UTF-8"
        raise GenctlError("data-encoding", what, "save the file as UTF-8") from None
    return data.removeprefix(b"\xef\xbb\xbf")


# --- text to symbols ---------------------------------------------------------------------------------------------------------


def shares(config: TextConfig, data: bytes, valid: float, test: float) -> list[str]:
    """UTF-8 cut by position: the training text, then the validation text, then the test text; test=0: the validation text again.

    Line ends become one newline, but where symbols are bytes.
    """
    text = data.decode("utf-8")
    if config.tokenise != "bytes":
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    a, b = int(len(text) * (1 - valid - test)), int(len(text) * (1 - test))
    return [text[:a], text[a:b], text[b:] if test else text[a:b]]


def symbols(config: TextConfig, parts: list[str]) -> tuple[list[Tensor], dict[str, Any], int]:
    """(a row of symbols for each text, codec, vocabulary). Characters are numbered in their own order; pieces and words are learned from the first text."""
    if config.tokenizer or config.tokenise not in ("chars", "bytes"):
        coder = fit(config, parts, learn=parts[:1])
        return [_encoded(coder, part) for part in parts], coder.codec, coder.vocab
    if config.tokenise == "bytes":
        return [torch.frombuffer(bytearray(part.encode()), dtype=torch.uint8) for part in parts], {"bytes": True}, 256
    known = torch.tensor(sorted(map(ord, set().union(*parts))), dtype=torch.int32)
    if len(known) > MAX_SYMBOLS:
        raise GenctlError("limit", f"the text has {len(known):,} distinct characters, limit {MAX_SYMBOLS:,}", "data.tokenise=bytes or bpe")
    return [_numbered(part, known) for part in parts], {"symbols": [chr(c) for c in known.tolist()]}, len(known)


def _encoded(coder: Coder, text: str) -> Tensor:
    """A row of symbols; many lines at a time, so that the library's own memory stays small."""
    lines, dtype = text.splitlines(keepends=True), small(coder.vocab)
    rows = [
        torch.tensor([i for row in coder.encode(lines[k : k + 10_000]) for i in row], dtype=dtype) for k in range(0, len(lines), 10_000)
    ]
    return torch.cat([torch.empty(0, dtype=dtype), *rows])


def _numbered(text: str, known: Tensor) -> Tensor:
    """The place of each character among the code points `known`."""
    dtype = small(len(known))
    number = torch.zeros(int(known[-1]) + 1 if len(known) else 0, dtype=dtype)
    number[known.long()] = torch.arange(len(known)).to(dtype)
    row = torch.empty(len(text), dtype=dtype)
    for start in range(0, len(text), BLOCK):  # code points take four bytes each
        points = torch.frombuffer(bytearray(text[start : start + BLOCK].encode("utf-32-le")), dtype=torch.int32)
        row[start : start + BLOCK] = number[points]
    return row


# --- symbols to windows ------------------------------------------------------------------------------------------------------


def windows(row: Tensor, length: int, stride: int, known: str = "") -> Split:
    """Every window of `length` symbols at offsets 0, stride, 2 stride, ...; a batch is one gather. known: the row's fingerprint."""
    views = row.unfold(0, length, stride)
    return Split(len(views), lambda index: Batch(x=views[index].long()), lambda: f"{known or fingerprint(row)}-{length}-{stride}")


def dataset(config: TextConfig, parts: list[str]) -> Dataset:
    """Windows of three texts: for training, validation and testing.

    Texts shorter than a window are one window, and a held-out part shorter than a window is the last window of all; a note says so.
    """
    rows, codec, vocab = symbols(config, parts)
    row = torch.cat(rows)
    if len(row) < 2:
        raise GenctlError("data-empty", "the text has a single symbol: there is nothing to predict", "a longer text")
    length, notes = min(config.length, len(row)), []
    if length < config.length:
        notes.append(
            f"warning[data-short]: the text has {len(row)} symbols, fewer than data.length {config.length}: it is one window of {length}"
        )
    if min(map(len, rows)) < length:
        rows = [p if len(p) >= length else row[-length:] for p in rows]
        notes.append(
            f"warning[data-short]: a split is shorter than a window of {length}: it is the last window of the text, which others hold too"
        )
    spec = Spec(shape=(length,), vocab=vocab, media="text", codec=codec)
    train = windows(rows[0], length, 1).first(config.limit)
    held, last = (windows(p, length, length - 1) for p in rows[1:])
    return Dataset(spec, train, held, last, notes=tuple(notes))
