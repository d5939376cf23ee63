"""The header of a safetensors file, read and checked without torch: what it is, and whether it can be what it claims.

Every byte is hostile until shown otherwise (SECURITY.md). Nothing here allocates by a number that the file states.
Format: https://huggingface.co/docs/safetensors - 8 bytes little-endian N, N bytes of JSON, then the tensors without holes.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genctl.errors import GenctlError, safe_text

FORMAT = 1
MAX_HEADER, MAX_TENSORS, MAX_NAME, MAX_META = 8 * 2**20, 65_536, 256, 2**16
WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as PyTorch's .pt files and .npz are", "genctl reads only safetensors (a pickle can run code)"),
    (b"\x80", "a Python pickle", "genctl reads only safetensors (a pickle can run code)"),
    (b"\x93NUMPY", "a NumPy array file", "genctl reads only safetensors"),
    (b"GGUF", "a GGUF file", "genctl reads only safetensors"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with: git lfs pull"),
)


@dataclass(frozen=True)
class Header:
    """What a checkpoint file says of itself. `tensors`: name -> (dtype, shape); `meta`: the JSON under `genctl`."""

    path: str
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    meta: dict[str, Any]
    digest: str
    text: str  # what the digest covers of the description
    size: int


def bad(id: str, path: object, what: str, try_: str | None = None) -> GenctlError:
    return GenctlError(id, f"{safe_text(os.path.basename(str(path)))}: {what}", try_)


def open_regular(path: Path) -> int:
    """A descriptor of a regular file that may be read; GenctlError (no-input, permission, ckpt-format) otherwise."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise GenctlError("no-input", f"no such file: {safe_text(path)}") from None
    except PermissionError:
        raise GenctlError("permission", f"{safe_text(path)} may not be read") from None
    except (OSError, ValueError) as e:
        raise GenctlError("no-input", f"{safe_text(path)}: {safe_text(e)}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise bad("ckpt-format", path, "not a regular file")
    return fd


def read(path: Path, own: bool = True) -> Header:
    """The checked header of a checkpoint file, in milliseconds whatever its size. own=False: of any safetensors file, without `meta`."""
    fd = open_regular(path)
    try:
        size = os.fstat(fd).st_size
        head = _read(fd, min(size, 8))
        length = _length(path, head + _read(fd, min(max(size - 8, 0), 32)), size)
        os.lseek(fd, 8, os.SEEK_SET)
        return parse(path, _read(fd, length), size, own)
    except OSError as e:
        raise bad("io", path, safe_text(e)) from None
    finally:
        os.close(fd)


def from_bytes(path: Path, data: bytes) -> Header:
    """The checked header of a whole file held in memory."""
    length = _length(path, data[:40], len(data))
    return parse(path, data[8 : 8 + length], len(data))


def _read(fd: int, n: int) -> bytes:
    out = bytearray()
    while len(out) < n and (piece := os.read(fd, n - len(out))):
        out += piece
    return bytes(out)


def _length(path: Path, start: bytes, size: int) -> int:
    for magic, what, why in _FOREIGN:
        if start.startswith(magic) and not (magic == b"\x80" and start[8:9] == b"{"):
            raise bad("ckpt-format", path, f"this is {what}", why)
    if size < 9:
        raise bad("ckpt-truncated", path, f"{size} bytes is too short for a checkpoint")
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER and start[8:9] == b"{" and 8 + length <= size:
        raise bad("ckpt-header", path, f"header is {length / 2**20:.0f} MB, limit {MAX_HEADER // 2**20} MB")
    if start[8:9] != b"{":
        raise bad("ckpt-format", path, "not a safetensors file", "genctl reads only safetensors")
    if 8 + length > size:
        raise bad("ckpt-truncated", path, f"{size} bytes, the header alone promises {8 + length}")
    return length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name appears twice")
    return out


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not accepted")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number is too long")
    return int(text)


