"""EmojiTwo: 1,403 emoji of 64x64 pixels in colour, each beside its line drawing.

The EmojiTwo project, https://github.com/EmojiTwo/emojitwo (CC BY 4.0), in one zip with the folders `color` and `bw`. The split is that of
`pairs`: of the sorted codes every tenth is a test pair. Where `captions.json` lies beside the zip, {code: {"category": ...}}, the category
is the label.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from genctl.data import DataConfig, Dataset, find, pairs
from genctl.errors import GenctlError, safe_text

FILE, CAPTIONS = "emojitwo64.zip", "captions.json"
MOST = 16 * 2**20  # bytes of captions


class Config(DataConfig):
    name: Literal["emojitwo"] = "emojitwo"
    """Emoji beside their line drawings."""
    size: int = Field(64, ge=8, le=64)
    """Pixels a side."""
    flip: bool = False
    """Mirror training pairs left to right at random, both alike."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit."""
    place = find("emojitwo", config.path, FILE)
    path = place / FILE if (place / FILE).exists() else place
    plain = config.model_dump(exclude={"name", "path"})
    return pairs.open(pairs.Config(path=str(path), source="bw", target="color", source_channels=1, **plain), _categories(place / CAPTIONS))


def _categories(path: Path) -> dict[str, str] | None:
    """The category of each code. Raises GenctlError (data-format)."""
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MOST:
            raise ValueError(f"more than {MOST:,} bytes")
        return {str(code): str(said["category"]) for code, said in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise GenctlError("data-format", f"{safe_text(path)}: not {{code: {{category: ...}}}}: {safe_text(e)}", "move it away") from None
