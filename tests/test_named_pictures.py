"""Named sets of pictures that stand on a reader: clothing64 on images, pneumoniamnist on npz."""

import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import catalog
from genctl.errors import GenctlError


def opened(name, **keys):
    data = catalog.load("data", name)
    return data.open(data.Config(**keys))


def test_clothes_in_folders_are_split_and_labelled_as_they_lie(tmp_path):
    for split, count in (("train", 3), ("validation", 2), ("test", 1)):
        for kind in ("hat", "skirt"):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            for k in range(count):
                Image.new("RGB", (8, 8), (10 * k, 0, 0)).save(folder / f"{k}.png")
    found = opened("clothing64", path=str(tmp_path), size=8)
    assert found.spec.shape == (3, 8, 8) and found.spec.given["label"].codec["names"] == ["hat", "skirt"]
    assert [len(s) for s in (found.train, found.valid, found.test)] == [6, 4, 2]


def rays(path, labels):
    pictures = np.arange(4 * 16, dtype=np.uint8).reshape(4, 4, 4)
    np.savez(path, **{f"{s}_{k}": v for s in ("train", "val", "test") for k, v in (("images", pictures), ("labels", labels))})


def test_x_rays_know_the_names_of_their_classes(tmp_path):
    rays(tmp_path / "pneumoniamnist.npz", np.uint8([[0], [1], [1], [0]]))
    found = opened("pneumoniamnist", path=str(tmp_path), only=[0])
    assert found.spec.given["label"].codec["names"] == ["normal", "pneumonia"]
    assert len(found.train) == 2 and len(found.test) == 4
    assert torch.equal(found.test.batch(0, 4).given["label"], torch.tensor([0, 1, 1, 0]))


def test_x_rays_of_other_classes_are_refused(tmp_path):
    rays(tmp_path / "other.npz", np.uint8([[0], [1], [2], [0]]))
    with pytest.raises(GenctlError) as e:
        opened("pneumoniamnist", path=str(tmp_path / "other.npz"))
    assert e.value.id == "data-mismatch"


def test_stacked_digits_keep_their_labels(tmp_path):
    """Pictures of one grey level each, the digit's own, so that a colour tells which digit stands in it."""
    for stem, count in (("train", 30), ("t10k", 20)):
        digits = np.arange(count, dtype=np.uint8) % 10
        pictures = np.repeat(digits[:, None, None] * 20, 4, 1).repeat(4, 2)
        for kind, array in (("images-idx3-ubyte", pictures), ("labels-idx1-ubyte", digits)):
            head = b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (tmp_path / f"{stem}-{kind}").write_bytes(head + array.tobytes())
    found = opened("stacked-mnist", path=str(tmp_path), valid=10)
    assert found.spec.shape == (3, 4, 4) and (found.spec.given["label"].shape, found.spec.given["label"].vocab) == ((3,), 10)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [20, 10, 20]
    batch = found.train.batch(0, 20)
    assert torch.equal((batch.x[:, :, 0, 0] * 255 / 20).round().long(), batch.given["label"])
    assert all(torch.bincount(batch.given["label"][:, c], minlength=10).tolist() == [2] * 10 for c in range(3))  # each digit once a colour
    assert len(batch.given["label"].unique(dim=0)) > 10 and not torch.equal(batch.x, found.test.batch(0, 20).x)


@pytest.mark.parametrize(("name", "sizes"), [("clothing64", [3_068, 341, 372]), ("pneumoniamnist", [4_708, 524, 624])])
def test_the_real_sets_are_all_there(name, sizes, real_data):
    found = opened(name)
    assert [len(s) for s in (found.train, found.valid, found.test)] == sizes


def photographs(folder):
    """Two photographs a file; the first file's are of class 1, the second's of class 2, ..."""
    for k, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], 1):
        rows = np.zeros((2, 3073), np.uint8)
        rows[:, 0], rows[:, 1:1025], rows[1, 2049:] = k, 10 * k, 7  # red, and blue in the second
        (folder / name).write_bytes(rows.tobytes())


def test_photographs_of_ten_kinds_in_a_folder_or_an_archive(tmp_path):
    home = tmp_path / "cifar-10-batches-bin"
    home.mkdir()
    photographs(home)
    found = opened("cifar10", path=str(tmp_path), valid=2)
    assert [len(s) for s in (found.train, found.valid, found.test)] == [8, 2, 2]
    batch = found.train.batch(0, 8)
    assert batch.given["label"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4] and found.spec.given["label"].codec["names"][1] == "automobile"
    assert torch.equal((255 * batch.x[:, 0, 0, 0]).round(), 10.0 * batch.given["label"]) and (255 * batch.x[1, 2]).round().eq(7).all()
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(home, "cifar-10-batches-bin")
    packed = opened("cifar10", path=str(tmp_path / "cifar-10-binary.tar.gz"), valid=2)
    assert packed.train.fingerprint() == found.train.fingerprint()


@pytest.mark.parametrize(
    ("change", "id"), [("short", "data-format"), ("label", "data-format"), ("gone", "no-input"), ("tar", "data-format")]
)
def test_damaged_photographs_are_refused(change, id, tmp_path):
    photographs(tmp_path)
    file = tmp_path / "data_batch_2.bin"
    if change == "gone":
        file.unlink()
    elif change == "tar":
        (tmp_path / "test_batch.bin").unlink()
        (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    else:
        data = file.read_bytes()
        file.write_bytes(data[:-1] if change == "short" else b"\x0a" + data[1:])
    with pytest.raises(GenctlError) as e:
        opened("cifar10", path=str(tmp_path))
    assert e.value.id == id


def test_sprites_stand_over_white(tmp_path):
    for kind in ("mon", "item"):
        (tmp_path / kind).mkdir()
        for k in range(10):
            Image.new("RGBA", (32, 32), (200, 0, 0, 0)).save(tmp_path / kind / f"{k}.png")
    found = opened("dcss-tiles32", path=str(tmp_path))
    assert found.spec.shape == (3, 32, 32) and len(found.test) == 2 and found.test.batch(0, 1).x.min() == 1
