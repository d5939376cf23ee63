"""Regular expressions as automata over the bytes of UTF-8, so that a text can be held to one while it is being written.

Thompson 1968, https://doi.org/10.1145/363347.363387; made deterministic by subsets (Rabin and Scott 1959, https://doi.org/10.1147/rd.32.0114).
The syntax is that of Python's `re` as far as it names a regular language: literals, classes, `.`, escapes, groups, `|`, `*`, `+`, `?` and
counts. What a class holds is asked of `re` itself. A text must match as a whole; `^`, `$`, `\\b`, look-around, references and flags are refused.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from genctl.errors import GenctlError, safe_text

DEAD, START = 0, 1
MAX_DEPTH, MAX_COUNT, MAX_NODES, MAX_STATES = 50, 10_000, 200_000, 20_000
_TOKEN = re.compile(
    r"\[\^?\]?(?:\\.|[^\]\\])*\]"  # a class
    r"|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|.)"
    r"|(?:[*+?]|\{(?:\d+(?:,\d*)?|,\d*)\})[?+]?"  # a count
    r"|\((?:\?(?::|P<\w+>|.))?"
    r"|.",
    re.DOTALL,
)


@dataclass(frozen=True)
class Machine:
    """A deterministic automaton: table (S, 256), the state behind each byte; accept (S,). It begins in START; DEAD leads nowhere."""

    table: Tensor
    accept: Tensor


@dataclass
class _Net:
    """Thompson's: edges (first byte, last byte, node) and free moves of each node. Node 0 is the end."""

    alphabet: str
    edges: list[list[tuple[int, int, int]]] = field(default_factory=lambda: [[]])
    free: list[list[int]] = field(default_factory=lambda: [[]])

    def node(self, *free: int) -> int:
        if len(self.edges) >= MAX_NODES:
            raise _too_large()
        self.edges.append([])
        self.free.append(list(free))
        return len(self.edges) - 1


Part = Callable[[_Net, int], int]  # builds what stands before a node, and answers with its own first node


def check(pattern: str) -> str:
    """The pattern itself. Raises ValueError for what is none, or is none of a regular language."""
    parse(pattern)
    return pattern


def machine(pattern: str, alphabet: str | None = None) -> Machine:
    """Accepts what the whole pattern matches; alphabet: the characters that may come, None for all. Raises GenctlError (usage, limit)."""
    try:
        part = parse(pattern)
    except ValueError as e:
        raise GenctlError("usage", f"sample.pattern: {e}") from None
    return _determined(part, _Net(everything() if alphabet is None else "".join(sorted(set(alphabet)))))


def finder(texts: Sequence[str]) -> Machine:
    """Accepts whatever ends with one of the texts, bytes of any kind before it."""

    def part(net: _Net, after: int) -> int:
        loop = net.node(*(_word(t.encode("utf-8", errors="replace"))(net, after) for t in texts))
        net.edges[loop].append((0, 255, loop))
        return loop

    return _determined(part, _Net(""))


# --- syntax ------------------------------------------------------------------------------------------------------------------


def parse(pattern: str) -> Part:
    """Raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as e:
        raise ValueError(f"'{safe_text(pattern)}' is no regular expression: {safe_text(e)}") from None
    return _Parser(_TOKEN.findall(pattern)).whole()


class _Parser:
    """Descends through tokens that `re` has accepted."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def whole(self) -> Part:
        options = [self.sequence()]
        while self.next() == "|":
            self.take()
            options.append(self.sequence())
        return options[0] if len(options) == 1 else lambda net, after: net.node(*(o(net, after) for o in options))

    def sequence(self) -> Part:
        parts: list[Part] = []
        while self.next() not in ("", "|", ")"):
            parts.append(self.counted(self.atom()))

        def build(net: _Net, after: int) -> int:
            for part in reversed(parts):
                after = part(net, after)
            return after

        return build

    def counted(self, part: Part) -> Part:
        token = self.next()
        if token == "{" or token[:1] not in ("*", "+", "?", "{"):
            return part
        self.take()
        if len(token) > 1 and token[-1] == "+":
            raise ValueError(f"'{token}' gives nothing back: leave the last + out")
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(token[0]) or _bounds(token)
        return _repeated(part, least, most)

    def atom(self) -> Part:
        token = self.take()
        if token[0] != "(":
            return _one(token)
        if token not in ("(", "(?:") and not token.startswith("(?P<"):
            raise ValueError(f"'{token}' is more than a group: (...) and (?:...) are groups")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ValueError(f"groups within groups, more than {MAX_DEPTH} deep")
        inside = self.whole()
        self.take()
        self.depth -= 1
        return inside


def _bounds(token: str) -> tuple[int, int | None]:
    least, comma, most = token.rstrip("?").strip("{}").partition(",")
    found = int(least or 0), (int(most) if most else None) if comma else int(least)
    if max(found[0], found[1] or 0) > MAX_COUNT:
        raise ValueError(f"'{token}' counts beyond {MAX_COUNT:,}")
    return found


