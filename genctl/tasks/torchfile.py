"""Reads the tensors of a PyTorch .pth file without unpickling it: the opcodes are walked, nothing they name is ever called.

Both layouts are read: the zip of torch >= 1.6 and the older row of pickles. A state dict of plain tensors is all that is understood;
anything else is refused. Format: torch/serialization.py; opcodes: the standard library's pickletools.
"""

import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.errors import GenctlError, safe_text

STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_OPCODES = 2_000_000


@dataclass(frozen=True)
class Name:
    """A global that the pickle names; only ever compared."""

    module: str
    attribute: str


@dataclass(frozen=True)
class Call:
    """A call that the pickle asks for; never made."""

    function: Any
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Stored:
    """A reference to a storage: its key, dtype and number of elements."""

    key: str
    dtype: torch.dtype
    count: int


def read(path: Path) -> dict[str, Tensor]:
    """name -> tensor. Raises GenctlError (ckpt-format) for anything but a state dict of plain tensors."""
    try:
        with path.open("rb") as f:
            start = f.read(4)
        return _zipped(path) if start == b"PK\x03\x04" else _legacy(path.read_bytes())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as e:
        raise GenctlError("ckpt-format", f"{safe_text(path)}: not a state dict of plain tensors: {safe_text(e)}") from None


def _zipped(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        described = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        root = described.removesuffix("data.pkl")
        tree, _ = walk(archive.read(described), 0)
        return _tensors(tree, lambda s: archive.read(f"{root}data/{s.key}"))


def _legacy(data: bytes) -> dict[str, Tensor]:
    at, values = 0, []
    for _ in range(5):  # magic number, protocol, system, the object, the keys of its storages
        value, at = walk(data, at)
        values.append(value)
    if values[0] != 0x1950A86A20F9469CFC6C:
        raise ValueError("its magic number is not PyTorch's")
    sizes = {s.key: s.count * s.dtype.itemsize for s in _stored(values[3])}
    raw: dict[str, bytes] = {}
    for key in values[4]:
        if int.from_bytes(data[at : at + 8], "little") * 1 > len(data):
            raise ValueError("a storage is longer than the file")
        raw[key] = data[at + 8 : at + 8 + sizes[key]]
        at += 8 + sizes[key]
    return _tensors(values[3], lambda s: raw[s.key])


def _items(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError("it is not a state dict")
    return {str(k): v for k, v in tree.items() if isinstance(v, Call)}


def _stored(tree: Any) -> list[Stored]:
    return [v.arguments[0] for v in _items(tree).values()]


def _tensors(tree: Any, fetch: Callable[[Stored], bytes]) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, call in _items(tree).items():
        if call.function != Name("torch._utils", "_rebuild_tensor_v2"):
            if call.function == Name("torch._utils", "_rebuild_parameter"):
                call = call.arguments[0]
            else:
                raise ValueError(f"'{safe_text(name, 60)}' is not a plain tensor")
        stored, offset, size, stride = call.arguments[:4]
        raw = fetch(stored)
        flat = torch.frombuffer(bytearray(raw), dtype=stored.dtype) if raw else torch.empty(0, dtype=stored.dtype)
        end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if math.prod(size) else offset
        if not 0 <= offset <= end <= len(flat) or any(n < 0 for n in (*size, *stride)):
            raise ValueError(f"'{safe_text(name, 60)}' reaches outside its storage")
        out[name] = flat.as_strided(size, stride, offset).clone()
    return out


def walk(data: bytes, at: int) -> tuple[Any, int]:
    """The value that the pickle at `at` describes, with Name, Call and Stored in place of objects; and where it ends."""
    stream = io.BytesIO(data)
    stream.seek(at)
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    for count, (op, arg, _) in enumerate(pickletools.genops(stream)):
        if count > MAX_OPCODES:
            raise ValueError("too many opcodes")
        name = op.name
        if name == "STOP":
            return stack.pop(), stream.tell()
        if name in ("PROTO", "FRAME"):
            continue
        if name == "MARK":
            marks.append(len(stack))
        elif name in (
            "BININT",
            "BININT1",
            "BININT2",
            "LONG1",
            "INT",
            "LONG",
            "BINUNICODE",
            "SHORT_BINUNICODE",
            "UNICODE",
            "BINFLOAT",
            "BINSTRING",
            "SHORT_BINSTRING",
        ):
            stack.append(arg)
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
            stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
        elif name == "GLOBAL":
            stack.append(Name(*str(arg).split(" ", 1)))
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[int(arg or 0)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(arg or 0)])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "SETITEMS":
            pairs = since_mark()
            stack[-1].update(zip(pairs[::2], pairs[1::2]))
        elif name == "APPEND":
            stack[-2].append(stack[-1])
            stack.pop()
        elif name == "APPENDS":
            more = since_mark()
            stack[-1].extend(more)
        elif name == "REDUCE":
            arguments = stack.pop()
            function = stack.pop()
            stack.append({} if function == Name("collections", "OrderedDict") else Call(function, arguments))
        elif name == "BUILD":
            stack.pop()  # attributes of a dict subclass (state_dict's _metadata): not needed
        elif name == "BINPERSID":
            kind, storage, key, _, number, *_ = stack.pop()
            if kind != "storage" or storage.module != "torch" or storage.attribute not in STORAGES:
                raise ValueError("an unknown kind of storage")
            stack.append(Stored(str(key), STORAGES[storage.attribute], int(number)))
        else:
            raise ValueError(f"opcode {name} has no place in a state dict")
    raise ValueError("the pickle has no end")
