"""Arrays out of .npz and .npy files: never an object, and nothing allocated before the header agrees with the file."""

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from genctl.data._zip import files, open_zip
from genctl.errors import GenctlError, safe_text

MAX_BYTES = 8 * 2**30  # of one array
NOTE = "genctl"  # what `genctl sample` says of its own files: text


def read(path: Path) -> dict[str, Tensor]:
    """Every array of a file by name, but the note in ours; the one of an .npy is called x. Raises GenctlError: permission, data-format, limit."""
    shown = safe_text(path)
    try:
        with path.open("rb") as f:
            if f.read(6) == b"\x93NUMPY":
                f.seek(0)
                return {"x": _array(f, path.stat().st_size, shown)}
        with open_zip(path, MAX_BYTES) as archive:
            found = {}
            for member in files(archive):
                name = member.filename.removesuffix(".npy")
                if name == NOTE:
                    continue
                with archive.open(member) as stream:
                    found[name] = _array(stream, member.file_size, f"{shown}: {safe_text(name, 40)}")
            return found
    except PermissionError:
        raise GenctlError("permission", f"{shown} may not be read") from None
    except (OSError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as e:
        raise _bad(shown, e) from None


def _array(stream: IO[bytes], size: int, shown: str) -> Tensor:
    """One array of a stream of `size` bytes."""
    try:
        version = npy.read_magic(stream)
        head = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = head(stream)
    except Exception as e:  # numpy parses the header as Python literals; whatever it says is the file's fault
        raise _bad(shown, e) from None
    if dtype.hasobject or dtype.kind not in "biuf":
        raise _bad(shown, f"holds {safe_text(dtype, 40)}; only numbers are read")
    count = math.prod(shape)
    length = count * dtype.itemsize
    if count < 0 or length > min(MAX_BYTES, size):
        raise _bad(shown, f"claims {length:,} bytes of shape {safe_text(shape, 60)} in {size:,}")
    data = bytearray(length)
    view, done = memoryview(data), 0
    while done < length:
        piece = stream.read(min(2**24, length - done))
        if not piece:
            raise _bad(shown, f"ends after {done:,} of {length:,} bytes")
        view[done : done + len(piece)] = piece
        done += len(piece)
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    kind = {"f": np.float32, "b": np.uint8}.get(dtype.kind, np.uint8 if dtype == np.uint8 else np.int64)
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.ascontiguousarray(values, kind))


def _bad(shown: str, what: object) -> GenctlError:
    return GenctlError("data-format", f"{shown}: not an array file: {safe_text(what)}", "write it with numpy.savez or numpy.save")
