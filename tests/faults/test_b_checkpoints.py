"""Group B: hostile or wrong checkpoints. Every one is refused with its reason, runs nothing, and costs neither time nor memory."""

import io
import json
import os
import pickle
import random
import resource
import shutil
import struct
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

from genctl import checkpoint, durable, header
from genctl.errors import GenctlError
from tests.faults import tools
from tests.faults.tools import cli, copy_of_run, here, last

FORBIDDEN = ("pickle.find_class", "exec", "os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.posix_spawn")
watching: list[str] = []  # audit events seen while `audited` is open
armed = False


def _listen(event: str, args: tuple) -> None:
    if event == "exec" and os.path.isfile(getattr(args[0], "co_filename", "")):
        return  # an import of a module that lies on the disk
    if armed and (event in FORBIDDEN or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))):
        watching.append(f"{event} {args[:2]}")


sys.addaudithook(_listen)


@pytest.fixture
def audited():
    """No forbidden event while a hostile file is looked at. Imports are over."""
    global armed
    good()
    watching.clear()
    armed = True
    yield
    armed = False
    assert not watching, watching[:5]


def good() -> Path:
    return last(tools.trained()) / durable.MODEL


def refused(path: Path, *ids: str) -> str:
    """Loading raises one of the ids, quickly; returns what it said."""
    started = time.process_time()
    with pytest.raises(GenctlError) as caught:
        checkpoint.load(path)
    assert time.process_time() - started < tools.limit(0.5)
    assert not ids or caught.value.id in ids, caught.value
    assert caught.value.code in (65, 66, 77)
    assert len(str(caught.value)) < 700
    return str(caught.value)


