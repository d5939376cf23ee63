"""memorizer: the battery, and its own truth: every sample is a training example, and all of them come up."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.baseline.memorizer import Memorizer
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, draw

IMAGE = Spec(shape=(1, 4, 4), levels=2, media="image")
ROW = Spec(shape=(3,))
TEXT = Spec(shape=(6,), vocab=5, end=0)


@pytest.mark.parametrize("spec", [IMAGE, ROW, TEXT], ids=lambda s: s.kind)
def test_battery(spec):
    check_family(Memorizer, {"capacity": 700}, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Memorizer, {"capacity": 50}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_samples_are_the_training_set():
    x = torch.randn(20, 3)
    net = build(Memorizer, {"capacity": 18}, ROW)
    loop.fit(net, lambda i: Batch(x=x[i * 5 : i * 5 + 5]), loop.Setting(Train(steps=4)), lambda *a: False)
    assert int(net.count) == 18
    assert torch.equal(net.kept, x[:18])
    drawn = {tuple(row) for row in draw(net, 500).tolist()}
    assert drawn == {tuple(row) for row in x[:18].tolist()}


def test_too_much_to_keep_is_refused():
    with pytest.raises(GenctlError, match="more than"):
        build(Memorizer, {"capacity": 10_000_000}, Spec(shape=(1, 28, 28), levels=256))
