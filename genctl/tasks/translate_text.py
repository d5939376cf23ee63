"""translate, of texts: each line of a file to its counterpart, in the same order; or one sentence."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from genctl.contract import Draw
from genctl.data._cells import lines
from genctl.data._tokenise import padded
from genctl.errors import GenctlError, safe_text
from genctl.maths import sampling
from genctl.media import text as letters
from genctl.tasks.sample import Sampler, fill

SAID_EVERY = 10.0  # seconds
Say = Callable[[str], None]


def source(sampler: Sampler) -> str | None:
    """The name of the text that the model's text is written from; None for any other model."""
    beside = list(sampler.model.conditions)
    texts = sampler.spec.media == "text" and len(beside) == 1 and sampler.spec.given[beside[0]].media == "text"
    return beside[0] if texts else None


def translated(sampler: Sampler, texts: Sequence[str], draw: Draw, seed: int, say: Say, to: str = "") -> tuple[list[str], dict[str, int]]:
    """The counterpart of each text, in one line and in their order, and how many were cut and had unknown parts. Nothing has nothing for one.

    Raises GenctlError (power, usage).
    """
    name = source(sampler)
    if name is None:
        raise GenctlError("power", f"family '{sampler.recipe.family}' does not translate texts", "genctl list powers")
    if to:
        raise GenctlError("usage", f"--to {safe_text(to)}: this model knows one way only", "leave out --to")
    spec = sampler.spec.given[name]
    read = [letters.read(" ".join(t.split()), spec) for t in texts]
    rows, unknown, size = [row for row, _ in read], sum(len(lacking) for _, lacking in read), spec.size
    todo = sorted((i for i, row in enumerate(rows) if row), key=lambda i: len(rows[i]))  # lines of one length share their work
    cut = sum(len(row) >= size for row in rows)
    if cut:
        say(f"warning[prompt-length]: {cut:,} of {len(rows):,} lines are longer than this model reads, {size - 1} symbols: they are cut")
    if unknown:
        say(f"warning[prompt-token]: {unknown:,} characters or words are not in this model's vocabulary")
    out, done = [""] * len(rows), 0
    if todo:
        given = padded([rows[i] for i in todo], size, spec.end or 0, torch.long).view(-1, *spec.shape)
        how, said = draw.model_copy(update={"chunk": min(draw.chunk, len(todo))}), time.monotonic()
        for piece in sampling.chunks(sampler.family, len(todo), how, seed, {name: given}):
            for i, row in zip(todo[done : done + len(piece)], piece, strict=True):
                out[i] = " ".join(sampler.text(row, how).split())
            done += len(piece)
            if time.monotonic() - said > SAID_EVERY:
                said = time.monotonic()
                say(f"{done:,} of {len(todo):,} lines")
    return out, {"n": len(texts), "cut": cut, "unknown": unknown}


def translate(sampler: Sampler, path: Path, draw: Draw, seed: int, out: Path, say: Say, to: str = "") -> dict[str, Any]:
    """OUT/NAME.txt, a line for each line of a UTF-8 file. Raises GenctlError (power, no-input, data-..., out-...)."""
    if path.is_dir():
        raise GenctlError("no-input", f"{safe_text(path)} is a folder", "a text file")
    texts = lines(path)
    found, counts = translated(sampler, texts, draw, seed, say, to)

    def files(folder: Path) -> list[Path]:
        made = folder / (path.name.removesuffix(".gz").removesuffix(".txt") + ".txt")
        made.write_text("\n".join(found) + "\n", encoding="utf-8")
        return [made]

    written = fill(out, {**sampler.note(seed), "n": len(texts), "from": path.name}, files)
    return {**counts, "out": str(out), "files": [str(p) for p in written]}
