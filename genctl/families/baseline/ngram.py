"""N-gram model: the counts of a few symbols in a row, smoothed by interpolated modified Kneser-Ney; what a language model has to beat.

Chen and Goodman 1999, An empirical study of smoothing techniques for language modeling, https://doi.org/10.1006/csla.1999.0128, sections 2.7
and 3: of each order three discounts, and below the highest order the number of different symbols before an n-gram in place of its count.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.autoregressive._ordered import Ordered
from genctl.maths import decoding, ranks
from genctl.powers import State

EMPTY = 2**63 - 1
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a corpus is too small to say (Heafield et al. 2013, KenLM)


@dataclass(frozen=True)
class Level:
    """The n-grams of one order as sorted numbers, the share of each behind its context, and what a context leaves to the order below."""

    grams: Tensor
    share: Tensor
    contexts: Tensor
    rest: Tensor


class NGram(Ordered):
    """p(w | h) = (c(hw) - D) / c(h) + gamma(h) p(w | h without its first symbol), down to 1 / V.

    Training counts: let it see every example once, steps x batch being their number or a little less. Discounts come from how many n-grams
    were seen once, twice, ...; seen in two passes they would be wrong. The table holds the n-grams of the highest order, all else follows
    from them. In rows that are whole examples n - 1 marks stand before the first symbol, and every place is counted. Windows of a running
    text lie at every offset, so that each n-gram of the text ends exactly one of them: there the last place alone is counted, and the
    first symbols of a row are said by lower orders.
    """

    class Config(Settings):
        order: int = Field(5, ge=1, le=8)
        """Symbols of an n-gram: one and those that it is predicted from."""
        capacity: int = Field(1_000_000, ge=1, le=100_000_000)
        """Different n-grams to hold."""
        rows: Literal["auto", "whole", "windows"] = "auto"
        """Whole examples, or windows of a running text at every offset; auto: whole where a symbol ends them, or in grids."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.base, self.order = spec.vocab + 1, config.order  # the mark is one symbol more
        if self.base**self.order > EMPTY:
            most = next(n for n in range(8, 0, -1) if self.base**n <= EMPTY)
            raise GenctlError("config", f"model.order: {spec.vocab:,} symbols allow {most} at most, for 63 bits", f"model.order={most}")
        self.whole = config.rows == "whole" or (config.rows == "auto" and (spec.end is not None or len(spec.shape) > 1))
        if not self.whole and self.order > spec.size:
            raise GenctlError("config", f"model.order: {self.order} symbols do not fit in windows of {spec.size}", "a larger data.length")
        self.register_buffer("grams", torch.full((config.capacity,), EMPTY))
        self.register_buffer("counts", torch.zeros(config.capacity, dtype=torch.long))
        self.register_buffer("used", torch.zeros((), dtype=torch.long))
        self.derived: tuple[object, list[Level]] = (None, [])

    def window(self, length: int) -> int:
        """Rows are read on for ever."""
        return max(self.spec.size, length + 1)

    # --- counting ---

    def stages(self) -> list[Stage]:
        return [Stage(name="count", players=[Player(name="counts", params=[], loss=self.count)])]

    def count(self, batch: Batch, at: Progress) -> Loss:
        """Counts a batch; the loss is the share of n-grams that were not known."""
        x = batch.x.flatten(1) if self.whole else batch.x.flatten(1)[:, -self.order :]
        fresh, live = self.context(x) * self.base + x, decoding.live(x, self.spec.end)
        fresh = ranks.gather(fresh if live is None else fresh.masked_fill(~live, -1))
        fresh, used = (fresh if self.whole else fresh[:, -1]).flatten(), int(self.used)
        fresh = fresh[fresh >= 0]
        grams, place = torch.cat([self.grams[:used], fresh]).unique(return_inverse=True)
        if len(grams) > len(self.grams):
            what = f"more than {len(self.grams):,} different {self.order}-grams"
            raise GenctlError("limit", what, f"model.capacity={4 * len(self.grams)}, or a smaller model.order")
        counts = torch.zeros_like(grams).scatter_add_(0, place, torch.cat([self.counts[:used], torch.ones_like(fresh)]))
        self.grams[: len(grams)], self.counts[: len(grams)] = grams, counts
        self.used.fill_(len(grams))
        return Loss(torch.tensor((len(grams) - used) / len(fresh), device=x.device), weight=float(len(fresh)))

    def context(self, x: Tensor) -> Tensor:
        """(B, T) the n - 1 symbols before each of x (B, T) as a number, marks before the row."""
        marks = x.new_full((len(x), self.order - 1), self.spec.vocab)
        return self.numbered(torch.cat([marks, x[:, :-1]], 1)) if self.order > 1 else torch.zeros_like(x)

    def numbered(self, x: Tensor) -> Tensor:
        """(B, T - n + 2) each n - 1 symbols of x (B, T) as a number, the first the most significant digit."""
        places = self.base ** torch.arange(self.order - 2, -1, -1, device=x.device)
        return (x.unfold(1, self.order - 1, 1) * places).sum(-1)

    # --- smoothing ---

    def levels(self) -> list[Level]:
        """All orders from 1 up, derived anew when the table has changed."""
        version = (self.grams._version, self.grams.data_ptr())
        if self.derived[0] != version:
            grams, counts = self.grams[: int(self.used)].clone(), self.counts[: int(self.used)]
            found: list[Level] = []
            for n in range(self.order if len(grams) else 0, 0, -1):
                found.insert(0, level(grams, counts, self.base))
                grams, counts = (grams % self.base ** (n - 1)).unique(return_counts=True)
            self.derived = (version, found)
        return self.derived[1]

    def p(self, context: Tensor, w: Tensor) -> Tensor:
        """p(w | context) of symbols w (..., K) behind contexts (...) as numbers."""
        p = torch.full(w.shape, 1 / self.spec.vocab, device=w.device)
        for n, one in enumerate(self.levels()):
            h = (context % self.base**n)[..., None]
            at, known = found(one.contexts, h)
            rest = torch.where(known, one.rest[at], 1.0)
            at, known = found(one.grams, h * self.base + w)
            p = rest * p + torch.where(known, one.share[at], 0.0)
        return p

    def nats(self, batch: Batch) -> Tensor:
        x = batch.x.flatten(1)
        nats = -self.p(self.context(x), x[..., None])[..., 0].log()
        live = decoding.live(x, self.spec.end)
        return nats if live is None else nats * live

    # --- one symbol after another ---

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        nothing = torch.zeros(n, 1, dtype=torch.long, device=self.device)
        return self.logits(self.context(nothing))[:, 0], {"last": nothing.new_full((n, max(1, self.order - 1)), self.spec.vocab)}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        read = torch.cat([state["last"], tokens], 1)
        context = self.numbered(read)[:, 1:] if self.order > 1 else torch.zeros_like(tokens)
        return self.logits(context), {"last": read[:, -state["last"].shape[1] :]}

    def logits(self, context: Tensor) -> Tensor:
        """(B, T, V)."""
        return self.p(context, torch.arange(self.spec.vocab, device=context.device).expand(*context.shape, -1)).log()


