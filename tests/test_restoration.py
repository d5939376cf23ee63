"""Pictures beside others: spoiled copies, unpaired kinds, squares of photographs; and how what is made of them is scored."""

import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from genctl import catalog, cli
from genctl.contract import Batch, Spec
from genctl.data import Dataset
from genctl.errors import GenctlError
from genctl.maths import filters, likeness, noise
from genctl.metrics import Case, domain, psnr_y
from genctl.tasks import evaluate
from genctl.tasks import train as training
from tests.test_eval import Quiet

DIGITS = {"name": "digits"}


def opened(name: str, **keys) -> Dataset:
    reader = catalog.load("data", name)
    return reader.open(reader.Config.model_validate(keys, strict=False))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Four pictures of two sizes, and one that is too small; in each, a pixel's red says how far down it is and its green how far right."""
    home = tmp_path_factory.mktemp("photos")
    for k, size in enumerate([(60, 40), (40, 60), (60, 40), (60, 40), (10, 10)]):
        picture = Image.new("RGB", size)
        picture.putdata([(4 * (i // size[0]), 4 * (i % size[0]), 50 * k) for i in range(size[0] * size[1])])
        picture.save(home / f"{k}_HR.png")
    return home


# --- filters ---


def test_bicubic_is_pillow_s():
    """Equal within a level of grey, up and down; torch's plain bicubic is not."""
    x = torch.randint(80, 180, (24, 32, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for scale in (0.25, 2):
        size = (round(32 * scale), round(24 * scale))
        with Image.fromarray(x[:, :, 0].numpy()) as picture:
            wanted = torch.tensor(list(picture.resize(size, Image.Resampling.BICUBIC).tobytes())).view(1, 1, size[1], size[0]) / 255
        found = filters.bicubic(x.permute(2, 0, 1)[None].float() / 255, scale).clamp(0, 1)
        assert (found - wanted).abs().max() < 2.01 / 255


def test_blur_keeps_what_is_flat_and_spreads_a_point_as_a_gaussian():
    flat = torch.full((1, 2, 9, 9), 0.3)
    torch.testing.assert_close(filters.blur(flat, 1.0), flat)
    point = torch.zeros(1, 1, 21, 21)
    point[0, 0, 10, 10] = 1
    spread = filters.blur(point, 2.0)[0, 0]
    at = torch.arange(21.0) - 10
    assert abs(float(spread.sum()) - 1) < 1e-5 and abs(float((spread.sum(0) * at**2).sum()) - 4) < 0.2


def test_luma_of_white_black_and_grey():
    for rgb, wanted in ((1.0, 235), (0.0, 16), (0.5, 125.5)):
        assert abs(float(filters.luma(torch.full((1, 3, 1, 1), rgb))) * 255 - wanted) < 1e-3
    assert abs(float(filters.grey(torch.full((1, 3, 1, 1), 0.5))) - 0.5) < 1e-6


# --- data ---


def test_squares_of_photographs_are_random_to_train_and_fixed_to_test(photos):
    data = opened("photos", path=str(photos), size=16, valid=0.25, test_path=str(photos))
    assert data.spec == Spec(shape=(3, 16, 16), levels=256, media="image")
    assert any("1 photographs smaller" in note for note in data.notes)
    index = torch.arange(len(data.train))
    draws = []
    for seed in (0, 0, 1):
        with noise.stream(seed):
            draws.append(data.train.get(index).x)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(data.test.get(torch.arange(2)).x, data.test.get(torch.arange(2)).x)
    down = (255 * draws[0][:, 0, :, 0]).round().long()
    assert (down.diff(dim=1) == 4).all()  # squares are cut, not resized
    assert {tuple(b.x.shape) for b in data.whole()} <= {(1, 3, 40, 60), (1, 3, 60, 40), (1, 3, 10, 10)}


def test_flips_and_quarter_turns_keep_the_pixels(photos):
    data = opened("photos", path=str(photos), size=16, valid=0.25, test=0.25, flip=True, turn=True)
    with noise.stream(0):
        x = data.train.get(torch.zeros(64, dtype=torch.long)).x
    slopes = {
        (float(s[0, 1, 0] - s[0, 0, 0]) > 1e-3, float(s[0, 0, 1] - s[0, 0, 0]) > 1e-3, float(s[0, 0, 0] - s[0, 1, 0]) > 1e-3) for s in x
    }
    assert len(slopes) == 4  # red grows down, right, up or left


def test_photographs_that_are_too_small_are_an_error(photos):
    with pytest.raises(GenctlError) as e:
        opened("photos", path=str(photos), size=64)
    assert e.value.id == "data-empty"


def test_a_spoiled_copy_stands_beside_each_picture():
    data = opened("spoiled", of=DIGITS, scale=2, noise=0.1)
    plain = opened("digits")
    assert data.spec.given["source"].shape == (1, 4, 4) and "label" in data.spec.given
    index = torch.arange(10)
    found = [data.test.get(index) for _ in range(2)]
    assert torch.equal(found[0].x, plain.test.get(index).x) and torch.equal(found[0].given["source"], found[1].given["source"])
    assert torch.equal(data.test.get(index[3:]).given["source"], found[0].given["source"][3:])  # wherever it stands in a batch
    levels = 255 * found[0].given["source"]
    torch.testing.assert_close(levels, levels.round())
    drawn = []
    for seed in (0, 1):
        with noise.stream(seed):
            drawn.append(data.train.get(index).given["source"])
    assert not torch.equal(*drawn)
    assert opened("spoiled", of=DIGITS, blur=1.0).spec.given["source"].shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"of": DIGITS}, "nothing is spoiled"),
        ({"of": DIGITS, "scale": 3}, "divide"),
        ({"of": {"name": "toy2d"}, "noise": 0.1}, "pictures"),
        ({"of": {"name": "digits", "sise": 3}, "noise": 0.1}, "sise"),
        ({"of": {}, "noise": 0.1}, "no data entry"),
    ],
)
def test_what_cannot_be_spoiled_says_so(keys, said):
    with pytest.raises(GenctlError, match=said):
        opened("spoiled", **keys)


def test_two_kinds_stand_side_by_side():
    data = opened("unpaired", of=DIGITS, only=[0, 1], other_only=[7])
    plain = opened("digits").test
    label = plain.batch(0, len(plain)).given["label"]
    assert len(data.test) == int((label < 2).sum()) and list(data.spec.given) == ["other"]
    batch = data.test.batch(0, len(data.test))
    sevens = plain.get((label == 7).nonzero()[:, 0]).x
    assert torch.equal(batch.given["other"][: len(sevens)], sevens[: len(batch)])
    with noise.stream(0):
        first = data.train.batch(0, 8).given["other"]
    with noise.stream(1):
        assert not torch.equal(first, data.train.batch(0, 8).given["other"])
    assert len(opened("unpaired", of=DIGITS, other={"name": "shapes", "side": 16}).train) == len(opened("digits").train)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"of": DIGITS}, "one set"),
        ({"of": DIGITS, "only": [0], "other_only": [99]}, "no examples"),
        ({"of": DIGITS, "other": {"name": "toy2d"}}, "data.other: expected pictures"),
    ],
)
def test_what_cannot_stand_side_by_side_says_so(keys, said):
    with pytest.raises(GenctlError, match=said):
        opened("unpaired", **keys)


