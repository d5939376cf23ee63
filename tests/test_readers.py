"""The readers of image, array and table files: what they promise, and rows 26 to 31 of the list of faults, by files made here."""

import gzip
import io
import os
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import catalog
from genctl.data import _zip
from genctl.data._picture import Unusable, decode
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.media import vector


def read(name, **keys):
    reader = catalog.load("data", name)
    return reader.open(reader.Config(**{k: str(v) if k == "path" else v for k, v in keys.items()}))


def refused(id, name, **keys):
    with pytest.raises(GenctlError) as e:
        read(name, **keys)
    assert e.value.id == id, e.value
    return str(e.value)


def everything(split):
    with noise.stream(0):
        return split.batch(0, len(split))


# --- idx, mnist ---


def idx(array, kind=8):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(folder, n=30, pack=gzip.compress, **broken):
    g = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for stem, count in (("train", n), ("t10k", 5)):
        files = {
            f"{stem}-images-idx3-ubyte": idx(g.integers(0, 256, (count, 6, 5), dtype=np.uint8)),
            f"{stem}-labels-idx1-ubyte": idx((np.arange(count) % 10).astype(np.uint8)),
        }
        for name, data in files.items():
            data = broken.get(name.replace("-", "_"), lambda d: d)(data)
            (folder / (name + (".gz" if pack is gzip.compress else ""))).write_bytes(pack(data))
    return folder


@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_idx_holds_out_the_last_training_images(tmp_path, pack):
    d = read("idx", path=mnist(tmp_path / "m", pack=pack), valid=10)
    assert (len(d.train), len(d.valid), len(d.test)) == (20, 10, 5)
    assert d.spec.shape == (1, 6, 5)
    assert d.spec.levels == 256
    assert d.valid.batch(0, 10).given["label"].tolist() == [k % 10 for k in range(20, 30)]
    x = np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)
    assert torch.equal(everything(d.train).x[:, 0], torch.from_numpy(x[:20]).float() / 255)


