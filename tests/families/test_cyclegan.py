"""CycleGAN: the battery, and truths of its own: what the pool shows, any size of picture, two kinds that find each other unpaired."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.translation.cyclegan import CycleGAN
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

OTHER = Spec(shape=(1, 16, 16), levels=256, media="image")
TWO = Spec(shape=(1, 16, 16), levels=256, given={"other": OTHER}, media="image")
SMALL = {"width": 4, "blocks": 1, "critic": 4, "patch": 1, "pool": 12}


@pytest.mark.parametrize("model", [SMALL, {**SMALL, "pool": 0, "loss": "relativistic", "resize": False, "identity": 0.0}])
def test_battery(model):
    check_family(CycleGAN, model, TWO, steps=12, descends=False, certain=True)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    """The pool of 12 is full after two steps of eight."""
    check_resume(CycleGAN, SMALL, TWO, tmp_path, cut=cut, steps=8, batch=8)


def test_the_pool_is_filled_then_half_of_what_is_shown_comes_from_it():
    model = build(CycleGAN, {**SMALL, "pool": 200}, TWO).train()
    for turn in range(1, 9):
        with noise.stream(turn):
            shown, _ = model.past(torch.full((50, 1, 16, 16), float(turn)), torch.full((50, 1, 16, 16), -float(turn)))
            model.remember()
        assert turn > 4 or bool((shown == turn).all())
        assert model.memory.held.sum() == min(200, 50 * turn)
    old = shown[:, 0, 0, 0] < 8
    assert 0.3 < float(old.float().mean()) < 0.7
    assert (model.memory.x == -model.memory.other).all() and 8.0 in model.memory.x


def test_the_pool_is_no_part_of_evaluation():
    model = build(CycleGAN, SMALL, TWO).eval()
    x = torch.rand(8, 1, 16, 16)
    assert model.past(x, x)[0] is x and not model.memory.held.any()


def test_any_height_and_width():
    model = build(CycleGAN, SMALL, TWO).eval()
    with torch.no_grad(), noise.stream(0):
        for size in ((21, 37), (3, 5), (16, 8)):
            there = model.sample(1, CycleGAN.Draw(), {"other": torch.rand(1, 1, *size)})
            assert there.shape == model.translate(Batch(x=there), "other", CycleGAN.Draw()).shape == (1, 1, *size)


def test_two_kinds_of_pictures_are_needed():
    with pytest.raises(GenctlError, match="unpaired"):
        build(CycleGAN, SMALL, OTHER)
    colour = Spec(shape=(3, 16, 16), levels=256, given={"other": OTHER}, media="image")
    with pytest.raises(GenctlError, match="identity"):
        build(CycleGAN, SMALL, colour)
    assert build(CycleGAN, {**SMALL, "identity": 0.0}, colour).to_other.net[-1].out_channels == 1


def test_it_finds_the_counterpart_without_pairs():
    """x is bright squares on dark, `other` dark squares on bright, never the same ones: the way there is the negative."""
    model = build(CycleGAN, {"width": 6, "blocks": 1, "critic": 8, "patch": 1, "identity": 0.0}, TWO)

    def squares(seed: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(seed)
        out = torch.zeros(8, 1, 16, 16)
        for k in range(8):
            a, b, side = (int(torch.randint(lo, hi, (), generator=g)) for lo, hi in ((1, 8), (1, 8), (4, 8)))
            out[k, :, a : a + side, b : b + side] = 1
        return out

    def data(i: int) -> Batch:
        return Batch(x=squares(2 * i), given={"other": 1 - squares(2 * i + 1)})

    loop.fit(model.train(), data, loop.Setting(Train(steps=150, lr=2e-3, betas=(0.5, 0.999), batch=8)), lambda *a: False)
    held = squares(10_001)
    with torch.no_grad():
        apart = (model.eval().sample(8, CycleGAN.Draw(), {"other": 1 - held}) - held).abs().mean()
    assert float(apart) < 0.1