def found(table: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Where the wanted numbers stand in a sorted table, and whether they do."""
    at = torch.searchsorted(table, wanted).clamp(max=len(table) - 1)
    return at, table[at] == wanted


def level(grams: Tensor, counts: Tensor, base: int) -> Level:
    contexts, group = (grams // base).unique_consecutive(return_inverse=True)
    kind = counts.clamp(max=3) - 1  # seen once, twice, more often
    d = torch.tensor(discounts(counts), device=grams.device)
    total = torch.zeros_like(contexts).scatter_add_(0, group, counts)
    kinds = torch.zeros(3 * len(contexts), dtype=torch.long, device=grams.device).scatter_add_(0, 3 * group + kind, torch.ones_like(group))
    rest = (kinds.view(-1, 3) * d).sum(1) / total
    return Level(grams, (counts - d[kind]) / total[group], contexts, rest)


def discounts(counts: Tensor) -> tuple[float, ...]:
    """What is taken off n-grams seen once, twice and more often, from how many were seen 1, 2, 3 and 4 times."""
    n = [int((counts == k).sum()) for k in range(1, 5)]
    if not all(n[:3]):
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    found = tuple(i - (i + 1) * y * n[i] / n[i - 1] for i in (1, 2, 3))
    return found if all(0 < d <= i for i, d in enumerate(found, 1)) else FALLBACK
