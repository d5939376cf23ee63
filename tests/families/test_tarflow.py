"""tarflow: the battery, and its own truths: patches see those before them, drawing by a cache is the inverse, noise is taken off."""

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.flow.tarflow import TarFlow
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake
from tests.families.flows import GREY, bent, check_inverse, label

SMALL = {"patch": 2, "blocks": 2, "layers": 1, "width": 8, "heads": 2}
COLOUR = Spec(shape=(3, 4, 2), levels=256, media="image")
CLIP = Spec(shape=(2, 3, 4, 2), levels=256, media="video")


@pytest.mark.parametrize(
    ("model", "spec"),
    [(SMALL, GREY), (SMALL, COLOUR), (SMALL, CLIP), ({**SMALL, "noise": 0.1}, GREY)],
    ids=["grey", "colour", "clip", "noisy"],
)
def test_battery(model, spec):
    check_family(TarFlow, model, spec)


def test_battery_given_a_label():
    check_family(TarFlow, {**SMALL, "conditional": True}, label(GREY))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(TarFlow, {**SMALL, "noise": 0.1}, GREY, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("spec", [GREY, COLOUR, CLIP, Spec(shape=(1, 2, 2), levels=2)], ids=lambda s: str(s.shape))
def test_it_inverts_and_its_log_determinant_is_that_of_the_jacobian(blocks, spec):
    check_inverse(bent(TarFlow, {**SMALL, "blocks": blocks}, spec, strength=0.2), spec.size)


def test_it_inverts_given_a_label():
    net = bent(TarFlow, {**SMALL, "conditional": True}, label(GREY))
    check_inverse(net, 16, net.context({"label": torch.tensor([0, 1, 2, 0])}))


def test_a_patch_moves_by_those_before_it():
    net = bent(TarFlow, {**SMALL, "blocks": 1}, GREY)
    block, x = net.blocks[0], torch.randn(4, 4)
    sees = torch.autograd.functional.jacobian(lambda x: block(x[None], None)[0][0], x).abs().sum((1, 3))  # (T, T)
    assert torch.equal(sees > 0, torch.ones(4, 4).tril().bool())


def test_drawing_with_a_cache_is_the_inverse_without_one():
    """Patch t of x solved from whole passes over what is known: the same numbers; long enough for the packed products."""
    net = bent(TarFlow, {**SMALL, "patch": 1}, GREY)
    block, z = net.blocks[0], torch.randn(3, 16, 1)
    x = torch.zeros_like(z)
    for t in range(16):
        h = torch.cat([block.begin(3, None), block.first(x[:, :-1])], 1)
        x[:, t] = block.affine.inverse(z, block.theta(block.transformer(h)))[:, t]
    torch.testing.assert_close(block.inverse(z, None), x, atol=1e-4, rtol=1e-4)


def test_patches_are_pieces_of_the_picture():
    net = build(TarFlow, SMALL, COLOUR)
    x = torch.arange(48.0).view(2, 24)
    assert torch.equal(net.patches(x)[0, 1], x[0].view(3, 4, 2)[:, 2:4].flatten())
    assert torch.equal(net.pixels(net.patches(x)), x)


def test_patches_of_a_clip_are_those_of_its_frames():
    net, still = build(TarFlow, SMALL, CLIP), build(TarFlow, SMALL, COLOUR)
    x = torch.arange(96.0).view(2, 48)
    frames = [still.patches(x.view(2, 2, 24)[:, k]) for k in range(2)]
    assert torch.equal(net.patches(x), torch.cat(frames, 1))
    assert torch.equal(net.pixels(net.patches(x)), x)


def test_what_does_not_divide_is_said():
    with pytest.raises(GenctlError, match="3 does not divide 4x4"):
        build(TarFlow, {**SMALL, "patch": 3}, GREY)
    with pytest.raises(GenctlError, match="does not divide the width"):
        build(TarFlow, {**SMALL, "heads": 3}, GREY)


def test_noise_is_taken_off():
    """Trained on one noisy picture, the flow draws it with that noise, and without it once denoised."""
    net = build(TarFlow, {**SMALL, "blocks": 1, "noise": 0.2}, GREY).train()
    batch = Batch(x=fake(GREY, 1).x.expand(256, -1, -1, -1))
    steps = torch.optim.Adam(net.parameters(), lr=1e-2)
    with torch.no_grad(), noise.stream(0):
        net.standardise(batch, Progress(0, 1))
        net.shift.copy_(batch.x[0].flatten())
        net.scale.fill_(0.2)
    for step in range(40):
        steps.zero_grad()
        with noise.stream(0, step):
            net.loss(batch, Progress()).total.backward()
        steps.step()
    with torch.no_grad(), noise.stream(1):
        noisy, clean = (net.eval().sample(200, TarFlow.Draw(denoise=on)) for on in (False, True))
    off = [float((x - batch.x[:1]).square().mean().sqrt()) for x in (noisy, clean)]
    assert 0.12 < off[0] < 0.25 and off[1] < 0.08
