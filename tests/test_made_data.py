"""Made data and its truth agree: every density integrates to one, and draws follow it."""

import math

import pytest
import torch

from genctl.data import bars, shapes, toy2d

SHAPES = ["ring8", "grid25", "two-moons", "rings", "checkerboard", "pinwheel"]
WIDE, CELLS = 4.0, 160


@pytest.mark.parametrize("shape", SHAPES)
def test_the_density_integrates_to_one_and_draws_match(shape):
    """On a fine grid the density sums to one; over 16x16 coarse cells the counts of 20,000 draws pass a chi-squared test."""
    truth = toy2d.truth(shape)
    axis = (torch.arange(CELLS) + 0.5) * (2 * WIDE / CELLS) - WIDE
    p = truth.log_prob(torch.cartesian_prod(axis, axis)).exp() * (2 * WIDE / CELLS) ** 2
    assert float(p.sum()) == pytest.approx(1, abs=2e-3)
    coarse = 16
    cells = p.view(coarse, CELLS // coarse, coarse, CELLS // coarse).sum((1, 3)).flatten()
    n = 20_000
    x = truth.draw(n, 3)
    assert x.shape == (n, 2)
    assert x.dtype == torch.float32
    place = ((x + WIDE) / (2 * WIDE) * coarse).floor().long().clamp(0, coarse - 1)
    count = torch.bincount(place[:, 0] * coarse + place[:, 1], minlength=coarse**2).double()
    likely = cells * n > 5
    chi2 = float(((count - cells * n).square() / (cells * n))[likely].sum())
    degrees = int(likely.sum())
    assert chi2 < degrees + 5 * math.sqrt(2 * degrees)
    assert float(count[~likely].sum()) < n * float(cells[~likely].sum()) + 50


@pytest.mark.parametrize("shape", SHAPES)
def test_splits_are_fresh_draws(shape):
    dataset = toy2d.open(toy2d.Config(shape=shape, count=500))
    assert [len(s) for s in (dataset.train, dataset.valid, dataset.test)] == [500, 10_000, 10_000]
    assert not torch.equal(dataset.train.batch(0, 100).x, dataset.test.batch(0, 100).x)
    assert torch.isfinite(dataset.truth.log_prob(dataset.test.batch(0, 1000).x)).all()


@pytest.mark.parametrize("side", [2, 3, 4])
def test_bars_are_distinct_and_uniform(side):
    truth = bars.Bars(side)
    every = truth.support()
    assert len(every.flatten(1).unique(dim=0)) == truth.size == 2 ** (side + 1) - 2
    assert float(truth.log_prob(every).exp().sum()) == pytest.approx(1)
    drawn = truth.draw(3000, 0)
    count = drawn.flatten(1).unique(dim=0, return_counts=True)[1].double()
    expected = 3000 / truth.size
    assert len(count) == truth.size
    assert float(((count - expected).square() / expected).sum()) < truth.size + 5 * math.sqrt(2 * truth.size)


def test_bars_know_what_is_no_bar():
    truth = bars.Bars(3)
    x = torch.zeros(3, 1, 3, 3)
    x[1, 0, 1, 1] = 1
    x[2] = 0.5
    assert torch.isfinite(truth.log_prob(x)).tolist() == [True, False, False]


def test_bars_as_a_dataset():
    dataset = bars.open(bars.Config(side=4, count=100))
    assert dataset.spec.shape == (1, 4, 4)
    assert dataset.spec.levels == 2
    assert len(dataset.train) == 100
    assert torch.isfinite(dataset.truth.log_prob(dataset.train.batch(0, 100).x)).all()


def test_shapes_stand_where_their_factors_say():
    dataset = shapes.open(shapes.Config(sizes=3, places=4))
    parts = [dataset.train, dataset.valid, dataset.test]
    assert [len(p) for p in parts] == [116, 14, 14]  # every one of 3 x 3 x 4 x 4 once
    batches = [p.batch(0, len(p)) for p in parts]
    rows = torch.cat([torch.stack(list(b.given.values()), 1) for b in batches])
    assert len(rows.unique(dim=0)) == 144 and set(dataset.spec.given) == {"label", "size", "x", "y"}
    x = torch.cat([b.x for b in batches])[:, 0]
    assert set(x.unique().tolist()) == {0.0, 1.0} and dataset.spec.levels == 2
    at, area = torch.arange(32) + 0.5, x.sum((1, 2))
    across, down = (x.sum(1) @ at) / area, (x.sum(2) @ at) / area
    expected = 32 / 6 + rows[:, 2:] * (32 * 2 / 3) / 3
    assert (across - expected[:, 0]).abs().max() < 0.2
    low = (down - expected[:, 1]).abs()
    assert low[rows[:, 0] < 2].max() < 0.2 and low.max() < 1.5  # the heart is not middled
    for kind in range(3):
        mean = [area[(rows[:, 0] == kind) & (rows[:, 1] == size)].mean() for size in range(3)]
        assert mean[0] < mean[1] < mean[2]


def test_outlines_are_the_edge_of_the_shape_beside_them():
    dataset = shapes.open(shapes.Config(sizes=2, places=3, outline=True))
    batch = dataset.train.batch(0, 10)
    line = batch.given["source"]
    assert dataset.spec.given["source"].shape == (1, 32, 32) and set(line.unique().tolist()) == {0.0, 1.0}
    assert (line <= batch.x).all() and line.sum() < 0.8 * batch.x.sum()
    square = batch.given["label"] == 0
    width, height = (batch.x[square].amax(axis).sum((1, 2)) for axis in (2, 3))
    assert torch.equal(line[square].sum((1, 2, 3)), 2 * (width + height) - 4)
