"""IDX files, plain or gzip: a header of sizes, then unsigned bytes. The layout that MNIST made common.

Format: http://yann.lecun.com/exdb/mnist. Nothing is allocated before the header agrees with the size of the file.
"""

import gzip
import math
import stat
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from genctl.data import Dataset
from genctl.data._pixels import PixelConfig, dataset
from genctl.errors import GenctlError, safe_text

MAX_BYTES = 4 * 2**30  # of one array
SMALL, RATIO = 64 * 2**20, 200  # an array larger than SMALL may be compressed RATIO:1 at most
FILES = {  # of a set laid out as MNIST, with their sizes once unpacked
    "train-images-idx3-ubyte.gz": 47_040_016,
    "train-labels-idx1-ubyte.gz": 60_008,
    "t10k-images-idx3-ubyte.gz": 7_840_016,
    "t10k-labels-idx1-ubyte.gz": 10_008,
}
WANTS = ", ".join(list(FILES)[:-1]) + f" and {list(FILES)[-1]}"


class IdxConfig(PixelConfig):
    """The keys of every set in IDX files."""

    valid: int = Field(10_000, ge=0)
    """The last so many training images are the validation split (the protocol of likelihood work on MNIST)."""


def remote(mirrors: tuple[str, ...], *sha256: str) -> dict[str, tuple[list[str], int, str]]:
    """Where the four files are, as `genctl data prepare` reads it: mirrors, size and sha256 once unpacked."""
    return {name: ([f"{m}/{name}" for m in mirrors], size, sha) for (name, size), sha in zip(FILES.items(), sha256, strict=True)}


def read(path: Path, rank: int) -> Tensor:
    """The array of one file as uint8, of `rank` dimensions. Raises GenctlError: no-input, permission, data-format."""
    shown = safe_text(path)
    try:
        size = path.stat()
        if not stat.S_ISREG(size.st_mode):
            raise _bad(shown, "not a regular file")
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            return _array(gzip.GzipFile(fileobj=raw) if packed else raw, shown, rank, size.st_size, packed)
    except FileNotFoundError:
        raise GenctlError("no-input", f"{shown} is missing", f"the folder holds {WANTS} (or the same without .gz)") from None
    except PermissionError:
        raise GenctlError("permission", f"{shown} may not be read") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise _bad(shown, f"damaged gzip: {safe_text(e)}") from None


def _array(stream: BufferedIOBase, shown: str, rank: int, size: int, packed: bool) -> Tensor:
    head = stream.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise _bad(shown, "not an IDX file")
    if head[2] != 0x08 or head[3] != rank:
        raise _bad(shown, f"expected {rank} dimensions of unsigned bytes, found {head[3]} of type 0x{head[2]:02x}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise _bad(shown, "ends inside its header")
    shape = struct.unpack(f">{rank}I", sizes)
    count = math.prod(shape)
    if not count:
        raise GenctlError("data-empty", f"{shown}: holds no examples: its shape is {list(shape)}")
    whole = size - 4 - 4 * rank
    if count > MAX_BYTES or (count != whole if not packed else count > max(SMALL, RATIO * size)):
        raise _bad(shown, f"claims {count:,} bytes of shape {list(shape)} in a file of {size:,}")
    out = bytearray(count)
    view, done = memoryview(out), 0
    while done < count:
        piece = stream.read(min(2**20, count - done))
        if not piece:
            raise _bad(shown, f"ends after {done:,} of {count:,} bytes")
        view[done : done + len(piece)] = piece
        done += len(piece)
    if stream.read(1):
        raise _bad(shown, f"goes on after the {count:,} bytes of its header")
    return torch.frombuffer(out, dtype=torch.uint8).view(shape)


def _bad(shown: str, what: str) -> GenctlError:
    return GenctlError("data-format", f"{shown}: {what}", "put the published file there")


def _part(folder: Path, stem: str) -> tuple[Tensor, Tensor]:
    """(images (N, 1, H, W), labels (N,)) of `train` or `t10k`."""
    images, labels = (_named(folder, f"{stem}-{kind}", rank) for kind, rank in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1)))
    if len(images) != len(labels):
        raise GenctlError("data-mismatch", f"{safe_text(folder)}: {stem}: {len(images):,} images but {len(labels):,} labels")
    return images[:, None], labels.long()


def _named(folder: Path, name: str, rank: int) -> Tensor:
    packed = folder / f"{name}.gz"
    return read(folder / name if not packed.exists() and (folder / name).exists() else packed, rank)


def open_folder(folder: Path, config: IdxConfig, classes: list[str] | None = None) -> Dataset:
    """The four files of a folder as a Dataset; classes are numbered where they have no names."""
    if not folder.is_dir():
        raise GenctlError("no-input", f"{safe_text(folder)} is not a folder", f"data.path=FOLDER with {WANTS}")
    (x, y), test = _part(folder, "train"), _part(folder, "t10k")
    if x.shape[2:] != test[0].shape[2:]:
        raise GenctlError(
            "data-mismatch", f"{safe_text(folder)}: training images are {list(x.shape[2:])}, test images {list(test[0].shape[2:])}"
        )
    top = int(max(y.max(), test[1].max()))
    names = classes or [str(k) for k in range(top + 1)]
    if top >= len(names):
        raise GenctlError("data-mismatch", f"{safe_text(folder)}: label {top} of {len(names)} classes")
    cut = len(x) - config.valid
    if cut < 1:
        raise GenctlError("config", f"data.valid: {config.valid:,} of {len(x):,} training images would leave none", "a smaller data.valid")
    valid = (x[cut:], y[cut:]) if config.valid else test
    return dataset(config, (x[:cut], y[:cut]), valid, test, classes=names)
