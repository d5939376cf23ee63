"""Text: symbols to characters, one sample a paragraph in a txt.

The codec of a Spec says how: `symbols` lists the text of each symbol; with `bytes` symbols are the bytes of UTF-8, and behind them those that
`specials` names; `tokenizer` is a trained tokeniser (genctl/media/_tokenizer.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text
from genctl.media import Note, _tokenizer

SHOWN = 20
RULE = "\n" + "-" * 40 + "\n"


def symbols(spec: Spec) -> list[str]:
    """What is shown for each symbol on its own; a part of a character is shown as such."""
    return [piece.decode("utf-8", errors="replace") for piece in pieces(spec)]


def pieces(spec: Spec) -> list[bytes]:
    """The UTF-8 bytes that each symbol adds to a text that has begun; the end and other marks add none."""
    codec = spec.codec
    if codec.get("bytes"):
        found = [bytes([i]) for i in range(256)]
    elif "tokenizer" in codec:
        found = list(_tokenizer.pieces(codec["tokenizer"]))
    else:
        found = [s.encode() for s in codec.get("symbols") or (f"{i} " for i in range(spec.vocab))]
    found = (found + [b""] * (spec.vocab - len(found)))[: spec.vocab]
    if spec.end is not None:
        found[spec.end] = b""
    return found


def shown(x: Tensor, spec: Spec, behind: int = 0, stop: Sequence[str] = ()) -> str:
    """One row of symbols as text, up to the first stop string in what stands behind the first `behind` symbols."""
    text, start = decode(x, spec), len(decode(x.flatten()[:behind], spec))
    return text[: min((at for s in stop if (at := text.find(s, start)) >= 0), default=len(text))]


def certain(text: str, stop: Sequence[str] = ()) -> str:
    """The part of a text in the making that stays whatever comes: no character in parts, no beginning of a stop string."""
    text = text.rstrip("\ufffd")
    open_ = (k for s in stop for k in range(min(len(s) - 1, len(text)), 0, -1) if text.endswith(s[:k]))
    return text[: len(text) - max(open_, default=0)]


def decode(x: Tensor, spec: Spec) -> str:
    """One row of symbols as text, up to `spec.end`."""
    row: list[int] = x.flatten().tolist()
    if spec.end is not None and spec.end in row:
        row = row[: row.index(spec.end)]
    if "tokenizer" in spec.codec:
        return _tokenizer.decode(spec.codec["tokenizer"], row)
    if table := spec.codec.get("symbols"):
        return "".join(table[symbol] for symbol in row)
    known = pieces(spec)
    for i, name in enumerate(spec.codec.get("specials", [])):
        known[256 + i] = name.encode()
    return b"".join(known[symbol] for symbol in row).decode("utf-8", errors="replace")


def encode(text: str, spec: Spec) -> Tensor:
    """Text as symbols (T,). Raises GenctlError (prompt-token) for what the vocabulary lacks."""
    row, lacking = read(text, spec)
    if lacking:
        raise _lacking(lacking[0], spec)
    return torch.tensor(row, dtype=torch.long)


def row(text: str, spec: Spec) -> Tensor:
    """A text as one row of symbols (L,), filled up with ends. Raises GenctlError (prompt-token, prompt-length)."""
    found, room = encode(text, spec), spec.size - (spec.end is not None)
    if len(found) > room:
        raise GenctlError("prompt-length", f"the prompt has {len(found)} symbols, this model reads {room}", "a shorter prompt")
    out = torch.full((spec.size,), spec.end or 0)
    out[: len(found)] = found
    return out


def read(text: str, spec: Spec) -> tuple[list[int], list[str]]:
    """Text as symbols, and its pieces that the vocabulary lacks: they are left out, or read as the symbol for what is not known."""
    if spec.codec.get("bytes"):
        return list(text.encode("utf-8", errors="replace")), []
    if "tokenizer" in spec.codec:
        return _learned(text, spec.codec["tokenizer"])
    table = {s: i for i, s in enumerate(spec.codec.get("symbols") or symbols(spec)) if s}
    longest = max(map(len, table), default=1)
    row: list[int] = []
    lacking, at = [], 0
    while at < len(text):
        piece = next((text[at : at + k] for k in range(min(longest, len(text) - at), 0, -1) if text[at : at + k] in table), None)
        if piece is None:
            lacking.append(text[at])
        else:
            row.append(table[piece])
        at += len(piece or " ")
    return row, lacking


def _learned(text: str, source: str) -> tuple[list[int], list[str]]:
    """By the trained tokeniser, which may have a symbol for all that it does not know."""
    unknown = _tokenizer.unknown(source)
    found = _tokenizer.load(source).encode(text, add_special_tokens=False)
    pieces = ((symbol, text[a:b]) for symbol, (a, b) in zip(found.ids, found.offsets, strict=True) if symbol == unknown)
    return list(found.ids), [piece for symbol, piece in pieces if piece != _tokenizer.names(source)[symbol]]


def _lacking(piece: str, spec: Spec) -> GenctlError:
    return GenctlError("prompt-token", f"'{safe_text(piece)}' is not in this model's vocabulary ({spec.vocab} symbols)")


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    path = stem.with_suffix(".txt")
    path.write_text(RULE.join(decode(row, spec) for row in x[:SHOWN]) + "\n", encoding="utf-8")
    return path


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """Paragraph by paragraph what belongs together, each under its name."""
    path = stem.with_suffix(".txt")
    together = zip(*([decode(one, spec) for one in x[:SHOWN]] for x in rows.values()), strict=True)
    path.write_text(
        RULE.join("\n".join(f"[{k}] {t}" for k, t in zip(rows, texts, strict=True)) for texts in together) + "\n", encoding="utf-8"
    )
    return path


class _Writer:
    def __init__(self, folder: Path, spec: Spec) -> None:
        self.spec, self.path, self.count = spec, folder / "samples.txt", 0
        self.file = self.path.open("w", encoding="utf-8")

    def add(self, x: Tensor) -> None:
        for row in x:
            self.write(decode(row, self.spec))

    def write(self, text: str) -> None:
        self.file.write((RULE if self.count else "") + text)
        self.count += 1

    def close(self) -> list[Path]:
        self.file.write("\n")
        self.file.close()
        return [self.path]


def open_writer(folder: Path, spec: Spec, note: Note) -> _Writer:
    return _Writer(folder, spec)
