"""discretediffusion: the battery, and its own truth: with the true conditionals its bound is the entropy and its draws are the distribution."""

import math

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.families.diffusion.discretediffusion import DiscreteDiffusion
from genctl.maths import noise
from tests.battery import build, check_family, check_resume

SMALL = {"layers": 1, "heads": 2, "width": 16}
TEXT = Spec(shape=(8,), vocab=6, end=0, media="text", codec={"symbols": ["\n", *"abcde"]})
GRID = Spec(shape=(3, 4), vocab=3, given={"label": Spec(shape=(), vocab=4)})
ODD = Spec(shape=(3,), vocab=2)


@pytest.mark.parametrize(("model", "spec"), [(SMALL, TEXT), ({**SMALL, "conditional": True}, GRID)], ids=["text", "grid"])
def test_battery(model, spec):
    check_family(DiscreteDiffusion, model, spec, steps=40)


def test_resume_is_exact(tmp_path):
    check_resume(DiscreteDiffusion, {**SMALL, "dropout": 0.1, "conditional": True}, GRID, tmp_path, cut=3, steps=6, batch=8)


def parity():
    """A model that knows the conditionals of three bits of even sum, each such row alike."""
    model = build(DiscreteDiffusion, SMALL, ODD).eval()

    def guess(x, hidden, label):
        sum_ = (x * ~hidden).sum(1) % 2
        known = torch.stack([1 - sum_, sum_], 1).float().clamp(1e-9).log()[:, None].expand(-1, 3, -1)
        return torch.where((hidden.sum(1) == 1)[:, None, None], known, torch.full_like(known, math.log(0.5)))

    model.guess = guess
    return model


def test_the_bound_of_true_conditionals_is_exact_on_average():
    x = torch.tensor([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1]]).repeat(500, 1)
    with noise.stream(0):
        nats = -parity().log_prob(Batch(x=x))
    assert nats.mean().item() == pytest.approx(math.log(4), abs=0.01)


def test_a_model_that_knows_nothing_costs_every_symbol_its_logarithm():
    model = build(DiscreteDiffusion, SMALL, TEXT).eval()
    with torch.no_grad(), noise.stream(0):
        found = model.log_prob(Batch(x=torch.randint(6, (5, 8))))
    torch.testing.assert_close(found, torch.full((5,), -8 * math.log(6)))


@pytest.mark.parametrize("order", ["random", "surest"])
def test_draws_one_by_one_are_of_the_distribution(order):
    with noise.stream(0):
        x = parity().sample(8000, DiscreteDiffusion.Draw(steps=3, order=order))
    assert (x.sum(1) % 2 == 0).all()
    share = torch.bincount(x @ torch.tensor([4, 2, 1]), minlength=8)[[0, 3, 5, 6]] / len(x)
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.02, rtol=0)
    with noise.stream(0):
        assert (parity().sample(8000, DiscreteDiffusion.Draw(steps=1)).sum(1) % 2).any()  # all at once is not exact


def test_what_is_missing_follows_what_is_there():
    x, mask = torch.tensor([[1, 0, 0]]).expand(100, 3), torch.tensor([[True, False, True]]).expand(100, 3)
    with noise.stream(0):
        assert (parity().impute(Batch(x=x, mask=mask), DiscreteDiffusion.Draw()) == torch.tensor([1, 1, 0])).all()
