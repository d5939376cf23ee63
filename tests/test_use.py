"""What a trained model is used for: reconstruct, interpolate, traverse, impute, score, encode; each for every family that has the power."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import cli
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.maths import paths
from genctl.tasks import codes, impute, readback, score
from genctl.tasks import train as training
from genctl.tasks.sample import Sampler
from tests.test_eval import Quiet


def trained(tmp_path_factory, recipe: str, *changes: str):
    out = tmp_path_factory.mktemp("runs") / recipe
    training.train(training.Request(recipe=recipe, overrides=[(c, None) for c in changes], out=out, device="cpu"), Quiet())
    return out


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return trained(tmp_path_factory, "vae-digits", "train.steps=30", "data.only=[0]")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    return trained(tmp_path_factory, "realnvp-moons", "train.steps=20")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    return trained(tmp_path_factory, "gpt-grammar", "train.steps=5")


def call(capsys, *args) -> dict:
    """A command with --json; its document, or the error's."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, args), "--json", "--device", "cpu"])
    said = json.loads(capsys.readouterr().out)
    assert (ended.value.code != 0) == ("error" in said)
    return said


def test_a_flow_reconstructs_what_it_is_given(flow, tmp_path, capsys):
    found = call(capsys, "reconstruct", "--ckpt", flow, "--out", tmp_path / "r", "-n", 20)
    assert found["n"] == 20 and found["mean_squared_error"] < 1e-8
    assert (tmp_path / "r" / "sheet.png").exists() and (tmp_path / "r" / "samples.csv").exists()


def test_reconstructions_are_pictures_that_can_be_read_back(vae, tmp_path, capsys):
    call(capsys, "reconstruct", "--ckpt", vae, "--out", tmp_path / "r", "-n", 5)
    x, note = readback.read(tmp_path / "r", Sampler.load(vae).spec)
    assert x.shape == (5, 1, 8, 8) and note["family"] == "vae"
    again = call(capsys, "reconstruct", "--ckpt", vae, "--input", tmp_path / "r", "--out", tmp_path / "again")
    assert again["n"] == 5


def test_the_way_begins_with_what_the_seed_draws(vae, tmp_path, capsys):
    found = call(capsys, "interpolate", "--ckpt", vae, "--from", 3, "--to", 4, "--frames", 5, "--out", tmp_path / "way")
    x, _ = readback.read(tmp_path / "way", Sampler.load(vae).spec)
    for end, seed in ((0, 3), (-1, 4)):
        assert (x[end] - Sampler.load(vae).sample(1, seed=seed)[0]).abs().max() <= 0.5 / 255 + 1e-4
    with Image.open(tmp_path / "way" / "way.gif") as movie:
        assert movie.n_frames == 8  # five there, three back
    assert found["files"][0].endswith("sheet.png")


def test_the_way_between_two_pictures(vae, tmp_path, capsys):
    call(capsys, "reconstruct", "--ckpt", vae, "--out", tmp_path / "r", "-n", 2)
    a, b = tmp_path / "r" / "000000.png", tmp_path / "r" / "000001.png"
    assert call(capsys, "interpolate", "--ckpt", vae, "--from", a, "--to", b, "--path", "linear", "--out", tmp_path / "w")["n"] == 16


def test_a_great_circle_keeps_lengths():
    a, b = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    a, b = a / a.norm(), b / b.norm()
    way = paths.spherical(a, b, torch.linspace(0, 1, 7))
    torch.testing.assert_close(way.norm(dim=1), torch.ones(7))
    torch.testing.assert_close(torch.stack([way[0], way[-1]]), torch.stack([a, b]))
    torch.testing.assert_close(paths.spherical(a, a, torch.linspace(0, 1, 3)), a.expand(3, -1))


def test_one_number_of_the_code_moves(vae, tmp_path, capsys):
    found = call(capsys, "traverse", "--ckpt", vae, "--dims", "1,6", "--steps", 4, "--out", tmp_path / "t")
    assert found["dims"] == [1, 6] and len(readback.read(tmp_path / "t", Sampler.load(vae).spec)[0]) == 8
    assert call(capsys, "traverse", "--ckpt", vae, "--dims", "8", "--out", tmp_path / "t")["error"]["id"] == "usage"


def test_scores_tell_the_class_that_was_trained_on(vae, tmp_path, capsys):
    """`data.only` says what is normal; what the option says goes before it."""
    found = call(capsys, "score", "--ckpt", vae, "--by", "reconstruction", "--out", tmp_path / "s")
    assert found["auroc"] > 0.8 and found["normal"] + found["abnormal"] == found["n"] == 359
    rows = list(csv.DictReader((tmp_path / "s" / "scores.csv").read_text().splitlines()))
    scores = torch.tensor([float(r["score"]) for r in rows])
    normal = torch.tensor([int(r["label"]) == 0 for r in rows])
    pairs = scores[~normal][:, None] - scores[normal]
    assert found["auroc"] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).double().mean().item())
    other = call(capsys, "score", "--ckpt", vae, "--by", "reconstruction", "--normal", "1,2", "--out", tmp_path / "s")
    assert other["normal"] != found["normal"]


