"""explain, without a text: what the hidden units of a model of pictures look for, and where the chains go that it draws by."""

import itertools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import powers
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.media import image
from genctl.tasks.sample import Sampler, fill

UNITS, CHAINS, LOOKS, APART = 100, 10, 16, 25  # chains are looked at after every APART steps


def strongest(filters: Tensor, most: int = UNITS) -> Tensor:
    """The filters (H, *shape) of the largest norm, each from -its largest weight (black) to it (white)."""
    flat = filters.flatten(1)
    rows = flat.norm(dim=1).topk(min(most, len(flat))).indices
    scaled = flat[rows] / flat[rows].abs().amax(1, keepdim=True).clamp(min=1e-12)
    return (0.5 + 0.5 * scaled).view(-1, *filters.shape[1:])


def walked(sampler: Sampler, seed: int) -> dict[str, Tensor]:
    """The states of some of many chains, which cooled together, every few steps: a row each."""
    model: Any = sampler.model
    model.eval()
    with torch.no_grad(), noise.stream(seed, "chains"):
        walk = model.walk(CHAINS * CHAINS, sampler.draw())  # copies of one stand side by side
        states = torch.stack([x[::CHAINS].cpu() for x in itertools.islice(walk, 0, LOOKS * APART, APART)], 1)
    return {f"chain {k}": row for k, row in enumerate(states)}


def portray(sampler: Sampler, out: Path, seed: int = 0) -> dict[str, Any]:
    """Writes filters.png and chains.png, as far as the model has them. Raises GenctlError (power, out-...)."""
    model: Any = sampler.model
    able = {"filters", "walk"} & set(powers.of(type(model)))
    if sampler.spec.media != "image" or not able:
        what = f"family '{sampler.recipe.family}' has neither units nor chains to show as pictures"
        raise GenctlError("power", what, "--prompt TEXT for a model of text; genctl list powers")
    note = sampler.note(seed)

    def files(folder: Path) -> list[Path]:
        paths = []
        if "filters" in able:
            x = strongest(model.filters().detach().cpu())
            image.save_png(image.enlarge(image.grid(x)), folder / "filters.png", note)
            paths.append(folder / "filters.png")
        if "walk" in able:
            paths.append(image.sheet(walked(sampler, seed), sampler.spec, folder / "chains", note))
        return paths

    return {"shown": sorted(able), "out": str(out), "files": [str(p) for p in fill(out, note, files)]}
