"""stylegan: the battery, and a test for each named part that fails without it."""

import math

import pytest
import torch

from genctl.contract import Progress, Spec
from genctl.errors import GenctlError
from genctl.families.adversarial.stylegan import StyleGAN
from genctl.maths import noise
from genctl.nets.stylegan import Modulated, Spread, doubled, halved
from tests.battery import build, check_family, fake, fit

IMAGE = Spec(shape=(3, 8, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
GREY = Spec(shape=(1, 16, 16), levels=2, media="image")
SMALL = {"latent": 4, "style": 6, "mapping": 2, "base": 64, "width": 8, "r1_every": 3, "path_every": 2}


@pytest.mark.parametrize(
    ("model", "spec"), [({**SMALL, "conditional": True, "ada": 0.6, "ada_steps": 40}, IMAGE), ({**SMALL, "mixing": 0.0}, GREY)]
)
def test_battery(model, spec):
    check_family(StyleGAN, model, spec, steps=12, lr=1e-2, descends=False, crowds=True)  # a running mean of path lengths


def drawn(model, w, seed=0):
    with torch.no_grad(), noise.stream(seed):
        return model.draw(w)


def styles(model, n, seed=0):
    with torch.no_grad(), noise.stream(seed, "z"):
        return model.styles(model.prior(n), None)[:, None].repeat(1, model.generator.count, 1)


def test_parameters_at_256_are_the_papers():
    """The layers that the authors' code prints for 256 pixels add up to 30,034,338, and those of its critic to 28,864,129."""
    with torch.device("meta"):
        model = StyleGAN(StyleGAN.Config(), Spec(shape=(3, 256, 256), levels=256, media="image"))
    assert sum(p.numel() for p in model.forgers()) == pytest.approx(30_034_338, rel=0.01)
    assert sum(p.numel() for p in model.judges()) == pytest.approx(28_864_129, rel=0.01)


def test_mapping_sees_the_direction_of_z_alone_and_learns_slowly():
    model = build(StyleGAN, SMALL, GREY)
    z = torch.randn(5, 4)
    torch.testing.assert_close(model.styles(3 * z, None), model.styles(z, None), atol=1e-4, rtol=1e-4)
    assert all(layer.lr == 0.01 and layer.weight.std() > 20 for layer in model.mapping.layers)


def test_modulation_is_a_weight_an_example():
    """The scaled activations give what weights w' = s w / |s w| of each example's own would (eq. 1 and 3), doubled or not."""
    torch.manual_seed(0)
    for up in (False, True):
        layer, x, w = Modulated(3, 5, 4, up=up), torch.randn(2, 3, 6, 6), torch.randn(2, 4)
        style = layer.affine(w)
        own = layer.weight * layer.scale * style[:, None, :, None, None]
        own = own * torch.rsqrt(own.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        out = layer(x, w)
        assert out.shape == (2, 5, 12 if up else 6, 12 if up else 6)
        if not up:
            expected = torch.cat([torch.nn.functional.conv2d(x[k : k + 1], own[k], padding=1) for k in range(2)])
            torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(layer(x, w), layer(x * 1.0, w))
    plain = Modulated(3, 5, 4, demodulate=False)
    assert not torch.allclose(plain(x, w).std(), layer(x, w).std(), rtol=0.01)


def test_demodulated_output_does_not_grow_with_the_style():
    torch.manual_seed(0)
    layer, x = Modulated(8, 8, 4), torch.randn(2, 8, 6, 6)
    layer.affine.bias.data.fill_(0)
    w = torch.randn(2, 4)
    torch.testing.assert_close(layer(x, 10 * w), layer(x, w), atol=1e-4, rtol=1e-4)


def test_doubling_and_halving_keep_the_mean_and_have_no_steps():
    flat = torch.full((1, 2, 8, 8), 3.0)
    assert torch.allclose(doubled(flat)[..., 2:-2, 2:-2], torch.tensor(3.0)) and doubled(flat).shape == (1, 2, 16, 16)
    assert torch.allclose(halved(flat)[..., 1:-1, 1:-1], torch.tensor(3.0)) and halved(flat).shape == (1, 2, 4, 4)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    steps = doubled(ramp)[0, 0, 5, 3:13].diff()
    assert torch.allclose(steps, torch.tensor(0.5))  # a ramp stays one


def test_noise_moves_pixels_once_it_has_a_strength():
    model = build(StyleGAN, SMALL, GREY).eval()
    w = styles(model, 2)
    assert torch.equal(drawn(model, w, 0), drawn(model, w, 1))
    for layer in [*model.generator.first, *model.generator.second]:
        layer.strength.data.fill_(0.5)
    assert not torch.equal(drawn(model, w, 0), drawn(model, w, 1))


def test_coarse_and_fine_layers_take_styles_of_their_own():
    model = build(StyleGAN, SMALL, GREY).train()
    with noise.stream(0):
        w = model.mixed(torch.randn(200, 4), None)
    changes = (w[:, 1:] != w[:, :-1]).any(2).sum(1)
    assert set(changes.tolist()) <= {0, 1} and 0.8 < float(changes.float().mean()) < 0.99
    model.eval()
    assert not (model.mixed(torch.randn(9, 4), None).diff(dim=1)).any()


def test_each_size_adds_to_the_picture():
    model = build(StyleGAN, SMALL, GREY).eval()
    w = styles(model, 1)
    before = drawn(model, w)
    for rgb in model.generator.rgb:
        rgb.bias.data.fill_(0.1)
        after = drawn(model, w)
        assert not torch.equal(before, after)
        before = after


def test_truncation_draws_towards_the_mean_style():
    model, _ = fit(StyleGAN, SMALL, GREY, 3)
    model.eval()
    assert model.mean_style.abs().sum() > 0
    with torch.no_grad():
        spread = []
        for psi in (0.0, 0.5, 1.0):
            with noise.stream(0):
                x = StyleGAN.sample(model, 16, StyleGAN.Draw(truncation=psi))
            with noise.stream(0):
                w = torch.lerp(model.mean_style, model.styles(model.prior(16), None), psi)
            spread.append(float(w.std(0).mean()))
            assert x.shape == (16, *GREY.shape)
    assert spread[0] < 1e-6 < spread[1] < spread[2]


def test_path_length_of_a_linear_picture():
    """x = A w has J^T y = A^T y: the length is that of A^T y, its mean square over layers."""
    model = build(StyleGAN, SMALL, GREY)
    a = torch.randn(256, 6)

    class Linear(torch.nn.Module):
        count = 3

        def forward(self, w):
            return (w.sum(1) @ a.T).view(-1, 1, 16, 16)

    model.generator = Linear()
    with noise.stream(0):
        y = noise.randn(4, 1, 16, 16).flatten(1) / 16
    with noise.stream(0):
        length = model.length(torch.randn(4, 3, 6))
    torch.testing.assert_close(length, (y @ a).square().sum(1).sqrt(), atol=1e-4, rtol=1e-4)


def test_lazy_penalties_come_when_they_are_due_and_weigh_for_the_steps_between():
    model = build(StyleGAN, SMALL, GREY).train()
    for step in range(4):
        with noise.stream(0):
            parts = model.generator_loss(fake(GREY, 8), Progress(step, 10)).parts
        assert ("path_length" in parts) is (step % 2 == 0)
    assert model.mean_length > 0


def test_the_critic_sees_how_alike_a_group_is():
    x = torch.randn(8, 2, 4, 4)
    x[:4] = x[0]
    seen = Spread()(x)
    assert seen.shape == (8, 3, 4, 4)
    assert seen[:4, 2].max() < 1e-3 and seen[4:, 2].min() > 0.3
    two = torch.cat([Spread()(part) for part in x.chunk(2)])  # as two ranks see it
    torch.testing.assert_close(two, seen)


def test_sizes_that_do_not_double_from_four_name_another_family():
    with pytest.raises(GenctlError, match="dcgan") as e:
        build(StyleGAN, SMALL, Spec(shape=(1, 12, 12), levels=2, media="image"))
    assert e.value.try_ == "family: dcgan"


@pytest.mark.slow
def test_one_step_at_256_pixels():
    _, report = fit(StyleGAN, {"path_every": 1, "r1_every": 1}, Spec(shape=(3, 256, 256), levels=256, media="image"), 1, batch=2)
    assert all(math.isfinite(v) for v in report.losses[0].values())
