"""How a layer of visible units reads x and writes it: pixels as coins, numbers as Gaussians, symbols, levels and categories as one-hots."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.maths import blocks, units

MOST = 2**16  # visible units


@dataclass(frozen=True)
class Reader:
    """x (n, *shape) <-> v (n, size).

    of        categories of each entry of x, which is a symbol or a level; 0: v is x
    numbers   which entries of v are numbers
    grey      coins of grey pixels: what is shown is their probabilities
    no_likelihood   why the model has no likelihood of x; empty where it has one
    """

    spec: Spec
    units: units.Bernoulli
    size: int
    of: int = 0
    numbers: tuple[int, ...] = ()
    grey: bool = False
    no_likelihood: str = ""

    def read(self, x: Tensor) -> Tensor:
        if not self.of:
            return x.flatten(1)
        place = x if self.spec.vocab else (x * (self.of - 1)).round().long()
        return F.one_hot(place.flatten(1), self.of).to(torch.float32).flatten(1)

    def write(self, v: Tensor, mean: bool = False) -> Tensor:
        """mean: v are means; levels are averaged, symbols and categories are the likeliest."""
        shape = (len(v), *self.spec.shape)
        if not self.of:
            x = blocks.snap(v, self.spec.blocks)
            return (x.clamp(0, 1) if self.spec.levels else x).reshape(shape)
        parts = v.unflatten(1, (-1, self.of))
        if self.spec.vocab:
            return parts.argmax(-1).reshape(shape)
        if mean:
            return (parts @ torch.linspace(0, 1, self.of, device=v.device)).reshape(shape)
        return (parts.argmax(-1) / (self.of - 1)).reshape(shape)

    def spread(self, mask: Tensor) -> Tensor:
        """A mask of entries of x as one of entries of v."""
        return mask.flatten(1).repeat_interleave(max(1, self.of), 1)


def reader(kind: str, spec: Spec) -> Reader:
    """The reader that a model's setting asks for. Raises GenctlError (config)."""
    kind = kind if kind != "auto" else "bernoulli" if spec.levels else "categorical" if spec.vocab else "gaussian"
    of = spec.vocab or spec.levels
    if spec.end is not None:
        raise GenctlError("config", "the units of an RBM have no order: rows that end by a symbol are not theirs", "family: rnn")
    if (kind == "bernoulli" and not spec.levels) or (kind == "categorical" and not of) or (kind == "gaussian" and spec.vocab):
        what = "symbols" if spec.vocab else "continuous" if not spec.levels else "pixels"
        raise GenctlError("config", f"model.visible={kind}: this data is {what}", "model.visible=auto")
    if kind == "bernoulli":
        why = "" if spec.levels == 2 else "an RBM's likelihood is one of binary pixels; this data is grey"
        return Reader(spec, units.Bernoulli(), spec.size, grey=spec.levels != 2, no_likelihood=why)
    if kind == "categorical":
        if spec.size * of > MOST:
            raise GenctlError("limit", f"{spec.size} x {of} categories are {spec.size * of:,} visible units, limit {MOST:,}")
        return Reader(spec, units.Softmax(of), spec.size * of, of)
    parts = spec.blocks or (1,) * spec.size
    why = "a density of numbers is no likelihood of grey levels" if spec.levels else ""
    return Reader(spec, units.of_blocks(parts), spec.size, numbers=tuple(blocks.numbers(parts)), no_likelihood=why)
