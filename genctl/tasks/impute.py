"""impute: what is missing of examples, drawn given what is there."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Batch, Draw, Spec
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.media import writer
from genctl.tasks import examples, readback
from genctl.tasks.examples import Where
from genctl.tasks.sample import Sampler, fill

SIDES = ("left", "right", "top", "bottom", "box", "random")


def hidden(text: str, share: float, n: int, spec: Spec, seed: int) -> Tensor:
    """True where something is taken away, (n, *shape): a side, a box in the middle, random places, or the white of a mask's picture.

    Of rows of numbers and of text, left is the beginning. Raises GenctlError (usage, no-input, data-...).
    """
    if text not in SIDES:
        if not Path(text).exists():
            raise GenctlError("usage", f"--mask {safe_text(text)}: expected a picture, or one of {', '.join(SIDES)}")
        return (readback.read(Path(text), spec, 1)[0] > 0.5).expand(n, *spec.shape)
    places = spec.shape[1:] if spec.kind == "image" else spec.shape
    if text == "random":
        with noise.stream(seed, "mask"):
            gone = noise.rand(n, *places) < share
    else:
        height, width = (places if len(places) > 1 else (1, *places))[-2:]
        gone = torch.zeros(height, width, dtype=torch.bool)
        h, w = round(height * share), round(width * share)
        if text == "box":
            h, w = (max(1, round(side * math.sqrt(share))) for side in (height, width))
            gone[(height - h) // 2 :, (width - w) // 2 :][:h, :w] = True
        elif text in ("left", "right"):
            gone[:, :w] = True
        else:
            gone[:h] = True
        if text in ("right", "bottom"):
            gone = gone.flip(0, 1)
        gone = gone.view(places).expand(n, *places)
    return gone[:, None].expand(n, *spec.shape) if spec.kind == "image" else gone


def impute(sampler: Sampler, where: Where, mask: str, share: float, draws: int, draw: Draw, out: Path) -> dict[str, Any]:
    """`draws` completions of each example whose hidden part is taken away; a sheet with x, what is left of it, and the completions.

    Raises GenctlError (power, usage, no-input, data-..., out-...).
    """
    examples.need(sampler, "impute")
    model: Any = sampler.model
    batch, _ = examples.find(sampler, where)
    given = examples.beside(model, batch)
    gone = hidden(mask, share, len(batch), sampler.spec, where.seed)
    left = torch.where(gone, torch.zeros_like(batch.x), batch.x)  # what the model is shown: nothing of what is hidden
    shown = Batch(x=left, given=given, mask=~gone)
    found = [examples.blocks(model, shown, where.seed, f"impute {k}", lambda b: model.impute(b, draw)) for k in range(draws)]
    every = torch.stack(found, 1).flatten(0, 1)
    note = {**sampler.note(where.seed), "n": len(batch), "draws": draws, "mask": mask}
    grey = left if sampler.spec.vocab else torch.where(gone, torch.full_like(batch.x, 0.5 if sampler.spec.levels else 0.0), batch.x)
    rows = {"x": batch.x, "left of it": grey, **{f"draw {k}": x for k, x in enumerate(found)}}

    def files(folder: Path) -> list[Path]:
        medium = writer(sampler.spec)
        target = medium.open_writer(folder, sampler.spec, note)
        target.add(every)
        return [medium.sheet(rows, sampler.spec, folder / "sheet", note), *target.close()]

    paths = fill(out, note, files)
    wrong = [(x != batch.x) if sampler.spec.vocab else (x - batch.x).square() for x in found]
    error = torch.stack([w.double()[gone].mean() for w in wrong]).mean().item() if gone.any() else 0.0
    name = "wrong_symbols" if sampler.spec.vocab else "mean_squared_error"
    return {"n": len(batch), "draws": draws, name: error, "out": str(out), "files": [str(p) for p in paths]}