def test_scores_of_numbers_are_their_density(flow, tmp_path, capsys):
    found = call(capsys, "score", "--ckpt", flow, "-n", 50, "--out", tmp_path / "s")
    assert found["by"] == "log_prob" and found["n"] == 50 and "auroc" not in found


def test_the_error_of_an_auroc():
    g = torch.Generator().manual_seed(0)
    seen = [
        score.auroc(torch.cat([torch.randn(40, generator=g), torch.randn(30, generator=g) + 1]), torch.arange(70) >= 40) for _ in range(300)
    ]
    values = torch.tensor([s["auroc"] for s in seen])
    assert values.std().item() == pytest.approx(sum(s["se"] for s in seen) / 300, rel=0.15)
    assert score.auroc(torch.ones(3), torch.ones(3, dtype=torch.bool))["auroc"] is None


def test_codes_with_a_map_and_a_probe(vae, tmp_path, capsys):
    found = call(capsys, "encode", "--ckpt", vae, "--out", tmp_path / "e")
    with np.load(tmp_path / "e" / "codes.npz") as arrays:
        assert arrays["x"].shape == (359, 8) and arrays["label"].shape == (359,)
    assert len((tmp_path / "e" / "codes.csv").read_text().splitlines()) == 360
    assert 0.1 < found["probe"]["accuracy"] <= 1 and (tmp_path / "e" / "map.png").exists()
    assert call(capsys, "encode", "--ckpt", vae, "--map", "tsne", "-n", 40, "--out", tmp_path / "e")["n"] == 40


def test_a_probe_reads_what_is_there_and_no_more():
    g = torch.Generator().manual_seed(0)
    label = torch.randint(3, (600,), generator=g)
    told = torch.nn.functional.one_hot(label, 3) + 0.1 * torch.randn(600, 3, generator=g)
    assert codes.probe(told, label)["accuracy"] > 0.99
    blind = codes.probe(torch.randn(600, 3, generator=g), label)
    assert abs(blind["accuracy"] - 1 / 3) < 4 * blind["se"]


SQUARE = Spec(shape=(1, 4, 6), levels=256, media="image")


@pytest.mark.parametrize(
    ("mask", "hides"),
    [("left", (slice(None), slice(0, 3))), ("right", (slice(None), slice(3, 6))), ("top", slice(0, 2)), ("bottom", slice(2, 4))],
)
def test_what_a_mask_hides(mask, hides):
    wanted = torch.zeros(4, 6, dtype=torch.bool)
    wanted[hides] = True
    assert torch.equal(impute.hidden(mask, 0.5, 2, SQUARE, 0), wanted.expand(2, 1, 4, 6))


def test_masks_of_other_forms(tmp_path):
    assert impute.hidden("box", 0.25, 1, SQUARE, 0)[0, 0, 1:3, 1:4].all() and impute.hidden("box", 0.25, 1, SQUARE, 0).sum() == 6
    wide = Spec(shape=(3, 40, 50), levels=256, media="image")
    found = impute.hidden("random", 0.3, 2, wide, 0)
    assert found.float().mean().item() == pytest.approx(0.3, abs=0.03) and torch.equal(found[:, 0], found[:, 2])
    assert impute.hidden("left", 0.5, 1, Spec(shape=(4,)), 0).tolist() == [[True, True, False, False]]
    Image.fromarray(np.uint8([[255, 0, 0, 0, 0, 0]] * 4)).save(tmp_path / "mask.png")
    assert impute.hidden(str(tmp_path / "mask.png"), 0.5, 1, SQUARE, 0).sum() == 4
    with pytest.raises(GenctlError):
        impute.hidden("middle", 0.5, 1, SQUARE, 0)


def test_what_is_left_is_kept_and_the_rest_drawn(vae, tmp_path, capsys):
    found = call(capsys, "impute", "--ckpt", vae, "--mask", "top", "-n", 6, "--draws", 2, "--set", "sweeps=5", "--out", tmp_path / "i")
    x, _ = readback.read(tmp_path / "i", Sampler.load(vae).spec)
    assert len(x) == 12 and found["draws"] == 2
    assert torch.equal(x[0, :, 4:], x[1, :, 4:]) and not torch.equal(x[0, :, :4], x[1, :, :4])


def test_a_sentence_is_gone_on_with(gpt, tmp_path, capsys):
    call(capsys, "impute", "--ckpt", gpt, "--mask", "right", "-n", 4, "--draws", 2, "--out", tmp_path / "i")
    assert "[left of it]" in (tmp_path / "i" / "sheet.txt").read_text()


@pytest.mark.parametrize("command", ["reconstruct", "interpolate", "traverse", "encode"])
def test_a_family_without_the_power_says_so(command, gpt, tmp_path, capsys):
    said = call(capsys, command, "--ckpt", gpt, "--out", tmp_path / "x")
    assert said["error"]["id"] == "power" and "gpt" in said["error"]["message"] and not (tmp_path / "x").exists()


def test_data_of_some_classes_alone(capsys, vae, tmp_path):
    said = call(capsys, "train", "vae-digits", "data.only=[11]", "--out", tmp_path / "run")
    assert said["error"]["id"] == "config" and "0 to 9" in said["error"]["message"]
