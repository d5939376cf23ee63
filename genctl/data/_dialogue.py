"""What every set of dialogues has in common: a row holds the turns of one, each behind the symbol of its role, and `learn` stands beside it.

    <|user|>Can I get a mocha?<|agent|>Is the order correct?<|user|>Yes.<|agent|>Two minutes.<|end|>

`learn` is 1 for what an agent says and for the symbol behind it, which ends the turn: a model with `learn: learn` learns to answer, and only
reads the rest. The symbols of roles are special ones, which no text contains.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from genctl.contract import Spec
from genctl.data import Dataset, Split
from genctl.data._labelled import MAX_CELLS, together
from genctl.data._tokenise import END, Coder, TokeniseConfig, Way, fit, padded, small
from genctl.errors import GenctlError

Dialogue = list[tuple[str, str]]  # roles and what they say
Turns = list[tuple[str, list[int]]]  # the same in symbols
MARKS = {role: f"<|{role}|>" for role in ("user", "agent", "system")}
NAMES = {**{role: role for role in MARKS}, "assistant": "agent"}  # as they are written
PARTS = ("training", "validation", "test")


class DialogueConfig(TokeniseConfig):
    """The keys that they take."""

    tokenise: Way = "bpe"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(4096, ge=0, le=1_000_000)
    """How many symbols to learn, of words the most frequent ones; 0: 4096, and every word."""
    length: int = Field(0, ge=0, le=100_000)
    """Symbols in a row, the end counted; of longer dialogues the last turns are taken. 0: as many as the longest needs."""


# --- what is said ------------------------------------------------------------------------------------------------------------


def heard(turns: Any) -> Dialogue:
    """Turns {"role": ..., "text" or "content": ...}. Raises ValueError for what is none."""
    if not isinstance(turns, list):
        raise ValueError("the turns are no list")
    found = []
    for i, turn in enumerate(turns, 1):
        told = turn if isinstance(turn, dict) else {}
        role, text = told.get("role"), told.get("text", told.get("content"))
        if not isinstance(role, str) or role not in NAMES:
            raise ValueError(f"the role of turn {i} is none of {', '.join(NAMES)}")
        if not isinstance(text, str):
            raise ValueError(f"turn {i} has no text")
        found.append((NAMES[role], text))
    return found


def tidy(turns: Dialogue) -> Dialogue:
    """Up to an agent's last word; silence is no turn, and one who speaks twice in a row has one turn of two lines."""
    out: Dialogue = []
    for role, said in turns:
        text = said.strip().encode("utf-8", errors="replace").decode()
        if text and out and out[-1][0] == role:
            out[-1] = (role, f"{out[-1][1]}\n{text}")
        elif text:
            out.append((role, text))
    while out and out[-1][0] != "agent":
        out.pop()
    return out


# --- to symbols --------------------------------------------------------------------------------------------------------------


def marks(coder: Coder) -> dict[str, int]:
    """The symbols of the roles that a model knows."""
    return {role: coder.special[mark] for role, mark in MARKS.items() if mark in coder.special}


def recent(turns: Turns, room: int) -> Turns:
    """The last turns that take at most `room` symbols, behind what the system said first; a cut is in front of a user's turn. May be none."""
    head = [turn for turn in turns[:1] if turn[0] == "system"]
    left, at = room - sum(len(row) + 1 for _, row in head), len(turns)
    for i in range(len(turns) - 1, len(head) - 1, -1):
        left -= len(turns[i][1]) + 1
        if left < 0:
            break
        if i == len(head) or turns[i][0] == "user":
            at = i
    return [*head, *turns[at:]] if at < len(turns) else []


def row(turns: Turns, number: dict[str, int]) -> list[int]:
    """Turns one after another, each behind the symbol of its role."""
    return [symbol for role, said in turns for symbol in (number[role], *said)]


def learned(turns: Turns) -> list[bool]:
    """What of such a row, and of the end behind it, an agent says or ends with."""
    out, spoke = [], False
    for role, said in turns:
        out += [spoke, *([role == "agent"] * len(said))]
        spoke = role == "agent"
    return [*out, spoke]


def dataset(config: DialogueConfig, parts: Sequence[Sequence[Dialogue]]) -> Dataset:
    """parts: to train on, to validate and to test with. Raises GenctlError (data-empty, data-format, limit, and what fit raises)."""
    spoken = [[d for one in part if (d := tidy(one))] for part in parts]
    for name, part in zip(PARTS, spoken, strict=True):
        if not part:
            raise GenctlError("data-empty", f"no {name} dialogue in which an agent says something")
    roles = ["user", "agent", *(["system"] if any(role == "system" for part in spoken for d in part for role, _ in d) else [])]
    texts = [[text for d in part for _, text in d] for part in spoken]
    coder = fit(config, [t for part in texts for t in part], [END, *(MARKS[r] for r in roles)], learn=texts[0])
    number = marks(coder)
    if missing := [MARKS[r] for r in roles if r not in number]:
        raise GenctlError("data-format", f"the tokeniser has no symbol {missing[0]}", "leave data.tokenizer out, or add it to its file")
    turns = [_encoded(coder, part) for part in spoken]
    longest = max(len(row(t, number)) + 1 for part in turns for t in part)
    length, n = config.length or longest, sum(map(len, parts))
    if n * length > MAX_CELLS:
        raise GenctlError("limit", f"{n:,} dialogues of {length:,} symbols: at most {MAX_CELLS:,} symbols", "a smaller data.length")
    kept = [[k for t in part if (k := recent(t, length - 1))] for part in turns]
    if not all(kept):
        raise GenctlError("data-empty", f"not even the last turns of a dialogue fit in data.length {length}", "data.length=0 takes all")
    train, valid, test = (_split(coder, part, number, length) for part in kept)
    beside = {"learn": Spec(shape=(length,), vocab=2)}
    return Dataset(coder.spec(length, given=beside), train.first(config.limit), valid, test, notes=_notes(parts, turns, kept, length))


def _encoded(coder: Coder, dialogues: Sequence[Dialogue]) -> list[Turns]:
    rows = iter(coder.encode([text for d in dialogues for _, text in d]))
    return [[(role, next(rows)) for role, _ in d] for d in dialogues]


def _split(coder: Coder, dialogues: Sequence[Turns], number: dict[str, int], length: int) -> Split:
    x = padded([row(t, number) for t in dialogues], length, coder.end, small(coder.vocab))
    return together(x, learn=padded([learned(t) for t in dialogues], length + 1, 0, torch.uint8)[:, :length])


def _notes(
    parts: Sequence[Sequence[Any]], turns: Sequence[Sequence[Turns]], kept: Sequence[Sequence[Turns]], length: int
) -> tuple[str, ...]:
    """What is said of dialogues that were left out or cut."""
    given, spoken, left = (sum(map(len, some)) for some in (parts, turns, kept))
    cut = sum(map(len, (t for part in turns for t in part))) - sum(map(len, (t for part in kept for t in part)))
    said = (
        (given - spoken, f"of {given:,} dialogues have no word of an agent: left out"),
        (spoken - left, f"of {given:,} dialogues end with turns that are longer than data.length {length}: left out"),
        (cut, f"turns do not fit in data.length {length}: the first of their dialogues are left out"),
    )
    return tuple(f"warning[data-short]: {count:,} {what}" for count, what in said if count)