def test_paintings_beside_pictures(photos, tmp_path):
    for folder in ("content", "style"):
        (tmp_path / folder).mkdir()
        for k in (0, 1):
            os.link(photos / f"{k}_HR.png", tmp_path / folder / f"{'ab'[k]}.png")
    data = opened("style-transfer", path=str(tmp_path), size=16, side=20, style="b")
    with noise.stream(0):
        batch = data.train.batch(0, 1)
    assert batch.x.shape == batch.given["other"].shape == (1, 3, 16, 16)
    assert float(batch.x[:, 2].min()) > 0.15  # all of the second, whose blue is 50 of 255
    with pytest.raises(GenctlError, match=r"data\.side"):
        opened("style-transfer", path=str(tmp_path), size=32, side=20)


def test_super_resolution_finds_its_folders(photos, tmp_path):
    for folder in ("kodak-train", "Set5/x4", "Set14/x4"):
        (tmp_path / folder).mkdir(parents=True)
        os.link(photos / "0_HR.png", tmp_path / folder / "one_HR.png")
        os.link(photos / "4_HR.png", tmp_path / folder / "one_LR.png")
    data = opened("spoiled", of={"name": "super-resolution", "path": str(tmp_path), "size": 16}, scale=4)
    pictures = list(data.whole())
    assert [b.x.shape for b in pictures] == [(1, 3, 40, 60)] and pictures[0].given["source"].shape == (1, 3, 10, 15)


# --- scores ---


