"""Changes of what a critic sees: none at p = 0, each what it says, differentiable twice, and as often as the critic is too sure."""

import pytest
import torch

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.adversarial.dcgan import DCGAN
from genctl.maths import noise
from genctl.maths.augment import KINDS, augment, colour, warp
from tests.battery import build, fit

PICTURE = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def changed(x, p, *kinds, seed=0):
    with noise.stream(seed):
        return augment(x, p, kinds or KINDS)


def test_nothing_changes_at_p_zero_and_everything_at_one():
    torch.testing.assert_close(changed(PICTURE, 0.0), PICTURE, atol=1e-5, rtol=0)
    assert (changed(PICTURE, 1.0) - PICTURE).abs().flatten(1).amax(1).min() > 0.05


def test_flips_and_quarter_turns_move_pixels_without_blurring_them():
    known = [f(PICTURE) for f in (lambda x: x, lambda x: x.flip(-1))]
    x = changed(PICTURE, 1.0, "flip")
    assert all(any(torch.allclose(x[i], k[i], atol=1e-4) for k in known) for i in range(6))
    turns = [torch.rot90(PICTURE, k, (-2, -1)) for k in range(4)]
    x = changed(PICTURE, 1.0, "turn")
    found = [next(k for k in range(4) if torch.allclose(x[i], turns[k][i], atol=1e-4)) for i in range(6)]
    assert len(set(found)) > 1


def test_the_identity_and_a_shift_by_pixels():
    eye = torch.eye(3).expand(6, 3, 3).clone()
    torch.testing.assert_close(warp(PICTURE, eye), PICTURE, atol=1e-5, rtol=0)
    eye[:, 0, 2] = 2 * 3 / 16  # each pixel comes from three to its right
    moved = warp(PICTURE, eye)
    torch.testing.assert_close(moved[..., :-3], PICTURE[..., 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[..., -3:], PICTURE[..., -3:].flip(-1), atol=1e-4, rtol=0)  # mirrored at the edge


def test_a_scale_by_two_shows_the_middle():
    half = torch.diag(torch.tensor([0.5, 0.5, 1.0])).expand(1, 3, 3)
    ramp = torch.linspace(-1, 1, 16).expand(1, 1, 16, 16)
    seen = warp(ramp, half)
    torch.testing.assert_close(seen[0, 0, 8], torch.linspace(-0.5, 0.5, 16), atol=0.04, rtol=0)


def test_hue_keeps_grey_and_luma():
    grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1)
    with noise.stream(0):
        x = colour(grey, 1.0)
    assert (x - x.mean(1, keepdim=True)).abs().max() < 1e-5


def test_it_is_differentiable_twice():
    x = PICTURE.double().requires_grad_(True)
    (grad,) = torch.autograd.grad(changed(x.float(), 1.0).pow(3).sum(), x, create_graph=True)
    (twice,) = torch.autograd.grad(grad.square().sum(), x)
    assert torch.isfinite(twice).all() and twice.abs().sum() > 0


def test_changes_grow_while_the_critic_is_too_sure_and_shrink_after():
    spec = Spec(shape=(1, 8, 8), levels=256, media="image")
    model = build(DCGAN, {"latent": 4, "width": 4, "ada": 0.6, "ada_steps": 8}, spec)
    for on_real, expected in ((torch.ones(8), 0.5), (-torch.ones(8), 0.0)):
        for _ in range(4):
            model.adaptive.note(on_real)
            model.adaptive.adapt()
        assert model.adaptive.p.item() == pytest.approx(expected)
    model, report = fit(DCGAN, {"latent": 4, "width": 4, "ada": 0.1, "ada_steps": 40}, spec, 12, batch=8)
    assert 0 <= report.losses[-1]["critic/changed"] <= 0.8
    with pytest.raises(GenctlError, match="pictures"):
        build(DCGAN, {"ada": 0.6}, Spec(shape=(4, 1, 8, 8), levels=256, media="video"))