def raw(tree: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def put(path: Path, data: bytes) -> None:
    """Writes without the audit event of open()."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)


def pieces() -> tuple[dict, bytes]:
    """The header and the tensor bytes of a small sound file."""
    whole = checkpoint.pack({"first": torch.zeros(4), "second": torch.ones(2, 3)}, {"format": 1})
    (n,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + n]), whole[8 + n :]


def described(change) -> bytes:
    """A good file whose description was changed and sealed again: its digest is valid."""
    head, tensors = checkpoint.unpack(good())
    meta = json.loads(json.dumps(head.meta))
    changed = change(meta)
    return checkpoint.pack(tensors, meta if changed is None else changed)


def test_11_truncated_at_any_byte(tmp_path, audited, figure):
    whole, path, dice = good().read_bytes(), tmp_path / "m.safetensors", random.Random(0)
    cuts = [*range(24), *(dice.randrange(len(whole)) for _ in range(tools.times(200)))]
    for cut in cuts:
        put(path, whole[:cut])
        refused(path, "ckpt-truncated", "ckpt-format")
    figure(f"{len(cuts)} offsets, all refused")


def test_11_what_is_no_file(tmp_path):
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    here("sample", "--ckpt", empty, rc=65, id="ckpt-truncated")
    here("sample", "--ckpt", tmp_path, rc=66, id="no-input")
    here("sample", "--ckpt", "/dev/zero", rc=65, id="ckpt-format")
    here("sample", "--ckpt", fifo, rc=65, id="ckpt-format")
    here("sample", "--ckpt", tmp_path / "absent", rc=66, id="no-input")
    here("inspect", empty, rc=65)


def test_11_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path, real = tmp_path / "m.safetensors", os.open

    def deny(p, *rest, **named):
        if str(p) == str(path):
            raise PermissionError(13, "Permission denied")
        return real(p, *rest, **named)

    path.write_bytes(good().read_bytes())
    monkeypatch.setattr(os, "open", deny)
    here("sample", "--ckpt", path, rc=77, id="permission")


def test_12_one_bit_flipped_anywhere(tmp_path, audited, figure):
    whole, path, dice = good().read_bytes(), tmp_path / "m.safetensors", random.Random(1)
    flips = tools.times(500)
    for _ in range(flips):
        data = bytearray(whole)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        put(path, bytes(data))
        refused(path)
    figure(f"{flips} flips, 0 accepted")


def test_12_one_bit_flipped_in_a_run(tmp_path, figure):
    """All three files of a step are covered."""
    run = copy_of_run(tmp_path / "run")
    home, dice, flips = run / "checkpoints", random.Random(2), tools.times(200)
    paths = [last(run) / n for n in (durable.MODEL, durable.RESUME, durable.MANIFEST)]
    whole = {p: p.read_bytes() for p in paths}
    for i in range(flips):
        path = paths[i % 3]
        data = bytearray(whole[path])
        at, bit = dice.randrange(len(data)), dice.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(data)
        if durable.verified(home, 6) is not None:  # a blank of the manifest's layout became another blank
            assert path.name == durable.MANIFEST
            assert json.loads(data) == json.loads(whole[path])
        path.write_bytes(whole[path])
    figure(f"{flips} flips in runs, 0 accepted")


def lies() -> dict[str, bytes]:
    head, data = pieces()
    name = next(k for k in head if k != "__metadata__")
    one = head[name]

    def with_(**change) -> bytes:
        return raw({**head, name: {**one, **change}}, data)

    begin, end = one["data_offsets"]
    other = next(k for k in head if k not in (name, "__metadata__"))
    return {
        "length 100 GB": raw(head, data, 10**11),
        "length 2^64-1": raw(head, data, 2**64 - 1),
        "length 99 MB": raw(head, data, 99 * 10**6),
        "length 0": raw(head, data, 0),
        "length 1": raw(head, data, 1),
        "overlap": raw({**head, other: {**head[other], "data_offsets": one["data_offsets"]}}, data),
        "hole": raw(head | {name: {**one, "data_offsets": [begin + 4, end + 4]}}, data + b"0000"),
        "reversed": with_(data_offsets=[end, begin]),
        "negative": with_(data_offsets=[-4, end]),
        "overflow": with_(data_offsets=[2**64, 2**64 + end - begin]),
        "past the end": with_(data_offsets=[begin + 2**30, end + 2**30]),
        "shape 2^40": with_(shape=[2**40]),
        "shape 2^63 x 2^63": with_(shape=[2**63, 2**63]),
        "shape overflows to 0": with_(shape=[2**32, 2**32]),
        "shape of floats": with_(shape=[1.0]),
        "shape of booleans": with_(shape=[True]),
        "offsets are three": with_(data_offsets=[begin, end, end]),
        "rank 100": with_(shape=[1] * 100),
        "huge number": raw(json.dumps(head).replace(f"[{begin}, {end}]", f"[{begin}, {'9' * 5000}]").encode(), data),
        "more bytes": raw(head, data + b"\0"),
    }


@pytest.mark.parametrize("name", lies())
def test_13_the_header_lies(name, tmp_path, audited):
    path, before = tmp_path / "m.safetensors", tools.resident_mb()
    put(path, lies()[name])
    refused(path, "ckpt-header", "ckpt-truncated", "ckpt-format")
    assert tools.resident_mb() - before < 32


def test_14_a_valid_header_of_87_mb(tmp_path, figure):
    path = tmp_path / "bomb.safetensors"
    one = b'"%07d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = b"{" + b",".join(one % i for i in range(1_400_000)) + b"}"
    path.write_bytes(raw(text))
    started, before = time.process_time(), tools.resident_mb()
    with pytest.raises(GenctlError) as caught:
        checkpoint.load(path)
    seconds = time.process_time() - started
    assert caught.value.id == "ckpt-header"
    assert seconds < 0.1
    assert tools.resident_mb() - before < 16
    figure(f"{len(text) / 1e6:.0f} MB header refused in {seconds * 1000:.1f} ms")


def test_14_the_largest_header_that_is_read(tmp_path, figure):
    path = tmp_path / "large.safetensors"
    text = b"{" + b",".join(b'"%07d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(140_000)) + b"}"
    path.write_bytes(raw(text[: 8 * 2**20]))
    started = time.process_time()
    with pytest.raises(GenctlError):
        checkpoint.load(path)
    figure(f"8 MB header refused in {time.process_time() - started:.2f} s")
    assert time.process_time() - started < tools.limit(1.5)


def oddities() -> dict[str, bytes]:
    head, data = pieces()
    text, name = json.dumps(head), next(k for k in head if k != "__metadata__")
    one = json.dumps(head[name])

    def renamed(new: str) -> bytes:
        return raw({new if k == name else k: v for k, v in head.items()}, data)

    return {
        "duplicate tensor": raw((text[:-1] + f', "{name}": {one}}}').encode(), data),
        "duplicate metadata": raw((text[:-1] + ', "__metadata__": {}}').encode(), data),
        "duplicate key inside": raw(text.replace('"dtype": "F32"', '"dtype": "F32", "dtype": "F32"', 1).encode(), data),
        "leading space": raw(b" " + text.encode(), data),
        "unknown field": raw({**head, name: {**head[name], "more": 1}}, data),
        "unknown dtype": raw({**head, name: {**head[name], "dtype": "F128"}}, data),
        "sub-byte dtype": raw({**head, name: {**head[name], "dtype": "F4"}}, data),
        "control characters": renamed("a\x1b[31m\n"),
        "bidi characters": renamed("a\u202eb"),
        "path": renamed("../../etc/passwd"),
        "long name": renamed("a" * 10**5),
        "empty name": renamed(""),
        "an array": raw([head], data),
        "not UTF-8": raw(text.encode().replace(name.encode(), b"\xff" * len(name), 1), data),
        "NaN": raw(text.replace('"shape": [', '"shape": [NaN, ', 1).encode(), data),
        "deep": raw(b'{"a":' * 100_000, data),
        "metadata of numbers": raw({**head, "__metadata__": {"genctl": 1}}, data),
        "no metadata": raw({k: v for k, v in head.items() if k != "__metadata__"}, data),
        "trailing garbage": raw(text.encode() + b"x", data),
        "null": raw(b"null", data),
    }


@pytest.mark.parametrize("name", oddities())
def test_15_odd_headers(name, tmp_path, audited):
    path = tmp_path / "m.safetensors"
    put(path, oddities()[name])
    said = refused(path)
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_15_mutants(tmp_path, audited, figure):
    """Bytes set, copied, removed and inserted, mostly in the header: refused, or the very same model."""
    whole, path, dice = good().read_bytes(), tmp_path / "m.safetensors", random.Random(3)
    (n,) = struct.unpack("<Q", whole[:8])
    number, same, worst = tools.times(2000), 0, 0.0
    tokens = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"9", b"-", b"\\", b"null", b"1e9", b"\\u0000", b"\xff"]
    for _ in range(number):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(n + 8) if dice.random() < 0.8 else dice.randrange(len(data))
            kind = dice.randrange(4)
            if kind == 0:
                data[at] = dice.randrange(256)
            elif kind == 1:
                del data[at : at + dice.randint(1, 8)]
            elif kind == 2:
                data[at:at] = dice.choice(tokens)
            else:
                start = dice.randrange(n)
                data[at : at + 8] = data[start : start + 8]
        put(path, bytes(data))
        started = time.process_time()
        try:
            model = checkpoint.load(path)[0]
            want = checkpoint.load(good())[0].state_dict()
            assert all(torch.equal(v, want[k]) for k, v in model.state_dict().items()), "other tensors were accepted"
            same += 1
        except GenctlError as e:
            assert e.code == 65, e  # noqa: PT017
        worst = max(worst, time.process_time() - started)
    figure(f"{number} mutants, 0 deaths, 0 wrong tensors accepted, {same} unchanged, worst {worst * 1000:.0f} ms")


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def foreign(marker: Path) -> dict[str, bytes]:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(Payload(marker)))
    numpy = io.BytesIO()
    import numpy as np

    np.savez(numpy, x=np.zeros(3))
    return {
        "weights.pt": box.getvalue(),
        "model.ckpt": box.getvalue(),
        "pytorch_model.bin": pickle.dumps(Payload(marker)),
        "model.safetensors": pickle.dumps(Payload(marker)),
        "protocol0.safetensors": pickle.dumps(Payload(marker), 0),
        "arrays.npz": numpy.getvalue(),
        "model.gguf": b"GGUF" + bytes(100),
        "lfs.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "text.safetensors": b"hello, this is a text file of some length\n",
        "page.safetensors": b"<!DOCTYPE html><html><body>404</body></html>",
    }


@pytest.mark.parametrize("name", foreign(Path("/nowhere")))
def test_16_foreign_formats(name, tmp_path, audited):
    marker, path = tmp_path / "marker", tmp_path / name
    put(path, foreign(marker)[name])
    assert "safetensors" in refused(path, "ckpt-format") or "git lfs" in refused(path)
    assert not marker.exists()


def test_16_through_every_command(tmp_path):
    marker = tmp_path / "marker"
    dcp = tmp_path / "dcp"
    dcp.mkdir()
    (dcp / ".metadata").write_bytes(pickle.dumps(Payload(marker)))
    (dcp / "__0_0.distcp").write_bytes(b"\0" * 100)
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Payload(marker)))
    here("sample", "--ckpt", dcp, rc=65, id="ckpt-format")
    for command in (["sample", "--ckpt", path], ["inspect", path], ["train", *tools.TINY, "--init-from", path, "--out", tmp_path / "r"]):
        here(*command, rc=65, id="ckpt-format")
    run = copy_of_run(tmp_path / "run")
    shutil.copy(path, last(run) / durable.MODEL)
    assert "resumed from step 4" in here("train", "--resume", run, "train.steps=7", id="ckpt-skipped").err
    cli("sample", "--ckpt", path, rc=65, id="ckpt-format")  # and as a process of its own
    assert not marker.exists()


CODE = {
    "target": lambda m: m["recipe"]["model"].update(_target_="os.system"),
    "family": lambda m: (m.update(family="os.system"), m["recipe"].update(family="os.system"))[-1],
    "family with a path": lambda m: (m.update(family="../../evil"), m["recipe"].update(family="../../evil"))[-1],
    "yaml tag": lambda m: m["recipe"]["model"].update(network="!!python/object/apply:os.system ['touch marker']"),
    "template": lambda m: m["recipe"]["model"].update(network="{{7*7}}"),
    "dunder": lambda m: m["recipe"]["model"].update(__class__="os.system"),
    "data import": lambda m: m["recipe"]["data"].update(name="os"),
    "data path": lambda m: m["recipe"].update(data={"name": "genctl.data.digits"}),
    "medium": lambda m: m["spec"].update(media="os"),
    "medium with a path": lambda m: m["spec"].update(media="../cli/app"),
    "family disagrees": lambda m: m.update(family="gan"),
    "no recipe": lambda m: m.pop("recipe") and None,
    "no spec": lambda m: m.pop("spec") and None,
    "recipe is a list": lambda m: m.update(recipe=[1]),
    "spec is text": lambda m: m.update(spec="x"),
    "shape is text": lambda m: m["spec"].update(shape="888"),
    "shape is empty": lambda m: m["spec"].update(shape=[]),
    "shape of rank 9": lambda m: m["spec"].update(shape=[1] * 9),
    "codec is a list": lambda m: m["spec"].update(codec=[1]),
    "spec in spec in spec": lambda m: m["spec"].update(given={"a": {"shape": [1], "given": {"b": {"shape": [1], "given": 3}}}}),
    "unknown spec key": lambda m: m["spec"].update(run="code"),
    "format 2": lambda m: m.update(format=2),
    "format 0": lambda m: m.update(format=0),
    "format text": lambda m: m.update(format="1"),
    "format true": lambda m: m.update(format=True),
}


@pytest.mark.parametrize("name", CODE)
def test_17_metadata_as_code(name, tmp_path, audited, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "m.safetensors", described(CODE[name]))
    refused(tmp_path / "m.safetensors", "ckpt-meta", "ckpt-content")
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize(
    "codec", [{"names": ["a"]}, {"names": 5}, {"symbols": 5}, {"columns": 7}, {"names": {"a": 1}}, {"symbols": ["a"]}, {"columns": [None]}]
)
def test_17_a_codec_that_is_not_one(codec, tmp_path):
    """What the medium needs is checked where it is used: an error or samples, never a traceback."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(described(lambda m: m["spec"].update(codec=codec, given={"label": {"shape": [], "vocab": 3, "codec": codec}})))
    done = here("sample", "--ckpt", path, "-n", 2, "--out", tmp_path / "s", rc={0, 65})
    assert done.rc == (0 if codec == {"names": ["a"]} else 65)
    here("inspect", path)


def test_17_loading_opens_nothing_it_names(tmp_path):
    """A path in a checkpoint's recipe is never opened by sampling."""
    trap = tmp_path / "trap"
    trap.write_text("x")
    path = tmp_path / "m.safetensors"
    path.write_bytes(described(lambda m: m["recipe"]["data"].update(path=str(trap))))
    opened: list[str] = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and str(args[0]) == str(trap) else None)
    here("sample", "--ckpt", path, "-n", 2, "--out", tmp_path / "s")
    here("inspect", path)
    assert not opened