def test_named_sets_are_found_by_environment_and_binarised(tmp_path, monkeypatch):
    mnist(tmp_path / "mnist")
    monkeypatch.setenv("GENCTL_DATA", str(tmp_path))
    d = read("mnist", valid=10, binarize="dynamic")
    assert d.spec.levels == 2
    with noise.stream(1):
        a, b = d.train.batch(0, 20).x, d.train.batch(0, 20).x
    assert set(a.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(a, b)
    assert torch.equal(everything(d.test).x, d.test.batch(0, 5).x)


def test_a_missing_set_names_both_places(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCTL_DATA", str(tmp_path))
    said = refused("no-input", "mnist")
    assert str(tmp_path / "mnist") in said
    assert "data.path" in said
    monkeypatch.delenv("GENCTL_DATA")
    assert "GENCTL_DATA" in refused("no-input", "fashion-mnist")


IMAGES = "train_images_idx3_ubyte"


@pytest.mark.parametrize(
    ("where", "damage", "id"),
    [
        (IMAGES, lambda d: d[:-1], "data-format"),
        (IMAGES, lambda d: d + b"x", "data-format"),
        (IMAGES, lambda d: b"", "data-format"),
        (IMAGES, lambda d: d[:7], "data-format"),
        (IMAGES, lambda d: b"\x89PNG" + d[4:], "data-format"),
        (IMAGES, lambda d: d[:2] + b"\x0d" + d[3:], "data-format"),
        (IMAGES, lambda d: d[:4] + b"\xff" * 12 + d[16:], "data-format"),
        (IMAGES, lambda d: d[:4] + b"\0" * 12, "data-empty"),
        ("train_labels_idx1_ubyte", lambda d: idx(np.zeros(3, np.uint8)), "data-mismatch"),
        ("train_labels_idx1_ubyte", lambda d: d[:-1] + b"\xc8", "data-mismatch"),
    ],
)
@pytest.mark.parametrize("pack", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_damaged_idx_is_refused(tmp_path, monkeypatch, where, damage, id, pack):
    refused(id, "mnist", path=mnist(tmp_path / "m", pack=pack, **{where: damage}), valid=10)


def test_a_torn_gzip_is_refused(tmp_path):
    folder = mnist(tmp_path / "m")
    file = folder / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for torn in (whole[: len(whole) // 2], whole[:40] + b"\0\0\0\0" + whole[44:]):
        file.write_bytes(torn)
        refused("data-format", "idx", path=folder, valid=10)


# --- pictures ---


def png(*size, mode="RGB", color=None, **save):
    out = io.BytesIO()
    Image.new(mode, size, color if color is not None else 0).save(out, save.pop("format", "PNG"), **save)
    return out.getvalue()


def noisy(w, h, seed=0):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def folder_of(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zip_of(path, files, **keys):
    with zipfile.ZipFile(path, "w", **keys) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return path


FILES = {f"{c}/{k}.png": noisy(9, 7, 10 * i + k) for i, c in enumerate(("cat", "dog")) for k in range(10)}


def test_a_folder_and_its_zip_are_one_data_set(tmp_path):
    a = read("images", path=folder_of(tmp_path / "f", FILES), size=8)
    b = read("images", path=zip_of(tmp_path / "f.zip", {f"top/{k}": v for k, v in reversed(FILES.items())}), size=8)
    assert a.train.fingerprint() == b.train.fingerprint()
    assert a.spec == b.spec
    assert a.spec.given["label"].codec["names"] == ["cat", "dog"]
    assert (len(a.train), len(a.valid), len(a.test)) == (16, 2, 2)
    assert a.spec.shape == (3, 8, 8)


def test_folders_named_after_splits_are_the_splits(tmp_path):
    files = {f"{s}/{k}": v for s, keep in (("train", 10), ("val", 4), ("test", 2)) for k, v in list(FILES.items())[-keep:]}
    d = read("images", path=folder_of(tmp_path / "f", {**files, "train/cat/z.png": noisy(8, 8)}), size=8, channels=1)
    assert (len(d.train), len(d.valid), len(d.test)) == (11, 4, 2)
    assert d.spec.given["label"].codec["names"] == ["cat", "dog"]
    assert d.spec.shape == (1, 8, 8)


def test_one_picture_trains_and_says_so(tmp_path):
    d = read("images", path=folder_of(tmp_path, {"only.png": noisy(20, 10)}), size=8)
    assert (len(d.train), len(d.valid), len(d.test)) == (1, 1, 1)
    assert "data-few" in d.notes[0]


def test_missing_and_empty_folders(tmp_path):
    refused("no-input", "images", path=tmp_path / "none")
    (tmp_path / "e").mkdir()
    assert "0 usable images" in refused("data-empty", "images", path=tmp_path / "e")
    said = refused("data-empty", "images", path=folder_of(tmp_path / "t", {f"{k}.txt": b"x" for k in range(12)}))
    assert ".txt 12" in said


HOSTILE = {
    "zero.png": b"",
    "cut.png": noisy(30, 30)[:200],
    "text.png": b"not a picture",
    "paper.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "doc.jpg": b"%PDF-1.4\n",
    "drawing.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
}


def test_bad_pictures_are_skipped_named_and_limited(tmp_path):
    files = dict(list(HOSTILE.items())[:3]) | {f"{k:02}.png": noisy(8, 8, k) for k in range(61)}
    d = read("images", path=folder_of(tmp_path / "f", files), size=8, max_bad=0.05)
    assert len(d.train) + len(d.valid) + len(d.test) == 61
    assert "3 of 64 images skipped: cut.png" in d.notes[0]
    assert d.train.fingerprint() == read("images", path=tmp_path / "f", size=8, max_bad=0.05).train.fingerprint()
    said = refused("data-bad", "images", path=tmp_path / "f", size=8)
    assert "3 of 64" in said
    assert "zero.png" in said


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_unusable(name):
    with pytest.raises(Unusable):
        decode(io.BytesIO(HOSTILE[name]), 8, 3)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claimed(w, h, extra=b"", body=b""):
    """A PNG that says it is w x h."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        claimed(30_000, 30_000),
        claimed(12_000, 12_000),
        claimed(8_001, 8_000),
        claimed(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 80_000_000))),
    ],
    ids=["30000", "12000", "just too many", "zTXt bomb"],
)
def test_bombs_are_refused_before_they_are_decoded(data):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unusable):
        decode(io.BytesIO(data), 8, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_every_mode_becomes_the_picture_it_shows():
    """One picture of four flat quarters, in every form."""
    base = Image.new("L", (8, 8))
    base.paste(200, (4, 0, 8, 8))
    want = torch.tensor(np.asarray(base).copy()).expand(3, 8, 8)

    def form(picture, kind="PNG", **keys):
        out = io.BytesIO()
        picture.save(out, kind, **keys)
        return decode(io.BytesIO(out.getvalue()), 8, 3)

    sixteen = Image.fromarray(np.asarray(base).astype(np.uint16) * 257)
    forms = {
        "L": form(base),
        "RGB": form(base.convert("RGB")),
        "RGBA": form(base.convert("RGBA")),
        "LA": form(base.convert("LA")),
        "P": form(base.convert("P")),
        "16 bit": form(sixteen),
        "16 bit tiff": form(sixteen, "TIFF"),
        "gif": form(base, "GIF"),
        "webp": form(base.convert("RGB"), "WEBP", lossless=True),
        "bmp": form(base, "BMP"),
        "pgm": form(base, "PPM"),
        "first frame": form(base, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 99)]),
        "turned": form(base.transpose(Image.Transpose.ROTATE_90), exif=_turned()),
    }
    for name, got in forms.items():
        assert torch.equal(got, want), name
    one = form(base.convert("1", dither=Image.Dither.NONE))
    assert torch.equal(one, (want > 127) * 255)
    cmyk = form(base.convert("RGB").convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert (cmyk.int() - want.int()).abs().max() < 8
    clear = base.convert("RGBA")
    clear.putalpha(0)
    assert torch.equal(form(clear), torch.full((3, 8, 8), 255, dtype=torch.uint8))


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    return exif


def test_the_centred_square_is_resized():
    wide = Image.new("L", (30, 10), 0)
    wide.paste(255, (10, 0, 20, 10))
    out = io.BytesIO()
    wide.save(out, "PNG")
    assert decode(io.BytesIO(out.getvalue()), 5, 1).min() > 230  # the filter sees a little of what is cut off


def test_real_photographs(real_data):
    d = read("images", path=f"{real_data}/clothing64/clothing64.zip", size=32)
    assert (len(d.train), len(d.valid), len(d.test)) == (3068, 341, 372)


# --- archives ---


def member(name, mode=0, **keys):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for k, v in keys.items():
        setattr(info, k, v)
    return info


@pytest.mark.parametrize(
    "info",
    [
        member("../out.png"),
        member("a/../../out.png"),
        member("/etc/out.png"),
        member("C:/out.png"),
        member("a\\..\\out.png"),
        member("link.png", stat.S_IFLNK | 0o777),
        member("device.png", stat.S_IFBLK | 0o666),
    ],
    ids=lambda i: i.filename,
)
def test_archives_that_point_outside_are_refused(tmp_path, info):
    inside = tmp_path / "in"
    inside.mkdir()
    with zipfile.ZipFile(inside / "z.zip", "w") as z:
        z.writestr("ok.png", noisy(8, 8))
        z.writestr(info, noisy(8, 8))
    before = sorted(p for p in tmp_path.rglob("*"))
    refused("data-format", "images", path=inside / "z.zip", size=8)
    assert sorted(p for p in tmp_path.rglob("*")) == before
    assert not os.path.exists("/etc/out.png")


def test_archive_bombs_are_refused(tmp_path):
    thousandfold = zip_of(tmp_path / "r.zip", {"a.png": b"\0" * 20_000_000}, compression=zipfile.ZIP_DEFLATED)
    assert "times its size" in refused("data-format", "images", path=thousandfold)
    data = bytearray(zip_of(tmp_path / "b.zip", {"a.png": noisy(8, 8)}).read_bytes())
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<I", data, at + 12, 2**31)
    (tmp_path / "d.zip").write_bytes(data)
    refused("limit", "images", path=tmp_path / "d.zip")
    encrypted = bytearray(zip_of(tmp_path / "b.zip", {"a.png": noisy(8, 8)}).read_bytes())
    struct.pack_into("<H", encrypted, encrypted.rfind(b"PK\x01\x02") + 8, 1)
    (tmp_path / "e.zip").write_bytes(encrypted)
    assert "encrypted" in refused("data-format", "images", path=tmp_path / "e.zip")


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(_zip, "MAX_MEMBERS", 10)
    refused("limit", "images", path=zip_of(tmp_path / "m.zip", FILES))


def test_damaged_and_nested_archives(tmp_path):
    whole = zip_of(tmp_path / "w.zip", FILES).read_bytes()
    for k, damaged in enumerate((b"", b"PK\x05\x06", whole[:-30], b"x" * 1000)):
        (tmp_path / f"{k}.zip").write_bytes(damaged)
        refused("data-format", "images", path=tmp_path / f"{k}.zip")
    said = refused("data-empty", "images", path=zip_of(tmp_path / "n.zip", {"inner.zip": whole}))
    assert ".zip 1" in said
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF  # inside the first picture: its checksum fails
    (tmp_path / "f.zip").write_bytes(flipped)
    assert "1 of 20 images skipped: cat/0.png" in read("images", path=tmp_path / "f.zip", size=8).notes[0]


# --- arrays ---


def test_npz_of_published_splits(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (9, 5, 5), dtype=np.uint8)
    y = np.arange(9)[:, None] % 3
    np.savez(tmp_path / "a.npz", train_images=x, train_labels=y, val_images=x[:3], val_labels=y[:3], test_images=x[3:5], test_labels=y[3:5])
    d = read("npz", path=tmp_path / "a.npz")
    assert (len(d.train), len(d.valid), len(d.test)) == (9, 3, 2)
    assert d.spec.shape == (1, 5, 5)
    assert d.spec.given["label"].vocab == 3
    np.savez(tmp_path / "c.npz", x=np.repeat(x[..., None], 3, 3))
    assert read("npz", path=tmp_path / "c.npz").spec.shape == (3, 5, 5)


def test_npz_of_floats_and_symbols(tmp_path):
    np.savez_compressed(tmp_path / "f.npz", x=np.random.default_rng(0).normal(size=(20, 3)), y=np.arange(20) % 2)
    d = read("npz", path=tmp_path / "f.npz")
    assert (d.spec.shape, d.spec.vocab, len(d.train)) == ((3,), 0, 16)
    np.save(tmp_path / "t.npy", np.asfortranarray(np.arange(20).reshape(10, 2) % 7))
    t = read("npz", path=tmp_path / "t.npy", valid=0.0, test=0.0)
    assert (t.spec.shape, t.spec.vocab) == ((2,), 7)
    assert sorted(map(tuple, everything(t.train).x.tolist())) == sorted((2 * k % 7, (2 * k + 1) % 7) for k in range(10))


def npy(shape, descr="<f4", body=b""):
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + body


@pytest.mark.parametrize(
    ("data", "id"),
    [
        (npy((10**12, 4)), "data-format"),
        (npy((-4, 4), body=b"\0" * 64), "data-format"),
        (npy((4, 4), "|O", b"\x80\x04]." * 9), "data-format"),
        (npy((4, 4), "<U4", b"\0" * 256), "data-format"),
        (npy((4, 4), body=b"\0" * 7), "data-format"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os')    ", "data-format"),
        (b"\x93NUMPY\x09", "data-format"),
        (b"", "data-format"),
        (npy((0, 4)), "data-empty"),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path, data, id):
    (tmp_path / "x.npy").write_bytes(data)
    refused(id, "npz", path=tmp_path / "x.npy")
    if data:
        refused(id, "npz", path=zip_of(tmp_path / "x.npz", {"x.npy": data}))


def test_what_is_not_finite_is_counted(tmp_path):
    x = np.zeros((64, 64), np.float32)
    x.flat[[17, 99, 100]] = np.nan, np.inf, np.nan
    np.savez(tmp_path / "x.npz", x=x)
    assert "3 of 4,096 values are NaN or infinite (first at 17)" in refused("data-nonfinite", "npz", path=tmp_path / "x.npz")
    np.savez(tmp_path / "c.npz", x=np.ones((20, 2)))
    assert "data-constant" in read("npz", path=tmp_path / "c.npz").notes[0]


# --- tables ---

TABLE = "height,kind,weight\n" + "".join(f"{150 + k},{'ab'[k % 2]},{k * 0.5}\n" for k in range(40))


def test_a_table_is_standardised_and_written_back_in_its_units(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    d = read("csv", path=tmp_path / "t.csv", label="kind")
    assert (d.spec.shape, len(d.train), len(d.valid), len(d.test)) == ((2,), 32, 4, 4)
    assert d.spec.codec["columns"] == ["height", "weight"]
    assert d.spec.given["label"].codec["names"] == ["a", "b"]
    x = everything(d.train).x
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2))
    writer = vector.open_writer(tmp_path, d.spec, {})
    writer.add(torch.cat([everything(s).x for s in (d.train, d.valid, d.test)]))
    writer.close()
    rows = sorted(tuple(map(float, line.split(","))) for line in (tmp_path / "samples.csv").read_text().splitlines()[1:])
    np.testing.assert_allclose(rows, [(150 + k, k * 0.5) for k in range(40)], atol=1e-4)


def test_tables_with_text_gzip_order_and_no_header(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE.replace(",a,", ",c,", 1))
    assert "left out: kind" in read("csv", path=tmp_path / "t.csv", most_categories=2).notes[0]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf1;2\n3;4\n5;6\n7;9\n"))
    d = read("csv", path=tmp_path / "t.csv.gz", delimiter=";", in_order=True, valid=0.25, test=0.25, standardize=False)
    assert everything(d.test).x.tolist() == [[7, 9]]
    assert everything(d.train).x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "id", "says"),
    [
        (b"", "data-empty", ""),
        (b"a,b\n", "data-empty", ""),
        (b"a,b\n1,2\n3\n", "data-format", "row 3"),
        (b"a,a\n1,2\n", "data-format", "one name"),
        (b"a,b\nx,y\n", "data-format", "no column of numbers"),
        (b"a,b\n1,2\n3,oops\n", "data-format", "row 2, column 'b'"),
        (b"a,b\n1,nan\n3,\n", "data-nonfinite", "2 of 4"),
        (b"a,b\n1,inf\n", "data-nonfinite", "1 of 2"),
        (b"a,b\n1,\xff\n", "data-encoding", "offset 6"),
        (b"1" * 3_000_000, "limit", "line"),
        (b'a,b\n"' + b"1\n" * 200_000, "data-format", ""),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, id, says):
    (tmp_path / "t.csv").write_bytes(text)
    assert says in refused(id, "csv", path=tmp_path / "t.csv")


def test_a_constant_column_warns_and_stays_finite(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{k},5\n" for k in range(20)))
    d = read("csv", path=tmp_path / "t.csv")
    assert "same value in every row of b" in d.notes[0]
    assert torch.isfinite(everything(d.train).x).all()
    refused("config", "csv", path=tmp_path / "t.csv", columns=["c"])


# --- mutants: whatever a damaged file holds, it is a tensor, or one clean refusal ---


def _mutant(data, g):
    """A few bytes changed, cut out, doubled, or the end cut off."""
    out = bytearray(data)
    for _ in range(int(g.integers(1, 5))):
        at = int(g.integers(len(out))) if out else 0
        kind = int(g.integers(5))
        if kind == 0:
            out[at : at + 1] = bytes([int(g.integers(256))])
        elif kind == 1:
            out[at : at + 4] = bytes(g.choice([0, 0xFF, 0x7F, 0x80], 4).tolist())
        elif kind == 2:
            del out[at : at + int(g.integers(1, 30))]
        elif kind == 3:
            out[at:at] = out[at : at + int(g.integers(1, 30))]
        else:
            del out[max(at, 4) :]
    return bytes(out)


def _corpus():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (11, 9, 3), dtype=np.uint8))
    forms = []
    for kind, mode, keys in (
        ("PNG", "RGB", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("JPEG", "RGB", {"exif": _turned()}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("WEBP", "RGB", {}),
        ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {}),
        ("PPM", "L", {}),
    ):
        out = io.BytesIO()
        (picture.convert("L").convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)).save(out, kind, **keys)
        forms.append(out.getvalue())
    return forms


def _survive_pictures(count):
    g, used = np.random.default_rng(1), 0
    forms = _corpus()
    for k in range(count):
        try:
            x = decode(io.BytesIO(_mutant(forms[k % len(forms)], g)), 8, 3)
            assert x.shape == (3, 8, 8)
            used += 1
        except Unusable:
            pass
    return used


def test_picture_mutants():
    assert 0 < _survive_pictures(1000) < 1000


@pytest.mark.slow
def test_many_picture_mutants():
    assert 0 < _survive_pictures(20_000) < 20_000


@pytest.mark.parametrize("kind", ["idx", "npz", "npy", "zip", "csv"])
def test_file_mutants(tmp_path, kind):
    """Each mutant opens, or is refused with an id of the table."""
    g = np.random.default_rng(2)
    if kind == "idx":
        folder = mnist(tmp_path / "m", pack=bytes)
        file, keys = folder / "train-images-idx3-ubyte", {"name": "idx", "path": folder, "valid": 10}
    elif kind == "zip":
        file = zip_of(tmp_path / "f.zip", dict(list(FILES.items())[:4]))
        keys = {"name": "images", "path": file, "size": 8}
    elif kind == "csv":
        file = tmp_path / "t.csv"
        file.write_text(TABLE)
        keys = {"name": "csv", "path": file}
    else:
        file = tmp_path / f"a.{kind}"
        (np.savez_compressed if kind == "npz" else np.save)(file, np.random.default_rng(0).normal(size=(20, 3)))
        if kind == "npz":
            np.savez_compressed(file, x=np.random.default_rng(0).normal(size=(20, 3)))
        keys = {"name": "npz", "path": file}
    whole, seen = file.read_bytes(), set()
    for _ in range(150):
        file.write_bytes(_mutant(whole, g))
        try:
            everything(read(**keys).train)
        except GenctlError as e:
            seen.add(e.id)
    assert seen <= {"data-format", "data-empty", "data-bad", "data-mismatch", "data-nonfinite", "data-encoding", "limit"}
