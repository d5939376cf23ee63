"""What every set of tagged words has in common: a word's first symbol carries its tag, and its other symbols one that says nothing.

Files are in the manner of CoNLL: a word and its tag a line, first and last of its cells, and an empty line behind each sentence.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from genctl.contract import Spec
from genctl.data import Dataset
from genctl.data._cells import lines
from genctl.data._labelled import MAX_CELLS, ReadConfig, classes, shortened, together
from genctl.data._tokenise import Coder, fit, padded, small
from genctl.errors import GenctlError, safe_text

Sentence = tuple[list[str], list[str]]  # words and their tags


def sentences(path: Path) -> list[Sentence]:
    """Raises GenctlError (data-format, data-empty, and what reading raises)."""
    found: list[Sentence] = [([], [])]
    for number, line in enumerate(lines(path), 1):
        row = line.split("\t") if "\t" in line.strip() else line.split()
        if not line.strip():
            found.append(([], []))
        elif len(row) < 2 or not row[0].strip():
            raise GenctlError(
                "data-format", f"{safe_text(path)}: line {number} is not a word and its tag", "two columns, a tab between them"
            )
        elif not line.startswith("-DOCSTART-"):
            found[-1][0].append(row[0])
            found[-1][1].append(row[-1].strip())
    found = [s for s in found if s[0]]
    if not found:
        raise GenctlError("data-empty", f"{safe_text(path)}: no tagged words")
    return found


def aligned(coder: Coder, words: Sequence[str]) -> tuple[list[int], list[int]]:
    """(symbols of all words, the place of each word's first)."""
    row: list[int] = []
    first = []
    for pieces, other in zip(coder.encode([" " + w for w in words]), coder.encode([" ?"] * len(words)), strict=True):
        first.append(len(row))
        row += pieces or other  # a word of nothing that the symbols know
    return row, first


def dataset(config: ReadConfig, split: Sequence[Sequence[Sentence]]) -> Dataset:
    """`tag` beside rows of symbols; split: training, validation, test. Raises GenctlError (data-..., limit)."""
    texts = [[" ".join(words) for words, _ in part] for part in split]
    if not all(texts):
        raise GenctlError("data-empty", "a part of the data has no sentences")
    tags = classes([[t for _, said in part for t in said] for part in split], _names(split))
    coder = fit(config, [t for part in texts for t in part], learn=texts[0])
    rows = [[aligned(coder, words) for words, _ in part] for part in split]
    sizes = [len(row) + 1 for part in rows for row, _ in part]
    length, none = config.length or max(sizes), len(tags)
    if len(sizes) * length > MAX_CELLS:
        raise GenctlError(
            "limit", f"{len(sizes):,} sentences of {length:,} symbols: at most {MAX_CELLS:,} symbols", "a smaller data.length"
        )
    number = {tag: i for i, tag in enumerate(tags)}
    splits = []
    for part, made in zip(split, rows, strict=True):
        x = padded([row for row, _ in made], length, coder.end, small(coder.vocab))
        y = torch.full((len(made), length), none, dtype=small(none + 1))
        for i, ((_, first), (_, said)) in enumerate(zip(made, part, strict=True)):
            for at, tag in zip(first, said, strict=True):
                if at < length - 1:
                    y[i, at] = number[tag]
        splits.append(together(x, tag=y))
    names = [safe_text(t, 60) for t in tags]
    beside = {"tag": Spec(shape=(length,), vocab=none + 1, codec={"names": [*names, ""], "none": none})}
    notes = shortened(sum(n > length for n in sizes), len(sizes), length)
    return Dataset(coder.spec(length, given=beside), splits[0].first(config.limit), splits[1], splits[2], notes=notes)


def _names(split: Sequence[Sequence[Sentence]]) -> list[str]:
    """The tags of the training part; O in front."""
    known = {t for _, said in split[0] for t in said}
    return sorted(known, key=lambda t: (t != "O", t))