def test_psnr_y_is_that_of_brightness_without_the_border():
    """An error in colours alone is none; nor is one in the border; and doing nothing stands beside."""
    g = torch.Generator().manual_seed(0)
    y = (255 * (0.2 + 0.6 * torch.rand(1, 3, 40, 40, generator=g))).round() / 255
    pair = Batch(x=y, given={"source": filters.bicubic(y, 0.5).clamp(0, 1)})
    spec = Spec(shape=(3, 8, 8), levels=256, media="image")

    def of(x):
        return psnr_y.measure(Case(spec=spec, reference=pair, whole=lambda: iter([(x, pair)])))

    border = y.clone()
    border[:, :, :2], border[..., -2:] = 0, 1
    assert of(y).value == of(border).value == 100
    brighter = (y + 10 / 255).clamp(0, 1)
    assert abs(of(brighter).value - 20 * torch.log10(torch.tensor(255 / (10 * 219 / 255)))) < 0.02
    plain = filters.bicubic(pair.given["source"], 2)
    assert abs(of(plain).fields["gain"]) < 1e-9 and abs(of(plain).fields["ssim"] - of(y).fields["bicubic_ssim"]) < 1e-9


@pytest.mark.skipif(
    not Path(os.environ.get("GENCTL_DATA", "")).joinpath("super-resolution").is_dir(), reason="needs the photographs of Set5"
)
def test_bicubic_on_set5_is_as_published():
    data = opened("spoiled", of={"name": "super-resolution"}, scale=4)
    found = psnr_y.measure(Case(spec=data.spec, reference=data.test.batch(0, 1), whole=lambda: ((b.x, b) for b in data.whole())))
    assert abs(found.fields["bicubic"] - 28.42) <= 0.05 and abs(found.fields["bicubic_ssim"] - 0.8104) < 0.002


def test_a_domain_is_told_by_a_classifier_of_both():
    spec = Spec(shape=(1, 4, 4), levels=256, given={"other": Spec(shape=(1, 4, 4), levels=256)}, media="image")
    bright, dark = torch.full((20, 1, 4, 4), 0.9), torch.full((20, 1, 4, 4), 0.1)
    pairs = Batch(x=bright, given={"other": dark})

    def fit(x, label):
        middle = [x[label == k].mean() for k in (0, 1)]
        return lambda p: -torch.stack([(p.mean((1, 2, 3)) - m).abs() for m in middle], 1)

    half = torch.cat([bright[:10], dark[:10]])
    found = domain.measure(Case(spec=spec, reference=pairs, samples=half, pairs=pairs, train=bright, train_given={"other": dark}, fit=fit))
    assert found.value == 0.5 and found.fields == {"right": 1.0, "copy": 0.0}


def test_eval_measures_whole_pictures_and_domains_and_both_ways_are_gone(photos, tmp_path, capsys):
    of = f"{{name: photos, path: {photos}, size: 16, test: 0.4, valid: 0.3}}"
    sets = [f"data={{name: spoiled, of: {of}, scale: 2}}", "train.steps=2", "train.batch=2", "model.width=4", "model.blocks=1"]
    training.train(
        training.Request(recipe="srgan-super-resolution", overrides=[(s, None) for s in sets], out=tmp_path / "a", device="cpu"), Quiet()
    )
    found = evaluate.evaluate(evaluate.Request(metrics=["psnr_y"], ckpt=tmp_path / "a", device="cpu"), lambda text: None)["results"][
        "psnr_y"
    ]
    assert found["n"] == 2 and 10 < found["value"] < found["bicubic"] and found["stamp"]["id"]
    sets = ["data={name: unpaired, of: {name: digits}, only: [0], other_only: [1]}", "train.steps=2", "train.batch=2"]
    small = ["model.width=4", "model.blocks=1", "model.critic=4", "model.patch=1", "model.pool=4"]
    ask = training.Request(recipe="cyclegan-clothing64", overrides=[(s, None) for s in sets + small], out=tmp_path / "b", device="cpu")
    training.train(ask, Quiet())
    found = evaluate.evaluate(evaluate.Request(metrics=["domain", "psnr_y"], ckpt=tmp_path / "b", device="cpu"), lambda text: None)[
        "results"
    ]
    assert 0 <= found["domain"]["value"] <= 1 and found["domain"]["right"] > 0.9 and "restores pictures" in found["psnr_y"]["reason"]
    for to, wanted in (("", None), ("other", None), ("source", "usage")):
        call = [
            "translate",
            "--ckpt",
            str(tmp_path / "b"),
            "--input",
            str(photos / "4_HR.png"),
            "--out",
            str(tmp_path / "there"),
            "--to",
            to,
        ]
        with pytest.raises(SystemExit):
            cli.main([*call, "--json", "--device", "cpu"])
        said = json.loads(capsys.readouterr().out)
        assert said["n"] == 1 if wanted is None else said["error"]["id"] == wanted


def test_likeness_of_brightness_is_symmetric():
    x, y = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(likeness.ssim(x, y), likeness.ssim(y, x))