def parse(path: Path, raw: bytes, size: int, own: bool = True) -> Header:
    """Checks the JSON of a header against the size of its file."""
    if raw.count(b'"data_offsets"') > MAX_TENSORS:
        raise bad("ckpt-header", path, f"more than {MAX_TENSORS} tensors")
    try:
        tree = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse, parse_int=_integer)
    except (ValueError, RecursionError) as e:
        raise bad("ckpt-header", path, f"header is not valid: {safe_text(e, 80)}") from None
    if not isinstance(tree, dict):
        raise bad("ckpt-header", path, "header is not an object")
    metadata = tree.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise bad("ckpt-header", path, "metadata must be text by name")
    if len(tree) > MAX_TENSORS:
        raise bad("ckpt-header", path, f"{len(tree)} tensors, limit {MAX_TENSORS}")
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    spans: list[tuple[int, int]] = []
    for name, info in tree.items():
        tensors[name], span = _tensor(path, name, info)
        spans.append(span)
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise bad("ckpt-header", path, "tensors overlap or leave a hole")
        end = stop
    if 8 + len(raw) + end != size:
        raise bad("ckpt-truncated", path, f"{size} bytes, header promises {8 + len(raw) + end}")
    meta, text = _meta(path, metadata) if own else ({}, "")
    return Header(str(path), tensors, meta, str(meta.pop("sha256", "")), text, size)


def _tensor(path: Path, name: str, info: Any) -> tuple[tuple[str, tuple[int, ...]], tuple[int, int]]:
    shown = safe_text(name, 60)
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise bad("ckpt-header", path, f"tensor name '{shown}' is not {MAX_NAME} printable characters or fewer")
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise bad("ckpt-header", path, f"tensor '{shown}' must have dtype, shape and data_offsets")
    dtype, shape, span = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in WIDTH:
        raise bad("ckpt-header", path, f"tensor '{shown}' has an unknown dtype '{safe_text(dtype, 20)}'")
    for numbers in (shape, span):
        if not isinstance(numbers, list) or not all(type(v) is int and 0 <= v < 2**48 for v in numbers) or len(numbers) > 16:
            raise bad("ckpt-header", path, f"tensor '{shown}' has a shape or offsets that are not sizes")
    if len(span) != 2 or span[1] - span[0] != math.prod(shape) * WIDTH[dtype]:
        raise bad("ckpt-header", path, f"tensor '{shown}': its offsets do not fit its shape and dtype")
    return (dtype, tuple(shape)), (span[0], span[1])


def seal(text: str, sha: str) -> str:
    """The description (a JSON object) with its sha256 as the last entry. One metadata entry keeps files equal byte by byte."""
    return f'{text[:-1]},"sha256":"{sha}"}}'


_SEAL = re.compile(r',"sha256":"[0-9a-f]{64}"}$')


def _meta(path: Path, metadata: dict[str, str]) -> tuple[dict[str, Any], str]:
    text = metadata.get("genctl")
    if text is None:
        raise bad("ckpt-meta", path, "not written by genctl: there is no 'genctl' entry in its metadata")
    if len(text) > MAX_META:
        raise bad("ckpt-meta", path, f"its description is {len(text) // 1024} KB, limit {MAX_META // 1024} KB")
    try:
        meta = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer)
    except (ValueError, RecursionError) as e:
        raise bad("ckpt-meta", path, f"its description is not valid: {safe_text(e, 80)}") from None
    if not isinstance(meta, dict):
        raise bad("ckpt-meta", path, "its description is not an object")
    check_format(path, meta.get("format"))
    return meta, _SEAL.sub("}", text)


def check_format(path: Path, number: object) -> None:
    if type(number) is not int or number < 1:
        raise bad("ckpt-meta", path, f"its format '{safe_text(number, 20)}' is not a number from 1 to {FORMAT}")
    if number > FORMAT:
        raise bad("ckpt-meta", path, f"format {number}, this genctl reads up to {FORMAT}", "upgrade genctl")


def digest(meta: str, tensors: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> str:
    """sha256 over the description and every tensor (name, dtype, shape, bytes) in the order of their names."""
    sha = hashlib.sha256(meta.encode())
    for name, dtype, shape, data in sorted(tensors, key=lambda t: t[0]):
        sha.update(f"\n{name} {dtype} {list(shape)}\n".encode())
        sha.update(data)
    return sha.hexdigest()
