"""Samples in fixed chunks, each a function of (seed, chunk), so that sample i never depends on how many are asked for."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from genctl.contract import Draw, Family, Given
from genctl.maths import blocks, noise


def chunks(
    model: Family,
    n: int,
    draw: Draw,
    seed: int,
    given: Mapping[str, Tensor] | None = None,
    sample: Callable[[int, Draw, Given | None], Tensor] | None = None,
) -> Iterator[Tensor]:
    """Yields pieces (m, *shape) on the CPU, n rows in all. `given`: name -> (n, ...) or (1, ...) for all.

    `sample` stands in for model.sample. Every chunk is computed whole, so that arithmetic too does not depend on n. Where x has
    one-hots, what a family emits there falls on the largest entry.
    """
    was_training = model.training
    model.eval()
    try:
        for k in range(-(-n // draw.chunk)):
            rows = torch.arange(k * draw.chunk, (k + 1) * draw.chunk)
            here = {name: (v[rows.clamp(max=len(v) - 1)]).to(model.device) for name, v in (given or {}).items()}
            with torch.no_grad(), noise.stream(seed, "sample", k):
                x = (sample or model.sample)(draw.chunk, draw, here or None)
            yield blocks.snap(x[: n - k * draw.chunk], model.spec.blocks).cpu()
    finally:
        model.train(was_training)
