"""Samples that begin at something given: as much of it goes as is asked, and comes back as the model sees it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from genctl.contract import Batch, Draw, Given
from genctl.errors import GenctlError
from genctl.maths import sampling
from genctl.powers import Revise
from genctl.tasks import readback
from genctl.tasks.sample import Sampler


def revised(
    sampler: Sampler,
    init: Path,
    strength: float,
    n: int,
    seed: int = 0,
    given: Mapping[str, Tensor] | None = None,
    draw: Draw | None = None,
) -> Iterator[Tensor]:
    """Pieces of n samples, from the pictures (or rows, ...) at `init` in turn. Raises GenctlError (power, no-input, data-...)."""
    model = sampler.model
    if not isinstance(model, Revise):
        raise GenctlError(
            "power", f"family '{sampler.recipe.family}' cannot begin at what is given", "leave --init out; genctl list powers"
        )
    x, _ = readback.read(init, sampler.spec)

    def drawn(m: int, how: Draw, beside: Given | None) -> Tensor:
        rest = dict(beside or {})
        return model.revise(Batch(x=rest.pop("init"), given=rest), strength, how)

    beside = {**sampler.given(n, given), "init": x[torch.arange(n) % len(x)]}
    return sampling.chunks(sampler.family, n, draw or sampler.recipe.sample, seed, beside, drawn)
