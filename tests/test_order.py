"""The order of the data: every example once an epoch, a function of the position alone, for small sets and for large."""

import pytest
import torch

from genctl.training import order


@pytest.fixture(params=["listed", "computed"])
def way(request, monkeypatch):
    if request.param == "computed":
        monkeypatch.setattr(order, "LISTED", 0)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 64, 1000])
def test_every_example_once_an_epoch(way, count):
    both = order.rows(7, count, 0, 2 * count)
    for part in both.split(count):
        assert sorted(part.tolist()) == list(range(count))
    if count >= 10:
        assert both[:count].tolist() != both[count:].tolist()


def test_a_batch_is_a_function_of_its_place(way):
    whole = order.rows(0, 50, 0, 200)
    pieces = torch.cat([order.rows(0, 50, i, i + 16) for i in range(0, 192, 16)])
    assert torch.equal(whole[:192], pieces)
    assert not torch.equal(whole, order.rows(1, 50, 0, 200))


def test_the_computed_order_is_well_shuffled(monkeypatch):
    """Neighbours in place are no neighbours in value, and places and values do not correlate."""
    monkeypatch.setattr(order, "LISTED", 0)
    x = order.rows(3, 100_000, 0, 100_000).double()
    place = torch.arange(100_000).double()
    assert abs(torch.corrcoef(torch.stack([x, place]))[0, 1]) < 0.01
    assert abs(torch.corrcoef(torch.stack([x[1:], x[:-1]]))[0, 1]) < 0.01
    assert abs((x[1:] - x[:-1]).abs().mean() / 100_000 - 1 / 3) < 0.01


def test_a_large_set_needs_no_list():
    big = 2**40 + 5
    x = order.rows(0, big, big - 3, big + 3)
    assert len(set(x.tolist())) >= 5
    assert int(x.max()) < big
