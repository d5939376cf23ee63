"""latent: the battery, and its own truth: what is drawn is what the prior draws, decoded; a class decides the code."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.diffusion.latent import Latent
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake, fit

IMAGE = Spec(shape=(1, 8, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
SMALL = {
    "hidden": [8, 16],
    "norm": False,
    "size": 2,
    "prior": {"family": "edm", "model": {"channels": [16], "width": 16, "conditional": True}},
}


def test_battery():
    check_family(Latent, SMALL, IMAGE, steps=24)


def test_resume_is_exact(tmp_path):
    check_resume(Latent, {**SMALL, "norm": True}, IMAGE, tmp_path, cut=4, steps=8, batch=8)


def test_it_draws_what_its_prior_draws_by_the_keys_it_is_given():
    model = build(Latent, SMALL, IMAGE).eval()
    draw, given = Latent.Draw(solver="heun", steps=8), {"label": torch.arange(4)}
    with torch.no_grad():
        with noise.stream(0):
            x = model.sample(4, draw, given)
        with noise.stream(0):
            code = model.second.sample(4, draw, given)
        assert torch.equal(x, model.decode(code))
        with noise.stream(0):
            assert not torch.equal(x, model.sample(4, Latent.Draw(), given))


def test_a_class_decides_the_picture_and_a_revision_of_little_is_what_was():
    """Four pictures: drawn given its class, each is one of those of that class; a little noise and back changes little."""
    model, _ = fit(Latent, {**SMALL, "prior_share": 0.5, "kl": 1e-4}, IMAGE, 800, lr=3e-3, batch=32)
    batch = fake(IMAGE, 32)
    model.eval()
    with torch.no_grad(), noise.stream(0):
        x = model.sample(32, Latent.Draw(steps=20), {"label": batch.given["label"]})
        y = model.revise(Batch(x=batch.x, given=batch.given), 0.1, Latent.Draw(steps=20))
    variance, label = float(batch.x.var()), batch.given["label"]
    gap = (x[:, None] - batch.x).square().flatten(2).mean(2)  # to each of the pictures; two of them may be of one class
    assert gap.masked_fill(label[:, None] != label, 1e9).min(1).values.max() < 0.2 * variance
    assert gap.max() > variance
    assert float((y - batch.x).square().mean()) < 0.2 * variance


def test_a_prior_that_is_no_diffusion_is_refused():
    with pytest.raises(GenctlError, match="no diffusion of codes"):
        build(Latent, {**SMALL, "prior": {"family": "mixture", "model": {}}}, Spec(shape=(1, 8, 8), levels=256, media="image"))
