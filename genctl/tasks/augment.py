"""Labelled samples as a data set: pictures in a folder a class, which `data: {name: images}` reads, anything else as an npz for `npz`."""

import re
from pathlib import Path

import torch

from genctl.contract import Draw
from genctl.errors import GenctlError, safe_text
from genctl.media import image
from genctl.tasks.sample import Sampler, fill, npz

FOLDER = re.compile(r"\w(?:[\w .()+-]{0,80}\w)?")  # a name that any file system takes


def classes(sampler: Sampler) -> list[str]:
    """The names of the classes that the model can be asked for, fit for folders. Raises GenctlError (power)."""
    if "label" not in sampler.model.conditions:
        raise GenctlError("power", "this model cannot be asked for a class", "train it with model.conditional=true")
    label = sampler.spec.given["label"]
    names = [str(v) for v in label.codec.get("names", [])]
    plain = [f"{k:03d}" if label.vocab > 10 else str(k) for k in range(label.vocab)]
    return names if len(set(names)) == label.vocab and all(FOLDER.fullmatch(n) for n in names) else plain


def dataset(sampler: Sampler, each: int, out: Path, seed: int, draw: Draw) -> list[Path]:
    """`each` samples of every class. Raises GenctlError (power, out-exists, out-unwritable)."""
    names = classes(sampler)
    n = each * len(names)
    label = torch.arange(n) % len(names)
    note = sampler.note(seed)

    def files(folder: Path) -> list[Path]:
        pieces = sampler.stream(n, seed, {"label": label}, draw)
        if sampler.spec.kind != "image" or sampler.spec.vocab:
            return [npz(folder / "dataset.npz", note, x=torch.cat(list(pieces)), label=label)]
        for name in names:
            (folder / name).mkdir(exist_ok=True)
        paths: list[Path] = []
        for piece in pieces:
            for x in piece:
                i = len(paths)
                paths.append(folder / names[i % len(names)] / f"{i:06d}.png")
                image.save_png(x, paths[-1], {**note, "index": i, "label": names[i % len(names)]})
        return paths

    return fill(out, {**note, "n": n, "per_class": each, "classes": names}, files)


def named(sampler: Sampler, out: Path) -> str:
    """How the data set is named in a recipe."""
    if sampler.spec.kind == "image" and not sampler.spec.vocab:
        c, h, w = sampler.spec.shape
        return f"data: {{name: images, path: {safe_text(out)}, size: {max(h, w)}, channels: {3 if c == 3 else 1}}}"
    return f"data: {{name: npz, path: {safe_text(out / 'dataset.npz')}}}"