BOMBS = {
    "latent": lambda m: m["recipe"]["model"].update(latent=2**24),
    "latent at the bound": lambda m: m["recipe"]["model"].update(latent=4096, hidden=[65536, 65536, 65536]),
    "layers": lambda m: m["recipe"]["model"].update(hidden=[4] * 17),
    "many layers": lambda m: m["recipe"]["model"].update(hidden=[4] * 10_000),
    "widths": lambda m: m["recipe"]["model"].update(network="mlp", hidden=[65536] * 16),
    "width 2^40": lambda m: m["recipe"]["model"].update(hidden=[2**40]),
    "image 10^6": lambda m: m["spec"].update(shape=[1, 10**6, 10**6]),
    "image 2^30": lambda m: (m["recipe"]["model"].update(network="mlp"), m["spec"].update(shape=[2**30, 2**30, 2**30]))[-1],
    "vocab 2^40": lambda m: m["spec"].update(vocab=2**40),
    "number of 20 digits": lambda m: m["spec"].update(vocab=10**19),
    "chunk": lambda m: m["recipe"]["sample"].update(chunk=10**9),
}


@pytest.mark.parametrize("name", BOMBS)
def test_18_architecture_bombs(name, tmp_path, audited):
    before = tools.resident_mb()
    put(tmp_path / "m.safetensors", described(BOMBS[name]))
    refused(tmp_path / "m.safetensors", "ckpt-meta", "ckpt-content")
    assert tools.resident_mb() - before < 64


