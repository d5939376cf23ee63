"""translate: pictures of any size under their own names; tiles that fade into each other; pairs of pictures as data."""

import json

import pytest
import torch
from PIL import Image

from genctl import catalog, cli
from genctl.data import pairs
from genctl.errors import GenctlError
from genctl.media import text as letters
from genctl.tasks import train as training
from genctl.tasks import translate as task
from tests.test_eval import Quiet


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Twelve pairs: grey squares beside red ones."""
    home = tmp_path_factory.mktemp("pairs")
    for folder, mode in (("line", "L"), ("paint", "RGB")):
        (home / folder).mkdir()
        for k in range(12):
            picture = Image.new(mode, (16, 16), 255 if mode == "L" else (255, 255, 255))
            picture.paste(0 if mode == "L" else (200, 20 * k, 0), (2, 2, 4 + k, 4 + k))
            picture.save(home / folder / f"{k:02d}.png")
    Image.new("RGB", (16, 16)).save(home / "paint" / "alone.png")
    return home


def config(home, **keys) -> pairs.Config:
    return pairs.Config(path=str(home), source="line", target="paint", size=16, source_channels=1, **keys)


def test_what_has_one_name_belongs_together(home):
    data = pairs.open(config(home, flip=True))
    assert data.spec.shape == (3, 16, 16) and data.spec.given["source"].shape == (1, 16, 16)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [8, 2, 2] and "1 pictures" in data.notes[0]
    batch = data.test.batch(0, 2)  # 00 and 10
    assert torch.equal(batch.x[:, 1].eq(1), batch.given["source"][:, 0].eq(1))
    for _ in range(3):
        batch = data.train.batch(0, 8)
        assert torch.equal(batch.x[:, 1].eq(1), batch.given["source"][:, 0].eq(1))  # mirrored together


def test_folders_without_pairs_are_an_error(home):
    for keys in ({"target": "nothing"}, {"target": "line"}):
        if keys["target"] == "line":
            assert len(pairs.open(pairs.Config(path=str(home), source="line", target="line", size=16)).train) == 8
            continue
        with pytest.raises(GenctlError) as e:
            pairs.open(pairs.Config(path=str(home), source="line", size=16, **keys))
        assert e.value.id == "data-empty"


def test_emojitwo_is_pairs_in_a_zip(home, tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "emojitwo64.zip", "w") as z:
        for old, new in (("line", "bw"), ("paint", "color")):
            for path in sorted((home / old).iterdir()):
                z.write(path, f"{new}/{path.name}")
    data = catalog.load("data", "emojitwo")
    found = data.open(data.Config(path=str(tmp_path), size=16))
    assert len(found.train) == 8 and found.spec.given["source"].shape == (1, 16, 16) and "label" not in found.spec.given
    (tmp_path / "captions.json").write_text(json.dumps({"00": {"category": "food"}, "10": {"category": "flags"}, "01": {"category": ""}}))
    found = data.open(data.Config(path=str(tmp_path), size=16))
    assert found.spec.given["label"].codec["names"] == ["flags", "food", "other"]
    assert found.test.batch(0, 2).given["label"].tolist() == [1, 0] and (found.valid.batch(0, 2).given["label"] == 2).all()
    (tmp_path / "captions.json").write_text("[1]")
    with pytest.raises(GenctlError, match="category"):
        data.open(data.Config(path=str(tmp_path), size=16))


def test_emojitwo_is_also_pictures_with_their_names(home, tmp_path, capsys):
    (tmp_path / "color").mkdir()
    for path in (home / "paint").iterdir():
        (tmp_path / "color" / path.name).write_bytes(path.read_bytes())
    data = catalog.load("data", "emojitwo")
    with pytest.raises(GenctlError, match=r"captions\.json"):
        data.open(data.Config(path=str(tmp_path), size=16, beside="caption"))
    said = {f"{k:02d}": {"name": f"Red {k}", "category": "food" if k else ""} for k in range(12)}
    (tmp_path / "captions.json").write_text(json.dumps(said))
    found = data.open(data.Config(path=str(tmp_path), size=16, beside="caption", length=8))
    assert [len(s) for s in (found.train, found.valid, found.test)] == [8, 2, 2]  # the picture without a name is left out
    text = found.spec.given["caption"]
    batch = found.test.batch(0, 2)
    assert [letters.decode(row, text) for row in batch.given["caption"]] == ["red 0", "red 10"]
    assert batch.given["label"].tolist() == [1, 0] and batch.x.shape == (2, 3, 16, 16)
    other = data.open(data.Config(path=str(tmp_path), size=16, beside="picture", length=8))
    turned = other.test.batch(0, 2)
    assert other.spec.media == "text" and torch.equal(turned.given["picture"], batch.x) and torch.equal(turned.x, batch.given["caption"])
    with pytest.raises(GenctlError, match="flip"):
        data.open(data.Config(path=str(tmp_path), beside="caption", flip=True))
    prior = "{family: gpt, model: {layers: 1, heads: 1, width: 8, conditions: [caption]}}"
    sets = [
        f"data={{name: emojitwo, beside: caption, path: {tmp_path}, size: 16, length: 8}}",
        "model.hidden=[4,4]",
        f"model.prior={prior}",
    ]
    ask = [(s, None) for s in [*sets, "model.codes=4", "train.steps=4", "train.batch=4"]]
    training.train(training.Request(recipe="vqvae-emojitwo", overrides=ask, out=tmp_path / "run", device="cpu"), Quiet())
    out = ["sample", "--ckpt", str(tmp_path / "run"), "-n", "2", "--device", "cpu", "--json", "--out", str(tmp_path / "drawn"), "--prompt"]
    for prompt, wanted in (("red 7", None), ("blue", "prompt-token"), ("red 7777", "prompt-length")):
        with pytest.raises(SystemExit):
            cli.main([*out, prompt])
        found = json.loads(capsys.readouterr().out)
        assert found["n"] == 2 if wanted is None else found["error"]["id"] == wanted


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("size", [(40, 100), (17, 64), (10, 10)])
def test_tiles_give_what_the_whole_would(scale, size):
    """For a function of single pixels, however the picture is cut; and every pixel is covered."""

    def f(x):
        return (x * 0.5 + 0.25).repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    x = torch.rand(1, 3, *size)
    torch.testing.assert_close(task.tiled(f, x, 24, 6), f(x))


@pytest.fixture(scope="module")
def run(home, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    data = f"data={{name: pairs, path: {home}, source: line, target: paint, size: 16, source_channels: 1}}"
    sets = [data, "model.width=4", "model.patch=1", "train.steps=2", "train.batch=4"]
    training.train(training.Request(recipe="pix2pix-emojitwo", overrides=[(s, None) for s in sets], out=out, device="cpu"), Quiet())
    return out


def call(capsys, *args: object) -> dict:
    with pytest.raises(SystemExit):
        cli.main(["translate", *map(str, args), "--json", "--device", "cpu"])
    return json.loads(capsys.readouterr().out)


def test_a_folder_of_any_sizes_keeps_its_names(run, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (50, 20), "white").save(folder / "wide.png")
    Image.new("L", (16, 16)).save(folder / "small.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    found = call(capsys, "--ckpt", run, "--input", folder, "--tile", 32, "--overlap", 8, "--out", tmp_path / "out")
    assert found["n"] == 2 and found["skipped"] == 1
    with Image.open(tmp_path / "out" / "wide.png") as picture:
        assert picture.size == (50, 20) and picture.mode == "RGB" and "wide.png" in picture.text["genctl"]
    with Image.open(tmp_path / "out" / "small.png") as picture:
        assert picture.size == (16, 16)
    assert (tmp_path / "out" / "sheet.png").exists()
    again = call(capsys, "--ckpt", run, "--input", folder / "wide.png", "--out", tmp_path / "again")
    assert again["n"] == 1


def test_what_cannot_be_translated_says_so(run, tmp_path, capsys):
    assert call(capsys, "--ckpt", run, "--input", tmp_path / "none.png")["error"]["id"] == "no-input"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    assert call(capsys, "--ckpt", run, "--input", bad, "--out", tmp_path / "o")["error"]["id"] == "data-bad"
    assert call(capsys, "--ckpt", run, "--input", bad, "--to", "red", "--out", tmp_path / "o")["error"]["id"] == "usage"
    assert call(capsys, "--ckpt", run, "--input", bad, "--tile", 16, "--overlap", 16, "--out", tmp_path / "o")["error"]["id"] == "usage"
    other = tmp_path / "other"
    training.train(training.Request(recipe="memorizer-digits", overrides=[("train.steps=1", None)], out=other, device="cpu"), Quiet())
    assert call(capsys, "--ckpt", other, "--input", bad, "--out", tmp_path / "o")["error"]["id"] == "power"
