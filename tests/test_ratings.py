"""Ratings with most of them missing: the adapter, what an RBM makes of them, what it recommends, and the baselines beside it."""

import csv
import gzip
import json

import pytest
import torch
from typer.testing import CliRunner

from genctl import catalog
from genctl.cli.app import app
from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.energy.rbm import RBM
from genctl.maths import factors, noise
from genctl.media import ratings
from genctl.tasks import recommend
from tests.battery import build

PEOPLE, FILMS = 40, 12
ITEMS = json.dumps({"titles": [f"Film {k}" for k in range(FILMS)], "low": 0.5, "high": 5.0})
SPEC = Spec(shape=(FILMS,), levels=10, media="ratings", codec={"items": ITEMS})


def taste(person: int, film: int) -> float:
    """Half of the people like even films, half odd ones; some films are better."""
    return min(5.0, 1.0 + 3.0 * (person % 2 == film % 2) + 0.5 * (film % 3))


@pytest.fixture
def folder(tmp_path):
    """A small MovieLens: everybody rates two films of three."""
    rows = [(p, 10 * f, taste(p, f), 0) for p in range(PEOPLE) for f in range(FILMS) if (p + f) % 3]
    for name, head, table in (
        ("ratings", "userId,movieId,rating,timestamp", rows),
        ("movies", "movieId,title,genres", [(10 * f, f"Film {f}", "None") for f in range(FILMS)]),
    ):
        text = "\n".join([head, *(",".join(map(str, row)) for row in table)]) + "\n"
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def opened(path, **more):
    module = catalog.load("data", "ml-latest-small")
    return module.open(module.Config(path=str(path), **more))


def test_the_splits_are_parts_of_the_same_rows(folder):
    data = opened(folder, valid=0.1)
    parts = [data.split(name).batch(0, PEOPLE) for name in ("train", "valid", "test")]
    assert data.spec == SPEC
    assert [len(p) for p in parts] == [PEOPLE] * 3
    assert (sum(p.mask.int() for p in parts) == torch.tensor([[(p + f) % 3 > 0 for f in range(FILMS)] for p in range(PEOPLE)])).all()
    whole = sum(p.x * p.mask for p in parts)
    assert ratings.stars(whole, data.spec)[3, 1].item() == pytest.approx(taste(3, 1))
    assert not parts[0].x[~parts[0].mask].any(), "what is held out must not be seen"
    assert parts[2].mask.sum() == round(0.1 * sum(int(p.mask.sum()) for p in parts))


@pytest.mark.parametrize("cell", ["6", "0.7", "good"])
def test_a_rating_out_of_range_is_said(folder, cell):
    (folder / "ratings.csv.gz").write_bytes(gzip.compress(f"userId,movieId,rating\n1,10,{cell}\n".encode()))
    with pytest.raises(GenctlError, match=r"no rating of 0\.5 to 5"):
        opened(folder)


def test_missing_entries_add_nothing():
    """The free energy, the codes and the gradient of what was observed are those of a machine without the other units."""
    net = build(RBM, {"hidden": 3, "visible": "categorical", "negative": "cd", "centre": False}, Spec(shape=(4,), levels=3))
    part = build(RBM, {"hidden": 3, "visible": "categorical", "negative": "cd"}, Spec(shape=(2,), levels=3))
    with torch.no_grad():
        net.w.normal_(), net.b.normal_(), net.c.normal_()
        part.w.copy_(net.w[:6]), part.b.copy_(net.b[:6]), part.c.copy_(net.c)
    x = torch.tensor([[0.0, 0.5, 1.0, 0.0], [1.0, 0.5, 0.0, 0.5]])
    mask = torch.tensor([True, True, False, False]).expand(2, 4)
    torch.testing.assert_close(net.energy(Batch(x=x, mask=mask)), part.energy(Batch(x=x[:, :2])))
    torch.testing.assert_close(net.encode(Batch(x=x, mask=mask)), part.encode(Batch(x=x[:, :2])))
    with noise.stream(0):
        many = Batch(x=x.repeat(20, 1), mask=mask.repeat(20, 1))
        dw = torch.autograd.grad(net.contrast(many, Progress()).total, net.w)[0]
    assert dw[:6].any() and not dw[6:].any()
    with pytest.raises(GenctlError, match="partly missing"):
        net.log_prob(Batch(x=x, mask=mask))
    chains = build(RBM, {"hidden": 3, "visible": "categorical"}, Spec(shape=(4,), levels=3))
    with pytest.raises(GenctlError, match="lacks"):
        chains.advance(Batch(x=x, mask=mask), Progress())