@pytest.mark.slow
def test_18_under_an_address_limit(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(described(BOMBS["widths"]))
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))  # noqa: E731
    cli("sample", "--ckpt", path, rc=65, preexec_fn=limit)


def tensors_changed(change) -> bytes:
    head, tensors = checkpoint.unpack(good())
    change(tensors)
    return checkpoint.pack(tensors, head.meta)


WEIGHTS = {
    "missing": lambda t: t.pop(min(t)),
    "unexpected": lambda t: t.update(more=torch.zeros(2)),
    "other shape": lambda t: t.update({min(t): torch.zeros(3, 3)}),
    "other dtype": lambda t: t.update({min(t): t[min(t)].double()}),
    "nan": lambda t: t.update({min(t): t[min(t)] * float("nan")}),
    "inf": lambda t: t.update({min(t): t[min(t)] + float("inf")}),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_19_weights_that_do_not_fit(name, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(tensors_changed(WEIGHTS[name]))
    said = here("sample", "--ckpt", path, "-n", 2, "--out", tmp_path / "s", rc=65, id="ckpt-content").err
    assert "log_sigma" in said or "tensor" in said
    assert not (tmp_path / "s").exists()


def test_19_many_differences_name_three(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(described(lambda m: m["recipe"]["model"].update(hidden=[4, 8])))
    assert "more" in refused(path, "ckpt-content")


def test_19_resume_with_another_recipe(tmp_path):
    """Keys that bend the path of training may not change; keys of the run may."""
    run = copy_of_run(tmp_path / "run")
    for change in ("model.latent=3", "train.seed=1", "train.batch=8", "data.flip=true", "train.lr=1e-4", "train.ema=0.5"):
        assert change.split("=")[0] in here("train", "--resume", run, change, rc=78, id="ckpt-mismatch").err
    other = tmp_path / "other.yaml"
    other.write_text((run / "recipe.yaml").read_text().replace("family: vae", "family: nothing"))
    here("train", other, "--resume", run, rc=78)
    done = here(
        "train", "--resume", run, "train.steps=7", "train.save_every=5", "train.log_every=1", "train.keep=1", "guard.collapse=ignore"
    )
    assert "resumed from step 6" in done.err


@pytest.mark.slow
def test_19_every_family_against_every_other(tmp_path, figure):
    """A checkpoint of one family under any other family's recipe is refused, naming both."""
    from tests.cases import CASES, train_case

    names = [n for n, c in CASES.items() if c.cls().__name__]
    runs = {name: train_case(name, tmp_path / name, steps=2) for name in names}
    pairs = 0
    for a, path in runs.items():
        head, tensors = checkpoint.unpack(path)
        for b, other in runs.items():
            meta = header.read(other).meta
            if meta["family"] != head.meta["family"]:
                mixed = tmp_path / "mixed.safetensors"
                mixed.write_bytes(checkpoint.pack(tensors, meta))
                with pytest.raises(GenctlError) as caught:
                    checkpoint.load(mixed)
                assert caught.value.id == "ckpt-content", (a, b)
                pairs += 1
    figure(f"{pairs} pairs of families refused")
