"""sngan: the battery, and a truth of its own: no layer of the critic stretches."""

import pytest
import torch
from torch import nn

from genctl.contract import Spec
from genctl.families.adversarial.sngan import SNGAN
from tests.battery import check_family, fit

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
BINARY = Spec(shape=(3, 12, 12), levels=2, media="image")
CONV = {"latent": 4, "width": 4}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ({**CONV, "conditional": True}, IMAGE),
        ({**CONV, "norm": False, "spectral": False, "loss": "relativistic", "r1": 1.0, "r2": 1.0}, BINARY),
    ],
)
def test_battery(model, spec):
    check_family(SNGAN, model, spec, steps=12, descends=False)


def test_no_layer_of_a_spectral_critic_stretches():
    model, _ = fit(SNGAN, CONV, BINARY, 30, lr=1e-2)
    model.eval()
    for m in model.critic.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            assert torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
