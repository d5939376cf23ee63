"""Clips: the set of animated characters, on a file made here, and how clips are written and read back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import catalog
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.media import writer
from genctl.tasks import readback

CLIP = Spec(shape=(3, 3, 6, 5), levels=256, media="video")


def sprites(folder: Path, characters: int = 4, **changed: np.ndarray) -> Path:
    """A file laid out as the published one, each character of one colour."""
    pairs = np.array([(a, d) for a in range(3) for d in range(3)], np.uint8)
    arrays: dict[str, np.ndarray] = {"palette": np.arange(24, dtype=np.uint8).reshape(8, 3)}
    for split, n in (("train", characters), ("test", 2)):
        arrays[split] = np.repeat(np.arange(n, dtype=np.uint8), 9)[:, None, None, None] * np.ones((1, 8, 64, 64), np.uint8)
        arrays[f"{split}_action_direction"] = np.tile(pairs, (n, 1))
    folder.mkdir(exist_ok=True)
    np.savez(folder / "sprites_subset.npz", **(arrays | changed))
    return folder


def opened(path: Path, **settings: object):
    module = catalog.load("data", "lpc-sprites-video")
    return module.open(module.Config(name="lpc-sprites-video", path=str(path), **settings))


def test_sprites_are_split_by_character_and_coloured_by_their_palette(tmp_path):
    data = opened(sprites(tmp_path / "set"), side=32, valid=1)
    assert data.spec.shape == (8, 3, 32, 32) and data.spec.kind == data.spec.media == "video"
    assert (len(data.train), len(data.valid), len(data.test)) == (27, 9, 18)
    assert data.spec.given["label"].codec["names"][7] == "slash left"
    held = data.valid.batch(0, 9)
    assert held.given["label"].tolist() == list(range(9))
    torch.testing.assert_close(held.x[0, 0, :, 0, 0], torch.tensor([9.0, 10.0, 11.0]) / 255)


def test_a_smaller_side_is_a_mean_of_squares(tmp_path):
    picture = np.zeros((36, 8, 64, 64), np.uint8)
    picture[:, :, ::2, ::2] = 4  # a quarter of every square
    data = opened(sprites(tmp_path / "set", train=picture), side=32, valid=0)
    assert (data.train.batch(0, 1).x * 255).round().unique().tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("changed", "settings", "id"),
    [
        ({}, {"flip": True}, "config"),
        ({}, {"valid": 4}, "config"),
        ({"palette": np.zeros((2, 3), np.uint8)}, {}, "data-format"),
        ({"train_action_direction": np.full((36, 2), 7, np.uint8)}, {}, "data-format"),
    ],
    ids=["mirrored", "nothing left", "palette too short", "no such class"],
)
def test_sprites_say_what_is_wrong(changed, settings, id, tmp_path):
    with pytest.raises(GenctlError) as e:
        opened(sprites(tmp_path / "set", **changed), **{"valid": 1, **settings})
    assert e.value.id == id


def test_clips_are_mirrored_as_a_whole():
    from genctl.data._pixels import PixelConfig, dataset

    x = torch.randint(256, (6, *CLIP.shape), dtype=torch.uint8)
    data = dataset(PixelConfig(name="made", flip=True), (x, None), (x, None), (x, None))
    with noise.stream(0):
        drawn = (data.train.batch(0, 6).x * 255).round().to(torch.uint8)
    whole = [torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(drawn, x)]
    assert all(whole) and not torch.equal(drawn, x)


def test_clips_are_written_and_read_back_to_the_last_bit(tmp_path):
    x = torch.randint(256, (5, *CLIP.shape)).float() / 255
    x[1], x[2, 1] = 0.0, x[2, 0]  # frames that are equal
    target = writer(CLIP).open_writer(tmp_path, CLIP, {"generated": True})
    target.add(x[:2])
    target.add(x[2:])
    first, grid, *each = target.close()
    assert first.name == "strip.png" and len(each) == 5
    with Image.open(grid) as animated:
        assert animated.n_frames == 3
    with Image.open(each[4]) as one:
        assert json.loads(one.text["genctl"])["index"] == 4
    back, _ = readback.read(tmp_path, CLIP)
    assert torch.equal(back, x)


def test_a_clip_of_other_frames_is_refused(tmp_path):
    target = writer(CLIP).open_writer(tmp_path, CLIP, {})
    target.add(torch.zeros(1, *CLIP.shape))
    path = target.close()[2]
    with pytest.raises(GenctlError, match=r"3 frames of 5 x 6 pixels, the data 4 of 5 x 6"):
        readback.read(path, Spec(shape=(4, 3, 6, 5), levels=256, media="video"))


def test_a_sheet_puts_what_belongs_together_under_one_another(tmp_path):
    x = torch.rand(2, *CLIP.shape)
    path = writer(CLIP).sheet({"x": x, "again": x}, CLIP, tmp_path / "sheet")
    with Image.open(path) as sheet:
        rows = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8).view(sheet.height, sheet.width, 3)
    scale = 480 // 19 + 1
    tall = 7 * scale
    assert torch.equal(rows[:tall], rows[tall : 2 * tall])


def test_the_published_sprites(real_data):
    data = opened(Path(real_data) / "lpc-sprites-video")
    assert (len(data.train), len(data.valid), len(data.test)) == (810, 90, 270)
    assert data.spec.shape == (8, 3, 64, 64)
