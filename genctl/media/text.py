"""Text: symbols to characters, one sample a paragraph in a txt.

`spec.codec["symbols"]` lists the text of each symbol; with `spec.codec["bytes"]` symbols are the bytes of UTF-8.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text
from genctl.media import Note

SHOWN = 20
RULE = "\n" + "-" * 40 + "\n"


def symbols(spec: Spec) -> list[str]:
    known = spec.codec.get("symbols")
    return list(known) if known else [f"{i} " for i in range(spec.vocab)]


def decode(x: Tensor, spec: Spec) -> str:
    """One row of symbols as text, up to `spec.end`."""
    row: list[int] = x.flatten().tolist()
    if spec.end is not None and spec.end in row:
        row = row[: row.index(spec.end)]
    if spec.codec.get("bytes"):
        return bytes(row).decode("utf-8", errors="replace")
    table = symbols(spec)
    return "".join(table[symbol] for symbol in row)


def encode(text: str, spec: Spec) -> Tensor:
    """Text as symbols (T,), each the longest that fits. Raises GenctlError (prompt-token) for what the vocabulary lacks."""
    if spec.codec.get("bytes"):
        return torch.tensor(list(text.encode("utf-8", errors="replace")), dtype=torch.long)
    table = {s: i for i, s in enumerate(symbols(spec)) if s}
    longest = max(map(len, table), default=1)
    out, at = [], 0
    while at < len(text):
        piece = next((text[at : at + k] for k in range(min(longest, len(text) - at), 0, -1) if text[at : at + k] in table), None)
        if piece is None:
            raise GenctlError("prompt-token", f"'{safe_text(text[at])}' is not in this model's vocabulary ({spec.vocab} symbols)")
        out.append(table[piece])
        at += len(piece)
    return torch.tensor(out, dtype=torch.long)


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
            self.file.write((RULE if self.count else "") + decode(row, self.spec))
            self.count += 1

    def close(self) -> list[Path]:
        self.file.write("\n")
        self.file.close()
        return [self.path]


def open_writer(folder: Path, spec: Spec, note: Note) -> _Writer:
    return _Writer(folder, spec)
