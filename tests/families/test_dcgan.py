"""dcgan: the battery, and truths of its own: the label is projected on the critic's features, clips are convolved over time."""

import pytest
import torch

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.adversarial.dcgan import DCGAN
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
BINARY = Spec(shape=(3, 12, 12), levels=2, media="image")
CONV = {"latent": 4, "width": 4}
CLIP = Spec(shape=(3, 1, 8, 8), levels=256, media="video")
PENALTIES = {"norm_critic": False, "norm": False, "r1": 1.0, "r2": 0.5, "r1_every": 4}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (CONV, IMAGE),
        ({**CONV, **PENALTIES, "conditional": True}, IMAGE),
        ({**CONV, "n_critic": 2, "loss": "least-squares"}, BINARY),
        ({**CONV, "feature_matching": 0.5}, CLIP),
    ],
)
def test_battery(model, spec):
    check_family(DCGAN, model, spec, steps=12, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DCGAN, {**CONV, "r1": 1.0, "r1_every": 3, "conditional": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_pictures_that_are_too_small_name_the_family_that_takes_them():
    with pytest.raises(GenctlError, match="gan") as e:
        build(DCGAN, CONV, Spec(shape=(1, 4, 4), levels=2, media="image"))
    assert e.value.try_ == "family: gan"


def test_the_critic_projects_the_label_on_its_features():
    """D(x, y) - D(x) = <v_y, f(x)>: two labels differ by what their vectors say of the features, and by nothing else."""
    model = build(DCGAN, {**CONV, "conditional": True}, IMAGE).eval()
    batch = fake(IMAGE, 6)
    with torch.no_grad():
        f = model.features(batch.x)
        one, two = (model.logit(f, {"label": torch.full((6,), k)}) for k in (1, 2))
        expected = f @ (model.told.weight[1] - model.told.weight[2])
    torch.testing.assert_close(one - two, expected)


def test_a_clip_is_drawn_frame_after_frame_over_time():
    model = build(DCGAN, CONV, CLIP).eval()
    with torch.no_grad(), noise.stream(0):
        x = model.sample(2, DCGAN.Draw())
        assert x.shape == (2, 3, 1, 8, 8) and model.judge(x).shape == (2,)
