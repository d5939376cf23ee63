"""CIFAR-10: 60,000 photographs of 32x32 in colour, in ten classes; the binary version, which needs no unpickling.

Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html: a folder of `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`,
or `cifar-10-binary.tar.gz` that holds them. Train 50,000, test 10,000, as published.
"""

import tarfile
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find
from genctl.data._pixels import Part, PixelConfig, dataset
from genctl.errors import GenctlError, safe_text

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TRAIN, TEST, ARCHIVE, FOLDER = (
    [f"data_batch_{k}.bin" for k in range(1, 6)],
    "test_batch.bin",
    "cifar-10-binary.tar.gz",
    "cifar-10-batches-bin",
)
ROW = 1 + 3 * 32 * 32  # a label, and bytes of red, green and blue
MOST = 10_000 * ROW  # bytes of a file


class Config(PixelConfig):
    name: Literal["cifar10"] = "cifar10"
    """Photographs of ten kinds of things."""
    valid: int = Field(0, ge=0)
    """The last so many training pictures are the validation split; 0: train on all, and validate on the test split."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, config."""
    root = find("cifar10", config.path, f"{ARCHIVE}, or the .bin files that it holds")
    parts = [_part(data, name) for name, data in _files(root).items()]
    x, y = (torch.cat(both) for both in zip(*parts[:-1], strict=True))
    cut = len(x) - config.valid
    if cut < 1:
        raise GenctlError(
            "config", f"data.valid: {config.valid:,} of {len(x):,} training pictures would leave none", "a smaller data.valid"
        )
    valid = (x[cut:], y[cut:]) if config.valid else parts[-1]
    return dataset(config, (x[:cut], y[:cut]), valid, parts[-1], classes=CLASSES)


def _files(root: Path) -> dict[str, bytes]:
    """The six files by name, the test file last, out of a folder or an archive."""
    inside = root / FOLDER if (root / FOLDER).is_dir() else root
    archive = root if root.is_file() else inside / ARCHIVE
    try:
        if not (inside / TEST).exists() and archive.exists():
            with tarfile.open(archive) as tar:
                held = {Path(m.name).name: m for m in tar if m.isfile() and m.size <= MOST}
                return {name: tar.extractfile(held[name]).read() for name in [*TRAIN, TEST]}  # type: ignore[union-attr]
        return {name: (inside / name).read_bytes() for name in [*TRAIN, TEST]}
    except PermissionError:
        raise GenctlError("permission", f"{safe_text(root)} may not be read") from None
    except FileNotFoundError as e:
        raise GenctlError("no-input", f"{safe_text(e.filename)} is missing", f"put {ARCHIVE} there") from None
    except KeyError as e:
        raise GenctlError(
            "data-format", f"{safe_text(archive)}: {safe_text(e.args[0])} is not in it", "put the published file there"
        ) from None
    except (tarfile.TarError, OSError, EOFError) as e:
        raise GenctlError("data-format", f"{safe_text(archive)}: damaged: {safe_text(e)}", "put the published file there") from None


def _part(data: bytes, name: str) -> Part:
    """(pictures (N, 3, 32, 32), labels (N,)) of one file."""
    if not data or len(data) % ROW or len(data) > MOST:
        raise GenctlError("data-format", f"{name}: {len(data):,} bytes are no rows of {ROW:,}", "put the published file there")
    rows: Tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, ROW)
    if int(rows[:, 0].max()) >= len(CLASSES):
        raise GenctlError("data-format", f"{name}: a label is not one of {len(CLASSES)} classes", "put the published file there")
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long()
