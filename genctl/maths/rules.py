"""What may stand in a row of symbols, and what ends it: an automaton over the texts of symbols, carried over to the symbols.

So a pattern or a stop string may begin and end in the middle of a symbol, and a step of drawing costs two look-ups (Willard and Louf 2023,
https://arxiv.org/abs/2307.09702). Beyond that paper, a row is led to an end while it still has room for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genctl.errors import GenctlError
from genctl.maths import patterns

HALT, DEAD, START = 0, 1, 2
NEVER = 2**62
MAX_CELLS = 2**25  # states times symbols
SLICE = 2**22


@dataclass(frozen=True)
class Rule:
    """An automaton over symbols, in HALT behind the last symbol of a row.

    go     (S, V): the state behind each symbol
    left   (S,): the fewest symbols to come before a row may end; NEVER where it cannot. None: everything may be drawn
    fill   what is written behind the last symbol of a row where nothing ends it
    first  the state before the first symbol
    """

    go: Tensor
    left: Tensor | None
    fill: int
    first: int = START

    def to(self, device: torch.device) -> "Rule":
        return replace(self, go=self.go.to(device), left=None if self.left is None else self.left.to(device))

    def begin(self, n: int) -> Tensor:
        """(n,) states."""
        return torch.full((n,), self.first, device=self.go.device)

    def narrow(self, logits: Tensor, state: Tensor, room: int) -> Tensor:
        """(B, V) logits, -inf for the symbols behind which a row in state (B,) could not end within `room` symbols, themselves counted."""
        return logits if self.left is None else logits.masked_fill(self.left[self.go[state]] >= room, -torch.inf)

    def count(self, x: Tensor) -> int:
        """How many symbols of a row (T,) there are up to its end."""
        state = self.first
        for t, symbol in enumerate(x.tolist()):
            if state == HALT:
                return t
            state = int(self.go[state, symbol])
        return len(x)

    def check(self, room: int) -> None:
        """Raises GenctlError (usage) where a row of `room` symbols cannot hold what is asked for."""
        need = 0 if self.left is None else int(self.left[self.first])
        if need > room:
            what = "no text of this model's symbols" if need >= NEVER else f"no text of {room} symbols, but of {need},"
            raise GenctlError("usage", f"sample.pattern: {what} matches", "sample.length, a shorter prompt, or another pattern")


def stops(texts: Sequence[str], pieces: Sequence[bytes]) -> Rule:
    """Rows end with the symbol that completes one of the texts. pieces: what each symbol adds to a text."""
    machine = patterns.finder(texts)
    go, accept = _carried(machine, pieces)
    silent = torch.tensor([not p for p in pieces])
    go = torch.where(silent, torch.arange(len(go))[:, None], go)
    return Rule(torch.where(accept[go], HALT, go), None, _filler(pieces))


def pattern(regex: str, pieces: Sequence[bytes], end: int | None) -> Rule:
    """Rows are texts that the pattern matches as a whole; symbols without a text are never drawn, but for `end`.

    Where no symbol ends a row it ends as soon as the pattern can go no further, or with its room. Raises GenctlError (usage, limit).
    """
    go, accept = _carried(patterns.machine(regex, _alphabet(pieces)), pieces)
    go[START:, torch.tensor([not p for p in pieces])] = DEAD
    left = _distance(go, accept)
    if end is not None:
        go[accept, end] = HALT
        return Rule(go, left, _filler(pieces))
    over = accept & (left[go] == NEVER).all(1)
    return Rule(torch.where(over[go], HALT, go), left, _filler(pieces), HALT if over[START] else START)


def _alphabet(pieces: Sequence[bytes]) -> str | None:
    """All characters that can be written; None where symbols are parts of characters."""
    try:
        return "".join(sorted(set("".join(p.decode() for p in pieces))))
    except UnicodeDecodeError:
        return None


def _filler(pieces: Sequence[bytes]) -> int:
    return next((i for blank in (b"\n", b" ") for i, p in enumerate(pieces) if p == blank), 0)


def _carried(machine: patterns.Machine, pieces: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    """The table (S, V) of those states that symbols lead to, and which of them accept (S,); HALT and DEAD lead to themselves."""
    vocab, longest, stay = len(pieces), max(1, *map(len, pieces)), 256
    padded = bytearray(b"".join(p.ljust(longest) for p in pieces))
    beyond = torch.arange(longest) >= torch.tensor([len(p) for p in pieces])[:, None]
    codes = torch.frombuffer(padded, dtype=torch.uint8).view(vocab, longest).long().masked_fill(beyond, stay)
    table = torch.cat([machine.table, torch.arange(len(machine.table))[:, None]], 1)
    number = torch.full((len(table),), -1)
    number[patterns.DEAD], number[patterns.START] = DEAD, START
    known, rows, done = [patterns.DEAD, patterns.START], [], 1
    while done < len(known):
        here = torch.tensor(known[done : done + max(1, SLICE // vocab)])
        done += len(here)
        at = here[:, None].expand(-1, vocab)
        for column in codes.unbind(1):
            at = table[at, column]
        rows.append(at)
        fresh = at[number[at] < 0].unique()  # type: ignore[no-untyped-call]
        number[fresh] = torch.arange(len(known), len(known) + len(fresh)) + 1
        known += fresh.tolist()
        if len(known) * vocab > MAX_CELLS:
            raise GenctlError("limit", "sample.pattern: too many states for so many symbols", "a simpler pattern, or smaller counts")
    go = torch.cat([torch.tensor([HALT, DEAD])[:, None].expand(-1, vocab), number[torch.cat(rows)]])
    return go, torch.cat([torch.tensor([True]), machine.accept[torch.tensor(known)]])


def _distance(go: Tensor, accept: Tensor) -> Tensor:
    """(S,) the fewest symbols from each state to one that accepts."""
    size = len(go)
    arrows = (torch.arange(size)[:, None] * size + go).unique()  # type: ignore[no-untyped-call]
    source, target = arrows // size, arrows % size
    left = torch.where(accept, 0, NEVER)
    fresh, steps = accept, 0
    while bool(fresh.any()):
        steps += 1
        before = source[fresh[target]]
        fresh = torch.zeros_like(accept).index_fill(0, before[left[before] == NEVER], True)
        left[fresh] = steps
    return left