def _one(token: str) -> Part:
    """A character or a class."""
    if token in ("^", "$") or (token[0] == "\\" and token[1] in "AZbB123456789"):
        raise ValueError(f"'{token}' is not a character: a text matches as a whole, so leave it out")
    if len(token) == 1 and token != ".":
        return _word(token.encode("utf-8", errors="replace"))

    def build(net: _Net, after: int) -> int:
        entry = net.node()
        for a, b in _ranges(token, net.alphabet):
            for first, *rest in _utf8(a, b):
                target = after
                for low, high in reversed(rest):
                    step = net.node()
                    net.edges[step].append((low, high, target))
                    target = step
                net.edges[entry].append((*first, target))
        return entry

    return build


def _word(data: bytes) -> Part:
    def build(net: _Net, after: int) -> int:
        for byte in reversed(data):
            step = net.node()
            net.edges[step].append((byte, byte, after))
            after = step
        return after

    return build


def _repeated(part: Part, least: int, most: int | None) -> Part:
    def build(net: _Net, after: int) -> int:
        entry = after
        if most is None:
            entry = net.node()
            net.free[entry] = [part(net, entry), after]
        for _ in range((most or least) - least):
            entry = net.node(part(net, entry), after)
        for _ in range(least):
            entry = part(net, entry)
        return entry

    return build


# --- characters --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def everything() -> str:
    """All characters; those that UTF-8 has no bytes for stand for '\\0'."""
    return "".join("\0" if 0xD800 <= c < 0xE000 else chr(c) for c in range(0x110000))


@lru_cache(maxsize=64)
def _ranges(token: str, alphabet: str) -> list[tuple[int, int]]:
    """The code points of an alphabet that a class holds, neighbours together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = list(re.finditer(f"(?:{token})+", alphabet))
    if alphabet is everything():
        return [(m.start(), m.end() - 1) for m in runs]
    return [(ord(c), ord(c)) for m in runs for c in m[0]]


def _utf8(a: int, b: int) -> Iterator[list[tuple[int, int]]]:
    """The code points a to b as rows of ranges of bytes."""
    for low, high in ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)):
        if a <= high and b >= low:
            yield from _rows(chr(max(a, low)).encode(), chr(min(b, high)).encode())


def _rows(a: bytes, b: bytes) -> Iterator[list[tuple[int, int]]]:
    """The same between two characters of as many bytes."""
    least, most = b"\x80" * (len(a) - 1), b"\xbf" * (len(a) - 1)
    if a[0] == b[0] or not least:
        yield from ([(a[0], b[0]), *rest] for rest in (_rows(a[1:], b[1:]) if least else [[]]))
        return
    first, last = a[0], b[0]
    if a[1:] != least:
        yield from ([(first, first), *rest] for rest in _rows(a[1:], most))
        first += 1
    if b[1:] != most:
        last -= 1
    if first <= last:
        yield [(first, last), *([(0x80, 0xBF)] * len(least))]
    if b[1:] != most:
        yield from ([(b[0], b[0]), *rest] for rest in _rows(least, b[1:]))


# --- subsets -----------------------------------------------------------------------------------------------------------------


def _too_large() -> GenctlError:
    return GenctlError("limit", "sample.pattern: its automaton has too many states", "a simpler pattern, or smaller counts")


def _determined(part: Part, net: _Net) -> Machine:
    first = part(net, 0)
    cuts = sorted({0, 256, *(cut for edges in net.edges for a, b, _ in edges for cut in (a, b + 1))})
    kind = {cut: k for k, cut in enumerate(cuts)}  # bytes between two cuts are alike
    reach: dict[int, frozenset[int]] = {}

    def closed(node: int) -> frozenset[int]:
        """What a node reaches for free, as far as something follows there."""
        if node not in reach:
            seen, todo = {node}, [node]
            while todo:
                fresh = [n for n in net.free[todo.pop()] if n not in seen]
                seen.update(fresh)
                todo += fresh
            reach[node] = frozenset(n for n in seen if not n or net.edges[n])
        return reach[node]

    states: dict[frozenset[int], int] = {frozenset(): DEAD, closed(first): START}
    if not closed(first):  # nothing matches
        return Machine(torch.zeros(2, 256, dtype=torch.long), torch.tensor([False, False]))
    todo, rows = [closed(first)], [[DEAD] * (len(cuts) - 1)]
    for here in todo:
        behind: list[set[int]] = [set() for _ in cuts[1:]]
        for node in here:
            for a, b, target in net.edges[node]:
                for k in range(kind[a], kind[b + 1]):
                    behind[k] |= closed(target)
        row = []
        for nodes in map(frozenset, behind):
            if nodes not in states:
                if len(states) >= MAX_STATES:
                    raise _too_large()
                states[nodes] = len(states)
                todo.append(nodes)
            row.append(states[nodes])
        rows.append(row)
    widths = torch.tensor(cuts).diff()
    accept = torch.tensor([0 in nodes for nodes in states])
    return Machine(torch.tensor(rows).repeat_interleave(widths, 1), accept)
