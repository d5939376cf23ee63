"""EmojiTwo: emoji of 64x64 pixels in colour, 1,403 of them beside their line drawings, or 2,008 beside what they are called; or those names.

The EmojiTwo project, https://github.com/EmojiTwo/emojitwo (CC BY 4.0), in one zip with the folders `color` and `bw`; beside it
`captions.json`, {code: {"name": ..., "category": ...}}. The category is the label where that file is. Of the sorted codes every tenth is
for the test, and the one behind it for validation.
"""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, Split, find, images, pairs, tensors
from genctl.data._tokenise import characters
from genctl.data._zip import open_zip
from genctl.errors import GenctlError, safe_text

FILE, CAPTIONS = "emojitwo64.zip", "captions.json"
MOST = 16 * 2**20  # bytes of captions


class Config(DataConfig):
    name: Literal["emojitwo"] = "emojitwo"
    """Emoji beside their line drawings, or beside what they are called."""
    size: int = Field(64, ge=8, le=64)
    """Pixels a side."""
    beside: Literal["drawing", "caption", "picture"] = "drawing"
    """What stands beside each: a picture `source`, or a row of characters `caption`; or the other way about, a `picture` beside its caption."""
    flip: bool = False
    """Mirror training pairs left to right at random, both alike."""
    length: int = Field(32, ge=2, le=1000)
    """Characters of a caption, the end counted; longer ones are cut."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit, config."""
    place = find("emojitwo", config.path, FILE)
    path = place / FILE if (place / FILE).exists() else place
    said = _captions(place / CAPTIONS)
    if config.beside == "drawing":
        plain = config.model_dump(exclude={"name", "path", "beside", "length"})
        kinds = {code: one["category"] for code, one in said.items()} if said else None
        return pairs.open(pairs.Config(path=str(path), source="bw", target="color", source_channels=1, **plain), kinds)
    if not said:
        raise GenctlError("no-input", f"{safe_text(place / CAPTIONS)} is missing: it says what each emoji is called", "data.beside=drawing")
    if config.flip:
        raise GenctlError("config", "data.flip: an arrow that points left is not called what its mirror is", "data.flip=false")
    return _named(config, path, said)


def _named(config: Config, path: Path, said: dict[str, dict[str, str]]) -> Dataset:
    with ExitStack() as stack:
        items = list(images.in_folder(path) if path.is_dir() else images.in_zip(stack.enter_context(open_zip(path))))
        known = [i for i in images.chosen(items, "color")[0] if said.get(i.place.stem, {}).get("name")]
        pictures, kept, bad = images.each(known, config.size, 3)
    if len(kept) < 3 or len(bad) > max(1, len(known) // 100):
        raise GenctlError(
            "data-bad", f"{safe_text(path)}: {len(kept)} emoji with a name, {len(bad)} unreadable", "put the published file there"
        )
    names = [i.place.stem for i in kept]
    lines = [said[n]["name"].lower()[: config.length - 1] for n in names]
    coder = characters(lines)
    caption = coder.rows(lines, config.length)
    kinds = [said[n]["category"] or "other" for n in names]
    classes = sorted(set(kinds))
    x, label, number = torch.stack(pictures), torch.tensor([classes.index(k) for k in kinds]), {n: k for k, n in enumerate(names)}

    def part(codes: list[str]) -> Split:
        at = torch.tensor([number[c] for c in codes])
        if config.beside == "picture":
            return tensors(caption[at].long(), {"picture": _scaled(x[at]), "label": label[at]})
        return tensors(x[at], {"caption": caption[at].long(), "label": label[at]}, _scaled)

    parts = {k: part(v) for k, v in pairs.by_name(sorted(names)).items()}
    kind = Spec(shape=(), vocab=len(classes), codec={"names": classes})
    picture = Spec(shape=tuple(x.shape[1:]), levels=256, media="image")
    if config.beside == "picture":
        spec = coder.spec(config.length, given={"picture": picture, "label": kind})
    else:
        spec = replace(picture, given={"caption": coder.spec(config.length), "label": kind})
    return Dataset(spec, parts["train"].first(config.limit), parts["valid"], parts["test"])


def _scaled(x: Tensor) -> Tensor:
    return x.float() / 255


def _captions(path: Path) -> dict[str, dict[str, str]]:
    """Name and category of each code; empty where the file is not. Raises GenctlError (data-format)."""
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"more than {MOST:,} bytes")
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {str(code): {k: str(one.get(k) or "") for k in ("name", "category")} for code, one in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as e:
        what = f"{safe_text(path)}: not {{code: {{name: ..., category: ...}}}}: {safe_text(e)}"
        raise GenctlError("data-format", what, "move it away") from None
