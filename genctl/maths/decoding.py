"""Drawing rows symbol by symbol, written once for whoever is Causal (genctl/powers.py).

What is drawn from stands in narrowing.py, beam search in beams.py, what a row must be in rules.py, drawing by a draft in speculative.py.
Noise comes from genctl.maths.noise, a row for each sample, so that a sample does not depend on its neighbours.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from genctl.contract import Given, Spec
from genctl.errors import GenctlError
from genctl.maths import beams, noise
from genctl.maths.narrowing import Draw as Draw
from genctl.maths.narrowing import choose, worn
from genctl.maths.reading import Reader, Told
from genctl.maths.rules import HALT, Rule
from genctl.powers import Causal

PATIENCE = 16  # columns between two looks at whether all rows have ended


def rows(
    model: Causal,
    n: int,
    length: int,
    draw: Draw,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
    seen: Tensor | None = None,
    rule: Rule | None = None,
) -> Tensor:
    """(n, length) symbols, equal to `prompt` (n, P) where `seen` (n, P), everywhere if None, and drawn elsewhere given what stands before.

    So prompts may differ in length; those shorter than the window go on as each would alone.
    window    the longest row the model can score: it has read at most window - 1 symbols when it draws one. A longer row goes on
              by reading the last half of a window afresh.
    end       the symbol that ends a row and fills the rest
    rule      what the symbols drawn must be, or what ends them; it begins behind each row's prompt
    """
    if draw.beams > 1:
        _ready(length, draw, seen, prompt, rule)
        return beams.search(model, n, length, draw, window=window, end=end, given=given, prompt=prompt, seen=seen, rule=rule)
    return torch.cat(list(stream(model, n, length, draw, window=window, end=end, given=given, prompt=prompt, seen=seen, rule=rule)), 1)


def stream(
    model: Causal,
    n: int,
    length: int,
    draw: Draw,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
    seen: Tensor | None = None,
    rule: Rule | None = None,
) -> Iterator[Tensor]:
    """The pieces of `rows` as they come: what all prompts begin with, then columns (n, 1)."""
    _ready(length, draw, seen, prompt, rule)
    reader, told = Reader(model, window, given), Told(n, length, prompt, seen)
    logits = reader.begin(n, told.front)
    ends = _Ends(n, told, end, rule, logits)
    used = _used(told, logits) if draw.repetition != 1 else None
    pieces = [told.front] if told.common else []
    yield from pieces
    key = noise.randint(2**31 - 1, 1).tolist() if told.width else None
    for t in range(told.common, length):
        # behind prompts, the noise of a column does not depend on how long the prompts of other rows are
        with noise.stream(*key, t) if key else nullcontext():
            token = choose(ends.narrow(logits if used is None else worn(logits, used, draw.repetition), length - t), draw)
        token = ends.after(t, token)
        if used is not None:
            used.scatter_(1, token[:, None], True)
        column = token[:, None]
        yield column
        if t + 1 == length:
            return
        if (t + 1) % PATIENCE == 0 and t + 1 >= told.width and ends.all():
            yield column.new_full((n, length - t - 1), ends.fill)
            return
        pieces.append(column)
        logits = reader.on(token, pieces)


def _ready(length: int, draw: Draw, seen: Tensor | None, prompt: Tensor | None, rule: Rule | None) -> None:
    """Raises GenctlError (usage) where what is asked for cannot be drawn."""
    if rule is None and (draw.stop or draw.pattern):
        raise GenctlError("usage", "sample.stop and sample.pattern are for text that is drawn from its beginning on")
    if rule is not None and seen is not None and bool((seen[:, 1:] & ~seen[:, :-1]).any()):
        raise GenctlError("usage", "sample.stop and sample.pattern go on from a beginning; here places behind it are known too")
    if rule is not None and prompt is not None:
        longest = prompt.shape[1] if seen is None else int(seen.sum(1).max())
        rule.check(length - min(length, longest))
    elif rule is not None:
        rule.check(length)


class _Ends:
    """Which rows have ended, and where the rule of those that have not stands."""

    def __init__(self, n: int, told: Told, end: int | None, rule: Rule | None, logits: Tensor) -> None:
        self.told, self.end, self.rule = told, end, rule and rule.to(logits.device)
        self.ending = end is not None or rule is not None
        self.fill = end if end is not None else rule.fill if rule else 0
        self.done = torch.zeros(n, dtype=torch.bool, device=logits.device)
        if end is not None and told.common:
            self.done = told.front.eq(end).any(1)
        if self.rule:
            self.state = self.rule.begin(n)
            self.done = self.done | (self.state == HALT)

    def narrow(self, logits: Tensor, room: int) -> Tensor:
        return self.rule.narrow(logits, self.state, room) if self.rule else logits

    def after(self, t: int, token: Tensor) -> Tensor:
        """The symbols (n,) of column t, of which `token` were drawn: rows that have ended are filled up, and what is told is told."""
        here = self.told.at(t)
        if not self.ending:
            return token if here is None else self.told.put(t, token)
        token = self.told.put(t, torch.where(self.done, self.fill, token))
        if self.rule:
            moved = self.rule.go[self.state, token]
            self.state = moved if here is None else torch.where(here, self.state, moved)
            self.done = self.done | (self.state == HALT)
        if self.end is not None:
            self.done = self.done | (token == self.end)
        return token

    def all(self) -> bool:
        return self.ending and bool(self.done.all())


def _used(told: Told, logits: Tensor) -> Tensor:
    """(n, V) True for the symbols that rows are told."""
    count = torch.zeros_like(logits, dtype=torch.long)
    return count.scatter_add_(1, told.x.to(count.device), told.seen.to(count)) > 0


# --- pictures as rows of symbols: raster order, the channels of a pixel one after another ---


def alphabet(spec: Spec) -> int:
    """How many symbols there are: of the vocabulary, or levels of a pixel."""
    return spec.vocab or spec.levels


def in_order(x: Tensor, spec: Spec) -> Tensor:
    """(B, *shape) -> (B, T)."""
    return (x.movedim(1, -1) if spec.kind == "image" else x).flatten(1)


def symbols(x: Tensor, spec: Spec) -> Tensor:
    """Data (B, *shape) as symbols (B, T): pixels in [0, 1] as the numbers of their levels."""
    return in_order(x if spec.vocab else (x * (spec.levels - 1)).round().long(), spec)


def picture(x: Tensor, spec: Spec) -> Tensor:
    """Symbols (B, T) as data (B, *shape)."""
    if spec.vocab:
        return x.view(len(x), *spec.shape)
    scaled = x.float() / (spec.levels - 1)
    if spec.kind != "image":
        return scaled.view(len(x), *spec.shape)
    return scaled.view(len(x), *spec.shape[1:], spec.shape[0]).movedim(-1, 1).contiguous()


def live(x: Tensor, end: int | None) -> Tensor | None:
    """(B, T) True up to and including the first `end`; None where nothing ends."""
    if end is None:
        return None
    is_end = x == end
    return is_end.cumsum(-1) - is_end.long() == 0


def log_prob(model: Causal, x: Tensor, given: Given | None = None, end: int | None = None) -> Tensor:
    """(B, T) nats of each symbol of x (B, T) through start and step alone, 0 beyond `end`."""
    logits, state = model.start(len(x), given)
    every = [logits[:, None]]
    if x.shape[1] > 1:
        every.append(model.step(x[:, :-1], state)[0])
    nats = torch.cat(every, 1).log_softmax(-1).gather(-1, x[..., None]).squeeze(-1)
    mask = live(x, end)
    return nats if mask is None else nats * mask


def nats(model: Causal, row: Tensor, window: int, given: Given | None = None) -> Tensor:
    """(T,) -log p of each symbol of one row (T,) of any length. Behind a window each is told at least the half window before it."""
    out, half = [], max(1, window // 2)
    for start in range(0, len(row), half) if len(row) > window else [0]:
        part = row[start : start + window]
        found = -log_prob(model, part[None], given)[0]
        out.append(found if start == 0 else found[window - half :])
        if start + window >= len(row):
            break
    return torch.cat(out)
