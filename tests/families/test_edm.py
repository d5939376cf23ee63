"""edm: the battery, and its own truth: numbers of unit size go into the network and are asked of it."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.diffusion.edm import EDM
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
UNET = {"channels": [8, 16], "width": 16, "conditional": True}
MLP = {"width": 16, "depth": 2}


@pytest.mark.parametrize(("model", "spec"), [(UNET, IMAGE), (MLP, ROW)], ids=["image", "row"])
def test_battery(model, spec):
    check_family(EDM, model, spec, steps=24)


def test_resume_is_exact(tmp_path):
    check_resume(EDM, {**UNET, "dropout": 0.1}, IMAGE, tmp_path, cut=3, steps=6, batch=8)


def test_edm_asks_its_network_for_numbers_of_unit_size():
    model = build(EDM, MLP, ROW)
    x, eps = torch.randn(20_000, 1), torch.randn(20_000, 1)
    for s in (0.01, 0.3, 1.0, 10.0, 80.0):
        by, z = model.scaling(torch.tensor([[s]])), x + s * eps
        assert (by.into * z).std().item() == pytest.approx(1, rel=0.02)
        assert ((x - by.skip * z) / by.out).std().item() == pytest.approx(1, rel=0.02)