def test_shared_weights_are_those_of_every_entry():
    net = build(RBM, {"hidden": 3, "visible": "categorical", "negative": "cd", "shared": True}, Spec(shape=(4,), levels=3))
    with noise.stream(0):
        dw, du = torch.autograd.grad(net.contrast(Batch(x=torch.rand(5, 4).round()), Progress()).total, [net.w, net.u])
    torch.testing.assert_close(du, 0.3 * dw.view(4, 3, 3).sum(0))
    with pytest.raises(GenctlError, match="only categorical"):
        build(RBM, {"shared": True}, Spec(shape=(4,), levels=2))


def test_the_baselines_find_what_they_can_say():
    """Rows and columns that add up are found by the biases; a product of rank one beside them by factors."""
    g = torch.Generator().manual_seed(0)
    row, column = torch.randn(60, 1, generator=g), torch.randn(1, 50, generator=g)
    seen = torch.rand(60, 50, generator=g) < 0.6
    x = row + column
    assert ((factors.biases(x, seen, damp=0.0, rounds=50) - x)[~seen]).abs().max() < 1e-3
    y = x + torch.randn(60, 1, generator=g) @ torch.randn(1, 50, generator=g)
    far = ((factors.biases(y, seen) - y)[~seen]).square().mean()
    near = ((factors.factorised(y, seen, rank=3, damp=0.01) - y)[~seen]).square().mean()
    assert near < 0.1 * far


def run(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_from_ratings_to_recommendations(folder, tmp_path):
    """Train, score beside the baselines, and recommend to somebody who likes even films: even films, by their titles."""
    out = tmp_path / "run"
    recipe = {
        "family": "rbm",
        "data": {"name": "ml-latest-small", "path": str(folder)},
        "model": {"hidden": 8, "visible": "categorical", "negative": "cd", "shared": True},
        "train": {"steps": 300, "batch": 20, "optimizer": "sgd", "betas": [0.9, 0.999], "lr": 0.1, "sample_every": 1000},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    run("train", str(tmp_path / "r.yaml"), "--out", str(out), "--json")
    found = run("eval", "--ckpt", str(out), "--metric", "rmse", "--json")["results"]["rmse"]
    assert found["value"] < 0.5 * found["bias"]
    assert found["mf"] < found["bias"] < found["mean"] * 1.2
    (tmp_path / "mine.csv").write_text("title,rating\nFilm 0,4\nfilm 1,1\nFilm 2,5\nFilm 3,1\n")
    told = run("sample", "--ckpt", str(out), "--given", str(tmp_path / "mine.csv"), "-n", "4", "--out", str(tmp_path / "s"), "--json")
    titles = [one["title"] for one in told["best"]]
    assert sorted(titles) == ["Film 10", "Film 4", "Film 6", "Film 8"]
    with (tmp_path / "s" / "recommendations.csv").open() as file:
        assert [row["title"] for row in csv.DictReader(file)] == titles


def test_a_family_that_takes_examples_whole_is_refused(folder, tmp_path):
    (tmp_path / "r.yaml").write_text(json.dumps({"family": "vae", "data": {"name": "ml-latest-small", "path": str(folder)}}))
    result = CliRunner().invoke(app, ["train", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")])
    assert "a part is missing" in str(result.exception)


def test_what_cannot_be_recommended_by_is_said(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("title,rating\nFilm 99,4\n")
    with pytest.raises(GenctlError, match="knows no 'Film 99'; did you mean 'Film"):
        recommend.read(path, SPEC)
    path.write_text("title,rating\nFilm 1,7\n")
    with pytest.raises(GenctlError, match=r"no rating of 0\.5 to 5"):
        recommend.read(path, SPEC)
