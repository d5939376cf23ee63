"""One picture file to one tensor, by one conversion, under limits that hold before anything is decoded.

Turned as its EXIF says; the first frame; palettes, CMYK and single bits to RGB or grey; 16 bits scaled, not clipped; the centred
square resized (bicubic, antialiased) to `size`; transparency over white.
"""

import warnings
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from genctl.errors import safe_text

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
MAX_PIXELS = 64_000_000


class Unusable(Exception):
    """Why a file gives no picture."""


def decode(stream: IO[bytes], size: int | None, channels: int) -> Tensor:
    """(C, size, size) uint8; size None: (C, H, W) as large as it is. Raises Unusable, whatever the file holds."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", module="PIL")
            with Image.open(stream, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise Unusable(f"{picture.width}x{picture.height} pixels, limit {MAX_PIXELS:,}")
                if size:
                    picture.draft("L" if channels == 1 else "RGB", (size, size))  # JPEG: decode near the size that is needed
                return _convert(picture, size, channels)
    except Unusable:
        raise
    except UnidentifiedImageError:
        raise Unusable("not a picture of a known kind") from None
    except Image.DecompressionBombError:
        raise Unusable(f"too many pixels, limit {MAX_PIXELS:,}") from None
    except Exception as e:  # decoders raise SyntaxError, struct.error, OSError and more; all mean that the file is bad
        raise Unusable(safe_text(str(e) or type(e).__name__, 80)) from None


def _convert(picture: Image.Image, size: int | None, channels: int) -> Tensor:
    picture = ImageOps.exif_transpose(picture)
    whole = _plain(picture)
    if size:
        side = min(picture.size)
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        whole = whole.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    if whole.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", whole.size, "white")
        whole = Image.alpha_composite(white, whole.convert("RGBA"))
    pixels = np.asarray(whole.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], channels).permute(2, 0, 1).contiguous()


def _plain(picture: Image.Image) -> Image.Image:
    """The picture as L, LA, RGB or RGBA."""
    mode = picture.mode
    if mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65_535:
            raise Unusable("32-bit pixels outside 0 to 65535")
        return Image.fromarray((values // 257 + (values % 257 > 128)).astype(np.uint8))
    if mode == "F":
        raise Unusable("floating-point pixels have no agreed range")
    if mode in ("P", "PA") or "transparency" in picture.info:
        return picture.convert("RGBA")
    if mode in ("L", "LA", "RGB", "RGBA"):
        return picture
    return picture.convert("L" if mode == "1" else "RGB")
