"""pix2pix: the battery, and truths of its own: any size of picture, patches of the size they claim, a mapping that is learned."""

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.translation.pix2pix import Pix2Pix
from genctl.maths import noise
from genctl.nets.translation import Patches, UNet
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

SOURCE = Spec(shape=(1, 16, 16), levels=256, media="image")
PAIR = Spec(shape=(3, 16, 16), levels=256, given={"source": SOURCE}, media="image")
SMALL = {"width": 4, "patch": 1}


@pytest.mark.parametrize("model", [SMALL, {**SMALL, "adversarial": 0.0}, {**SMALL, "loss": "relativistic", "depth": 3}])
def test_battery(model):
    check_family(Pix2Pix, model, PAIR, steps=12, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Pix2Pix, SMALL, PAIR, tmp_path, cut=cut, steps=8, batch=8)


def test_any_height_and_width():
    model = build(Pix2Pix, SMALL, PAIR).eval()
    with torch.no_grad(), noise.stream(0):
        x = model.sample(1, Pix2Pix.Draw(), {"source": torch.rand(1, 1, 21, 37)})
    assert x.shape == (1, 3, 21, 37) and x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize(("halvings", "pixels"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_is_as_wide_as_it_is_said_to_be(halvings, pixels):
    """The pixels that one logit moves with, counted by the gradient, norms left out: they see the whole picture."""
    critic = Patches(1, 2, halvings)
    critic.net = torch.nn.Sequential(*(m for m in critic.net if type(m).__name__ != "Norm"))
    x = torch.rand(1, 1, 160, 160, requires_grad=True)
    out = critic(x)
    middle = out.shape[1] // 2
    (grad,) = torch.autograd.grad(out[0, middle, middle], x)
    rows = grad[0, 0].abs().sum(1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == pixels


def test_dropout_is_the_noise_and_validation_has_none():
    net = UNet(1, 1, 4, 4, 0.5)
    x = torch.rand(2, 1, 16, 16)
    with torch.no_grad(), noise.stream(0):
        assert not torch.equal(net(x), net(x)) and torch.equal(net(x, drop=False), net(x, drop=False))
    model = build(Pix2Pix, SMALL, PAIR)
    batch = Batch(x=torch.rand(2, 3, 16, 16), given={"source": x})
    assert torch.equal(model.loss(batch, Progress()).total, model.loss(batch, Progress()).total)


def test_pairs_are_needed():
    with pytest.raises(GenctlError, match="pairs"):
        build(Pix2Pix, SMALL, Spec(shape=(3, 16, 16), levels=256, media="image"))


def test_it_learns_to_paint_squares():
    """The source is a square's outline; the counterpart is filled. Other squares than those of training are filled too."""
    spec = Spec(shape=(1, 16, 16), levels=256, given={"source": SOURCE}, media="image")
    model = build(Pix2Pix, {"width": 8, "patch": 1, "dropout": 0.0}, spec)

    def data(i: int) -> Batch:
        g = torch.Generator().manual_seed(i)
        target, source = torch.zeros(16, 1, 16, 16), torch.zeros(16, 1, 16, 16)
        for k in range(16):
            a, b, side = (int(torch.randint(lo, hi, (), generator=g)) for lo, hi in ((1, 6), (1, 6), (5, 10)))
            target[k, :, a : a + side, b : b + side] = 1
            source[k] = target[k]
            source[k, :, a + 1 : a + side - 1, b + 1 : b + side - 1] = 0
        return Batch(x=target, given={"source": source})

    loop.fit(model.train(), data, loop.Setting(Train(steps=150, lr=2e-3, betas=(0.5, 0.999), batch=16)), lambda *a: False)
    held = data(10_000)
    with torch.no_grad():
        error = (model.eval().sample(16, Pix2Pix.Draw(), held.given) - held.x).abs().mean()
    assert float(error) < 0.3 * float((held.given["source"] - held.x).abs().mean())
