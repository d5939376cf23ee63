"""Rows of symbols and one vector z: a network that reads a row, and p(x | z), which writes one symbol by symbol.

Bowman et al. 2016, Generating Sentences from a Continuous Space, https://arxiv.org/abs/1511.06349.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Given, Spec
from genctl.errors import GenctlError
from genctl.maths import decoding, noise, rules
from genctl.maths.rules import Rule
from genctl.media import text
from genctl.powers import State


@lru_cache(maxsize=4)
def _rule(stop: tuple[str, ...], pattern: str, plain: str) -> Rule:
    spec = Spec.from_json(json.loads(plain))
    return rules.pattern(pattern, text.pieces(spec), spec.end) if pattern else rules.stops(stop, text.pieces(spec))


def rule(draw: decoding.Draw, spec: Spec) -> Rule | None:
    """What `stop` or `pattern` asks of rows; None where they ask nothing, or rows are no text. Raises GenctlError (usage, limit)."""
    if spec.media != "text" or not (draw.stop or draw.pattern):
        return None
    if draw.stop and draw.pattern:
        raise GenctlError("usage", "sample.stop and sample.pattern: a row ends where the pattern does; give one of them")
    return _rule(tuple(draw.stop), draw.pattern, json.dumps(replace(spec, given={}).to_json(), sort_keys=True))


LIKELIEST = decoding.Draw(temperature=0)


class Pooled(nn.Module):
    """Symbols (B, *shape) to (B, out): the mean of what `net` makes of the row, up to its end.

    The mean over a row says more of it than the vector behind it does (Long et al. 2019, https://arxiv.org/abs/1911.03976).
    """

    def __init__(self, net: nn.Module, widths: Sequence[int], vocab: int, out: int, end: int | None) -> None:
        super().__init__()
        self.end = end
        self.embed, self.net, self.head = nn.Embedding(vocab, widths[0]), net, nn.Linear(widths[-1], out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        h = self.net(self.embed(x))
        mask = decoding.live(x, self.end)
        share = torch.ones_like(x) if mask is None else mask
        out: Tensor = self.head((h * (share / share.sum(1, keepdim=True))[..., None]).sum(1))
        return out


class Symbols(nn.Module):
    """p(x | z) = prod_t p(x_t | x_1 .. x_{t-1}, z), for which a decoder's `out` is z itself; z is added to every vector that `net` reads.

    forget    word dropout: the share of symbols that are hidden from the network in training, so that it asks z (section 3.1)
    """

    what = "symbols"

    def __init__(self, spec: Spec, net: nn.Module, widths: Sequence[int], code: int, forget: float = 0.0) -> None:
        super().__init__()
        self.spec, self.forget, self.shape = spec, forget, (code,)
        self.blank = spec.vocab  # what stands before the first symbol, and in place of those that are hidden
        self.embed, self.tell = nn.Embedding(spec.vocab + 1, widths[0]), nn.Linear(code, widths[0])
        self.net, self.head = net, nn.Linear(widths[-1], spec.vocab)

    @staticmethod
    def fits(spec: Spec) -> bool:
        return bool(spec.vocab)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        x = x.flatten(1)
        before = torch.cat([torch.full_like(x[:, :1], self.blank), x[:, :-1]], 1)
        if self.training and self.forget:
            before = before.masked_fill(noise.rand(*before.shape, device=x.device) < self.forget, self.blank)
        logits = self.head(self.net(self.embed(before) + self.tell(out)[:, None]))
        nats = F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        mask = decoding.live(x, self.spec.end)
        return -(nats if mask is None else nats * mask).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        """The likeliest symbol after the likeliest before it."""
        return self.draw(out, LIKELIEST)

    def draw(self, out: Tensor, how: decoding.Draw) -> Tensor:
        """(n, *shape), or (n, how.length) where another length is asked of a row."""
        size = self.spec.size
        length = how.length if how.length and len(self.spec.shape) == 1 else size
        asked = rule(how, self.spec)
        x = decoding.rows(self, len(out), length, how, window=size, end=self.spec.end, given={"z": out}, rule=asked)
        return x if length != size else x.view(len(x), *self.spec.shape)

    def fill(self, x: Tensor, seen: Tensor, out: Tensor, how: decoding.Draw) -> Tensor:
        """x where `seen`, drawn elsewhere given z and what stands before."""
        x_, seen_, size = x.flatten(1), seen.flatten(1), self.spec.size
        found = decoding.rows(
            self, len(x), size, how, window=size, end=self.spec.end, given={"z": out}, prompt=x_, seen=seen_, rule=rule(how, self.spec)
        )
        return found.view_as(x)

    # --- one after another ---

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        assert given is not None
        z = self.tell(given["z"])
        logits, state = self.step(torch.full((n, 1), self.blank, device=z.device), {"z": z})
        return logits[:, 0], state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Any]:
        z, begun = state["z"], len(state) > 1
        h, after = self.net.extend(self.embed(tokens) + z[:, None], state if begun else None)  # type: ignore[operator]
        after["z"] = z
        return self.head(h), after
