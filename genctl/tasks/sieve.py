"""A classifier as a sieve: of what is drawn, only what it gives a label is kept, and more is drawn until there is enough."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data._tokenise import of
from genctl.errors import GenctlError, safe_text
from genctl.tasks import examples
from genctl.tasks.sample import Sampler

TRIES = 50  # samples drawn for each that is wanted, before it is given up


def keeper(judge: Sampler, labels: str, least: float, spec: Spec, text: Callable[[int, Tensor], str]) -> Callable[[Tensor], Tensor]:
    """x (m, *shape) -> (m,) True where the labels (comma between them) have at least the probability `least` together.

    spec    of x; text: what a row of symbols says, which the judge reads in its own symbols
    Raises GenctlError (power, usage, data-mismatch).
    """
    examples.need(judge, "predict")
    model: Any = judge.model
    wanted, own = judge.spec.given[model.target], judge.spec
    if wanted.shape:
        raise GenctlError("power", f"--filter: family '{judge.recipe.family}' tells no class of a whole", "a checkpoint that does")
    if spec.media != own.media or (spec.media != "text" and spec.shape != own.shape):
        what = f"--filter: it judges {own.media} {list(own.shape)}, these samples are {spec.media} {list(spec.shape)}"
        raise GenctlError("data-mismatch", what, "a classifier of such samples")
    names = [str(v) for v in wanted.codec.get("names", [])] or [str(k) for k in range(wanted.vocab)]
    asked = [label.strip() for label in labels.split(",")]
    if bad := [label for label in asked if label not in names]:
        raise GenctlError("usage", f"--keep {safe_text(bad[0])}: it tells {', '.join(map(safe_text, names[:20]))}")
    index = torch.tensor([names.index(label) for label in asked])
    coder = of(own) if own.media == "text" else None

    def keep(x: Tensor) -> Tensor:
        read = coder.rows([text(0, row) for row in x], own.size).long() if coder else x
        p = examples.blocks(model, Batch(x=read), 0, "predict", model.predict).float().softmax(-1)
        return p[:, index].sum(1) >= least

    return keep


def sifted(pieces: Iterator[Tensor], n: int, keep: Callable[[Tensor], Tensor], say: Callable[[str], None]) -> Iterator[Tensor]:
    """Pieces of the first n samples that are kept. Raises GenctlError (limit) when too few of them are."""
    drawn = kept = 0
    for piece in pieces:
        right = piece[keep(piece)][: n - kept]
        drawn, kept = drawn + len(piece), kept + len(right)
        if len(right):
            yield right
        if kept == n:
            say(f"kept {n:,} of {drawn:,} samples")
            return
    raise GenctlError("limit", f"--filter: of {drawn:,} samples only {kept:,} of {n:,} were kept", "a lower --sure, or another label")
