"""wgan: the battery, and a truth of its own: weights are clipped after the critic's turn, and no others."""

import pytest

from genctl.contract import Spec
from genctl.families.adversarial.wgan import WGAN
from tests.battery import check_family, fit

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
BINARY = Spec(shape=(3, 12, 12), levels=2, media="image")
CONV = {"latent": 4, "width": 4}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (CONV, IMAGE),
        ({**CONV, "gradient_penalty": 0.0, "clip_weights": 0.01, "n_critic": 2}, BINARY),
    ],
)
def test_battery(model, spec):
    check_family(WGAN, model, spec, steps=12, descends=False)


def test_weights_are_clipped_after_the_turn_and_no_others():
    model, _ = fit(WGAN, {**CONV, "clip_weights": 0.01, "gradient_penalty": 0.0, "norm": False}, BINARY, 2)
    assert max(p.abs().max() for p in model.critic.parameters()) <= 0.01
    assert max(p.abs().max() for p in model.generator.parameters()) > 0.01
