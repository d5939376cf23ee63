"""The average of the weights: what it is of, and that few of its moves are as good as many."""

import pytest
import torch
from torch import nn

from genctl.training.ema import EMA


def averaged(decay: float, steps: int, every: int | None = None) -> tuple[EMA, list[float]]:
    """The average of a weight that walks at random."""
    net = nn.Linear(1, 1, bias=False)
    ema, g = EMA(net, decay), torch.Generator().manual_seed(0)
    ema.every = every or ema.every
    walked = []
    for step in range(steps):
        net.weight.data += torch.randn(1, 1, generator=g)
        walked.append(net.weight.item())
        ema.update(step)
    return ema, walked


@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.99, 1), (0.995, 2), (0.998, 5), (0.999, 8), (0.9999, 8)])
def test_a_long_average_moves_less_often(decay, every):
    assert EMA(nn.Linear(1, 1), decay).every == every


def test_a_move_a_step_is_the_definition():
    ema, walked = averaged(0.9, 100)
    value = None
    for step, w in enumerate(walked):
        decay = min(0.9, (1 + step) / (10 + step))
        value = w * (1 - decay) + decay * (value if value is not None else 0)
    torch.testing.assert_close(ema.average["weight"].item(), value, atol=0.35 * 0.9**90 + 1e-3, rtol=1e-4)


@pytest.mark.parametrize("decay", [0.995, 0.999])
def test_few_moves_are_as_good_as_many(decay):
    """Apart by less than the weight walks between two moves, where it is many times that away from its average."""
    few, walked = averaged(decay, 4000)
    many, _ = averaged(decay, 4000, every=1)
    apart = abs(few.average["weight"].item() - many.average["weight"].item())
    assert apart < few.every**0.5 < 0.3 * abs(many.average["weight"].item() - walked[-1])


def test_the_average_is_swapped_in_and_out_and_shipped():
    ema, walked = averaged(0.9, 10)
    average = ema.average["weight"].clone()
    weight = next(iter(ema.weights.values()))
    with ema.applied():
        assert torch.equal(weight, average)
    assert weight.item() == pytest.approx(walked[-1])
    ema.ship()
    assert torch.equal(weight, average)
