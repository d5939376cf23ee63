"""consistency: the battery, and its own truth: at the least noise it is the identity, and its levels double."""

import pytest
import torch

from genctl.contract import Progress, Spec
from genctl.families.diffusion.consistency import Consistency
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
UNET = {"channels": [8, 16], "width": 16, "conditional": True}
MLP = {"width": 16, "depth": 2}


@pytest.mark.parametrize(("model", "spec"), [(UNET, IMAGE), (MLP, ROW)], ids=["image", "row"])
def test_battery(model, spec):
    check_family(Consistency, model, spec, steps=24, descends=False)


def test_resume_is_exact(tmp_path):
    check_resume(Consistency, {**UNET, "dropout": 0.1}, IMAGE, tmp_path, cut=3, steps=6, batch=8)


def test_a_consistency_model_is_x_at_the_least_noise_and_its_levels_double():
    model = build(Consistency, {**MLP, "coarse": 10, "fine": 80}, ROW).eval()
    z = torch.randn(4, 2)
    torch.testing.assert_close(model.guess(z, torch.full((4,), 0.002), model.net.tell(None)), z)
    counts = [len(model.levels_at(Progress(step, 100))) - 1 for step in (0, 24, 26, 51, 99)]
    assert counts == [10, 10, 20, 40, 80]
    assert model.levels_at(Progress(99, 100))[0] == pytest.approx(0.002)
