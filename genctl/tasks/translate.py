"""translate: pictures of any size to their counterparts, each under its own name, and a sheet of before and after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.contract import Batch, Draw
from genctl.data._picture import SUFFIXES, Unusable, decode
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.media import image
from genctl.powers import Translate
from genctl.tasks.sample import Sampler, fill

SHOWN, SIDE = 8, 256  # pictures on the sheet, and the size they are shown at
Say = Callable[[str], None]


def counterpart(sampler: Sampler, to: str) -> tuple[Callable[[Tensor, Draw], Tensor], int]:
    """(x, draw) -> the counterpart of pictures (B, C, H, W) in [0, 1], and C. Raises GenctlError (power, usage).

    to    empty: the way that the model draws x; else what stands beside x, the way back
    """
    model: Any = sampler.model
    beside = [name for name in model.conditions if sampler.spec.given[name].kind == "image"]
    back = list(beside) if isinstance(model, Translate) else []
    if to and to not in back:
        if not beside:
            raise GenctlError("power", f"family '{sampler.recipe.family}' does not translate pictures", "genctl list powers")
        expected = f"expected {' or '.join(back)}" if back else "this model knows one way only"
        raise GenctlError("usage", f"--to {safe_text(to)}: {expected}", "leave out --to")
    if to:
        return (lambda x, draw: model.translate(Batch(x=x), to, draw)), sampler.spec.shape[0]
    if len(beside) == len(model.conditions) == 1:
        name = beside[0]
        return (lambda x, draw: model.sample(len(x), draw, {name: x})), sampler.spec.given[name].shape[0]
    raise GenctlError("power", f"family '{sampler.recipe.family}' does not translate pictures", "genctl list powers")


def tiled(f: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """f of a picture (1, C, H, W) larger than a tile, tile by tile; where tiles overlap they fade into each other.

    f may enlarge: what it makes of a tile of T pixels has a whole multiple of T.
    """
    height, width = x.shape[2:]
    if max(height, width) <= tile:
        return f(x)
    spots = [_starts(size, tile, overlap) for size in (height, width)]
    total: Tensor | None = None
    weight = x.new_zeros(())
    for top in spots[0]:
        for left in spots[1]:
            part = x[:, :, top : top + tile, left : left + tile]
            y = f(part)
            scale = y.shape[2] // part.shape[2]
            if total is None:
                total = y.new_zeros(1, y.shape[1], height * scale, width * scale)
                weight = y.new_zeros(1, 1, height * scale, width * scale)
            fade = _fade(y.shape[2], overlap * scale, y)[:, None] * _fade(y.shape[3], overlap * scale, y)
            place = (..., slice(top * scale, top * scale + y.shape[2]), slice(left * scale, left * scale + y.shape[3]))
            total[place] += y * fade
            weight[place] += fade
    assert total is not None
    return total / weight


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin: evenly, the last at the end."""
    if size <= tile:
        return [0]
    count = -(-(size - overlap) // (tile - overlap))
    return [round(k * (size - tile) / (count - 1)) for k in range(count)]


def _fade(size: int, overlap: int, like: Tensor) -> Tensor:
    """(size,) weights that rise over the overlap at either end, and are never 0."""
    from_edge = torch.arange(1, size + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(from_edge, from_edge.flip(0)).clamp(max=overlap + 1) / (overlap + 1)


def pictures(path: Path) -> list[Path]:
    """A picture, or those of a folder in the order of their names. Raises GenctlError (no-input)."""
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path] if path.exists() else []
    if not found:
        raise GenctlError("no-input", f"{safe_text(path)}: no picture there")
    return found


def translate(
    sampler: Sampler, source: Path, to: str, tile: int, overlap: int, draw: Draw, seed: int, out: Path, say: Say
) -> dict[str, Any]:
    """Every picture as OUT/NAME.png, and OUT/sheet.png; unreadable ones are named and left out.

    Raises GenctlError (power, usage, no-input, data-bad, out-...).
    """
    model: Any = sampler.model
    f, channels = counterpart(sampler, to)
    if overlap >= tile:
        raise GenctlError("usage", f"--overlap {overlap}: less than --tile {tile}")
    paths = pictures(source)
    note = {**sampler.note(seed), "n": len(paths)}
    before: list[Tensor] = []
    after: list[Tensor] = []
    bad: list[str] = []

    def one(x: Tensor) -> Tensor:
        return f(x.to(model.device), draw).float().cpu().clamp(0, 1)

    def files(folder: Path) -> list[Path]:
        made: list[Path] = []
        taken: set[str] = set()
        for k, path in enumerate(paths):
            try:
                with path.open("rb") as stream:
                    x = decode(stream, None, channels)[None].float() / 255
            except (Unusable, OSError) as e:
                bad.append(f"{safe_text(path.name)} ({safe_text(e)})")
                continue
            with torch.no_grad(), noise.stream(seed, "translate", k):
                y = tiled(one, x, tile, overlap)
            name = path.stem if path.stem not in taken | {"sheet"} else path.name
            taken.add(name)
            made.append(folder / f"{name}.png")
            image.save_png(y[0], made[-1], {**note, "from": path.name})
            if len(before) < SHOWN:
                before.append(_small(x if x.shape[2:] == y.shape[2:] else F.interpolate(x, size=y.shape[2:], mode="nearest")))
                after.append(_small(y))
            say(f"{k + 1} of {len(paths)}: {safe_text(path.name)}, {x.shape[3]} x {x.shape[2]} pixels")
        if not made:
            raise GenctlError("data-bad", f"none of {len(paths)} pictures could be read: {'; '.join(bad[:5])}")
        side = max(max(x.shape[2:]) for x in [*before, *after])
        rows = torch.cat([_centred(x, side) for x in [*before, *after]])
        image.save_png(image.enlarge(image.grid(rows, len(before))), folder / "sheet.png", note)
        return [folder / "sheet.png", *made]

    model.eval()
    written = fill(out, note, files)
    if bad:
        say(f"warning[data-bad]: {len(bad)} of {len(paths)} pictures skipped: {'; '.join(bad[:5])}")
    return {"n": len(paths) - len(bad), "skipped": len(bad), "out": str(out), "files": [str(p) for p in written[:1000]]}


def _small(x: Tensor) -> Tensor:
    """(1, 3, H, W), no side longer than SIDE."""
    side = max(x.shape[2:])
    if side > SIDE:
        x = F.interpolate(x, size=[max(1, round(n * SIDE / side)) for n in x.shape[2:]], mode="bilinear", antialias=True)
    return x.expand(-1, 3, -1, -1) if x.shape[1] != 3 else x


def _centred(x: Tensor, side: int) -> Tensor:
    """(1, 3, side, side), over grey."""
    down, across = (side - n for n in x.shape[2:])
    return F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2), value=0.5)
