"""flowmatching: the battery, and its own truth: the target is a line's velocity, and optimal pairs do not cross."""

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.families.diffusion.flowmatching import FlowMatching
from genctl.maths import noise
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
UNET = {"channels": [8, 16], "width": 16, "conditional": True}
MLP = {"width": 16, "depth": 2}


@pytest.mark.parametrize(("model", "spec"), [(UNET, IMAGE), (MLP, ROW)], ids=["image", "row"])
def test_battery(model, spec):
    check_family(FlowMatching, model, spec, steps=24)


def test_resume_is_exact(tmp_path):
    check_resume(FlowMatching, {**UNET, "dropout": 0.1}, IMAGE, tmp_path, cut=3, steps=6, batch=8)


def test_pairs_of_the_least_distance_do_not_cross():
    model = build(FlowMatching, {**MLP, "coupling": "ot"}, Spec(shape=(1,)))
    x = torch.linspace(-1, 1, 32)[torch.randperm(32)][:, None]
    with noise.stream(0):
        batch = model.standardise(Batch(x=x), Progress(1, 10))
    order = x[:, 0].argsort()
    assert batch.given["eps"][order, 0].diff().min() > 0


def test_the_target_of_flow_matching_is_the_line_s_velocity():
    model = build(FlowMatching, MLP, ROW)
    x, eps = torch.randn(5, 2), torch.randn(5, 2)
    s = torch.tensor([0.1, 0.5, 1.0, 3.0, 20.0])[:, None]
    by, z = model.scaling(s), x + s * eps
    t = s / (1 + s)
    torch.testing.assert_close(by.into * z, (1 - t) * x + t * eps)
    torch.testing.assert_close((x - by.skip * z) / by.out, eps - x, rtol=1e-3, atol=1e-4)
