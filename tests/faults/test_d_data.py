"""Group D: data. The readers' own tests (tests/test_readers.py) go through every format; here is what `genctl train` makes of it."""

import csv
import io
import os
import stat
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults import checker, tools
from tests.faults.tools import cli, here


def recipe(where: Path, data: str, family: str = "vae", model: str = "{hidden: [8], latent: 2}", train: str = "") -> Path:
    path = where / "recipe.yaml"
    path.write_text(f"family: {family}\ndata: {data}\nmodel: {model}\ntrain: {{steps: 2, batch: 4, sample_every: 100000{train}}}\n")
    return path


def train(where: Path, data: str, rc: int = 0, id: str | None = None, **named: str) -> tools.Result:
    """Trains two steps on it; a refusal leaves no run behind."""
    done = here("train", recipe(where, data, **named), "--out", where / "run", "--device", "cpu", rc=rc, id=id)
    assert (where / "run").exists() == (rc == 0)
    return done


def pictures(folder: Path, count: int, size: int = 12) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    dice = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(dice.integers(0, 256, (size, size + i % 3, 3), dtype=np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def images(path: Path, more: str = "") -> str:
    return f"{{name: images, path: '{path}', size: 8{more}}}"


def png(w: int, h: int, data: bytes = b"", text: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(text)) if text else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + bomb
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def test_26_missing_empty_and_few(tmp_path):
    train(tmp_path, images(tmp_path / "absent"), 66, "no-input")
    (tmp_path / "empty").mkdir()
    train(tmp_path, images(tmp_path / "empty"), 65, "data-empty")
    other = tmp_path / "other"
    other.mkdir()
    for i in range(12):
        (other / f"{i}.txt").write_text("x")
    assert ".txt 12" in train(tmp_path, images(other), 65, "data-empty").err
    assert "warning[data-few]" in train(tmp_path, images(pictures(tmp_path / "one", 1))).err


def test_26_fewer_than_a_batch(tmp_path):
    assert "fill a batch of 4 by repetition" in train(tmp_path, images(pictures(tmp_path / "three", 3), ", valid: 0, test: 0")).err


def test_27_bad_pictures_are_skipped_and_counted(tmp_path):
    good = pictures(tmp_path / "mixed", 64)
    whole = (good / "000.png").read_bytes()
    spoiled = {"a.png": b"", "b.png": whole[: len(whole) // 2], "c.jpg": b"this is text"}
    (good / "a.png").write_bytes(spoiled["a.png"])
    assert "warning[data-bad]: 1 of 65" in train(tmp_path, images(good)).err
    for name, data in spoiled.items():
        (good / name).write_bytes(data)
    said = train_again(tmp_path, images(good), 65, "data-bad")
    assert "3 of 67" in said.err
    assert "a.png" in said.err
    first, second = (train_again(tmp_path, images(good, ", max_bad: 0.1"), n=n) for n in (1, 2))
    assert checker.digest(tools.last(tmp_path / "run1")) == checker.digest(tools.last(tmp_path / "run2"))
    assert "warning[data-bad]: 3 of 67" in first.err
    assert "warning[data-bad]: 3 of 67" in second.err


def train_again(where: Path, data: str, rc: int = 0, id: str | None = None, n: int = 0) -> tools.Result:
    return here("train", recipe(where, data), "--out", where / f"run{n}", "--device", "cpu", rc=rc, id=id)


def test_28_sizes_and_modes_in_one_folder(tmp_path):
    folder = tmp_path / "modes"
    folder.mkdir()
    for k, (mode, suffix) in enumerate(
        [("1", "png"), ("L", "png"), ("P", "png"), ("RGB", "bmp"), ("RGBA", "png"), ("CMYK", "jpg"), ("YCbCr", "jpg")]
    ):
        Image.new("RGB", (9 + k, 20 - k), (10 * k, 200, 30)).convert(mode).save(folder / f"{k}.{suffix}")
    Image.new("LA", (9, 9), (100, 50)).save(folder / "alpha.png")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "sixteen.png")
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (8, 16), "green").save(folder / "turned.jpg", exif=exif)
    done = train(tmp_path, images(folder))
    assert "data-bad" not in done.err


@pytest.mark.parametrize("bomb", [png(30_000, 30_000), png(12_000, 12_000), png(8, 8, b"\0" * 200, text=b"a" * 10**8), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.4\n", b"<svg/>"],
                         ids=["30000x30000", "12000x12000", "zTXt", "EPS", "PDF", "SVG"])  # fmt: skip
def test_29_bombs_are_skipped(bomb, tmp_path):
    folder, before, started = pictures(tmp_path / "p", 8), tools.resident_mb(), time.process_time()
    (folder / "bomb.png").write_bytes(bomb)
    assert "bomb.png" in train(tmp_path, images(folder), id="data-bad").err
    assert time.process_time() - started < tools.limit(3)
    assert tools.resident_mb() - before < 300


def test_29_arrays_that_lie(tmp_path):
    lying = io.BytesIO()
    np.lib.format.write_array_header_1_0(lying, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for k, data in enumerate((lying.getvalue(), objects.getvalue(), b"\x93NUMPY", b"")):
        path = tmp_path / f"{k}.npy"
        path.write_bytes(data)
        train(tmp_path, f"{{name: npz, path: '{path}'}}", 65)


@pytest.mark.slow
def test_29_a_gigabyte_on_one_line(tmp_path):
    path = tmp_path / "long.txt"
    with path.open("wb") as f:
        for _ in range(1024):
            f.write(b"a" * 2**20)
    train(tmp_path, f"{{name: text, path: '{path}'}}", {0, 65, 71}, family="gpt", model="{layers: 1, width: 16, heads: 2}")


def archive(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(name, data)
    return path


def odd_member(name: str, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o644) << 16
    return info


@pytest.mark.parametrize("member", [odd_member("../evil.png"), odd_member("/tmp/evil.png"), odd_member("a/../../evil.png"), odd_member("C:evil.png"),
                                    odd_member("link.png", stat.S_IFLNK), odd_member("device.png", stat.S_IFCHR), odd_member("fifo.png", stat.S_IFIFO)],
                         ids=lambda m: f"{m.filename} {stat.filemode(m.external_attr >> 16)[0]}")  # fmt: skip
def test_30_archives_that_reach_outside(member, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = archive(inside / "d.zip", (member, png(8, 8, b"\0" * 200)))
    before = checker.listing(tmp_path)
    train(inside, images(path), 65)
    assert {k: v for k, v in checker.listing(tmp_path).items() if not k.endswith("recipe.yaml")} == before
    assert not Path("/tmp/evil.png").exists()


def test_30_ratio_nesting_and_damage(tmp_path):
    for k, path in enumerate([
        archive(tmp_path / "ratio.zip", ("a.png", b"\0" * (64 * 2**20))),
        archive(tmp_path / "nested.zip", ("inner.zip", archive(tmp_path / "inner.zip", ("a.png", b"x")).read_bytes())),
        archive(tmp_path / "none.zip"),
    ]):  # fmt: skip
        train_again(tmp_path, images(path), 65, n=k + 5)
    cut = tmp_path / "cut.zip"
    cut.write_bytes((tmp_path / "ratio.zip").read_bytes()[:-10])
    train_again(tmp_path, images(cut), 65, n=9)


def table(path: Path, rows: list[list[object]]) -> str:
    with path.open("w", newline="") as f:
        csv.writer(f).writerows([["a", "b"], *rows])
    return f"{{name: csv, path: '{path}'}}"


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "1e999"])
def test_31_values_that_are_not_finite(bad, tmp_path):
    train(tmp_path, table(tmp_path / "t.csv", [[i, i * 2] for i in range(20)] + [[bad, 1]]), 65)
    np.save(tmp_path / "x.npy", np.array([[1.0, float(bad)]] * 8, np.float32))
    train(tmp_path, f"{{name: npz, path: '{tmp_path}/x.npy'}}", 65, "data-nonfinite")


def test_31_constant_data_trains(tmp_path):
    done = train(tmp_path, table(tmp_path / "t.csv", [[1, i] for i in range(20)]))
    assert "warning[" in done.err
    assert "nan" not in done.err


@pytest.mark.parametrize(("data", "rc", "id"), [
    (b"abc \xff def" * 50, 65, "data-encoding"), ("h\xe9llo".encode("latin-1") * 50, 65, "data-encoding"), (b"", 65, "data-empty"),
    (b"a", 65, "data-empty"), (b"line\r\nline\r\n" * 50, 0, None), (b"\xf0\x9f\x8e\xb2 emoji " * 40, 0, None),
    (b"short", 0, "data-short"),
], ids=["0xff", "latin-1", "empty", "one byte", "CRLF", "emoji", "short"])  # fmt: skip
def test_32_texts(data, rc, id, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    done = train(tmp_path, f"{{name: text, path: '{path}', length: 16}}", rc, id, family="gpt", model="{layers: 1, width: 16, heads: 2}")
    if id == "data-encoding":
        assert "0xff at offset 4" in done.err or "0xe9 at offset 1" in done.err


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Path:
    """A tiny model of text."""
    where = tmp_path_factory.mktemp("gpt")
    (where / "a.txt").write_text("the cat sat on the mat. " * 40)
    train(where, f"{{name: text, path: '{where}/a.txt', length: 16}}", family="gpt", model="{layers: 1, width: 16, heads: 2}")
    return where / "run"


@pytest.mark.parametrize(("prompt", "rc", "id"), [
    ("the cat", 0, None), ("", 0, None), ("the cat sat on the mat. " * 9, 0, "prompt-length"), ("caf\xe9", 65, "prompt-token"),
    ("\x1b[31m", 65, "prompt-token"), ("\udcff", 65, "prompt-token"), ("Q", 65, "prompt-token"), ("a" * 10**6, 0, "prompt-length"),
], ids=["known", "empty", "long", "unknown", "escape", "not UTF-8", "capital", "a megabyte"])  # fmt: skip
def test_33_prompts(prompt, rc, id, writer, tmp_path):
    here("sample", "--ckpt", writer, "--prompt", prompt, "-n", 2, "--out", tmp_path / "s", rc=rc, id=id)


def test_33_a_long_prompt_under_strict(writer, tmp_path):
    here("sample", "--ckpt", writer, "--prompt", "the cat sat " * 9, "strict=true", "--out", tmp_path / "s", rc=65, id="prompt-length")


def test_33_labels_and_counts(tmp_path):
    """A label outside its range is a usage error that names the range."""
    from tests.cases import train_case

    model = train_case("ddpm", tmp_path / "a", steps=2)
    for label in ("10", "-1", "zebra", "1e3", "9" * 50, ""):
        said = here("sample", "--ckpt", model, "--label", label, "-n", 1, "--out", tmp_path / "s", rc=2, id="usage").err
        assert "0 to 9" in said
    here("sample", "--ckpt", model, "--label", "3", "-n", 1, "--out", tmp_path / "s")
    here("sample", "--ckpt", model, "-n", "0", rc=2, id="usage")


def test_33_given_files(tmp_path):
    from tests.cases import train_case

    model = train_case("ddpm", tmp_path / "a", steps=2)
    for k, arrays in enumerate(({"label": np.array([99])}, {"label": np.zeros((2, 2), np.int64)}, {"other": np.zeros(3)})):
        np.savez(tmp_path / f"{k}.npz", **arrays)
        here("sample", "--ckpt", model, "--given", tmp_path / f"{k}.npz", "-n", 1, "--out", tmp_path / "s", rc={2, 65})
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    here("sample", "--ckpt", model, "--given", tmp_path / "bad.npz", rc=65, id="data-format")
    here("sample", "--ckpt", model, "--given", tmp_path / "absent.npz", rc=66, id="no-input")


@pytest.mark.slow
def test_26_as_a_process(tmp_path):
    cli("train", recipe(tmp_path, images(tmp_path / "absent")), "--out", tmp_path / "run", rc=66, id="no-input")
    assert os.listdir(tmp_path) == ["recipe.yaml"]
