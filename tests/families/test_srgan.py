"""SRGAN: the battery, and truths of its own: the paper's size, any size of picture, what it begins as, a restoration that is learned."""

import pytest
import safetensors.torch
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.translation.srgan import SRGAN
from genctl.maths import filters, noise
from genctl.nets.translation import SRResNet
from genctl.nets.vgg import DEPTHS, KEYS, NAMES, VGG
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

SMALL_ONE = Spec(shape=(3, 4, 4), levels=256, media="image")
PAIR = Spec(shape=(3, 16, 16), levels=256, given={"source": SMALL_ONE}, media="image")
SAME = Spec(shape=(1, 8, 8), levels=256, given={"source": Spec(shape=(1, 8, 8), levels=256, media="image")}, media="image")
SMALL = {"width": 4, "blocks": 1, "critic": 4}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ({**SMALL, "pixels": 0.5}, PAIR),
        ({**SMALL, "once": True}, SAME),
        ({**SMALL, "norm": True, "distance": "l2", "enlarged": False}, PAIR),
    ],
)
def test_battery(model, spec):
    check_family(SRGAN, model, spec, steps=12, descends=False, certain=True, crowds=bool(model.get("norm")))


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(SRGAN, {**SMALL, "pixels": 0.5}, PAIR, tmp_path, cut=cut, steps=8, batch=8)


def test_the_network_is_as_large_as_the_paper_s():
    """Figure 4 of the paper, counted layer by layer: 9x9 and 3x3 convolutions, batch norms, PReLUs with one slope each."""
    conv = lambda a, b, k, bias: a * b * k * k + b * bias  # noqa: E731
    half = conv(64, 64, 3, False) + 128
    up = conv(64, 256, 3, True) + 1
    wanted = conv(3, 64, 9, True) + 1 + 16 * (2 * half + 1) + half + 2 * up + conv(64, 3, 9, True)
    assert sum(p.numel() for p in SRResNet(3, 3, 64, 16, 4, norm=True, once=False).parameters()) == wanted


@pytest.mark.parametrize(("scale", "shape"), [(4, (5, 7)), (3, (6, 4)), (1, (9, 5))])
def test_any_height_and_width(scale, shape):
    source = Spec(shape=(1, 4, 4), levels=256, media="image")
    spec = Spec(shape=(1, 4 * scale, 4 * scale), levels=256, given={"source": source}, media="image")
    model = build(SRGAN, SMALL, spec).eval()
    with torch.no_grad(), noise.stream(0):
        x = model.sample(1, SRGAN.Draw(), {"source": torch.rand(1, 1, *shape)})
    assert x.shape == (1, 1, *(scale * n for n in shape)) and x.min() >= 0 and x.max() <= 1


def test_it_adds_to_a_bicubic_enlargement():
    model = build(SRGAN, SMALL, PAIR).eval()
    for p in model.generator.last.parameters():
        p.data.zero_()
    source = torch.rand(2, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(model.draw(source), filters.bicubic(source, 4))


def test_the_game_is_played_after_the_pixels():
    model = build(SRGAN, {**SMALL, "pixels": 0.75}, PAIR)
    assert [(s.name, s.share, [p.name for p in s.players]) for s in model.stages()] == [
        ("pixels", 0.75, ["generator"]),
        ("game", 0.25, ["critic", "generator"]),
    ]
    assert build(SRGAN, SMALL, PAIR).critic is None


def test_pairs_are_needed():
    odd = Spec(shape=(3, 16, 16), levels=256, given={"source": Spec(shape=(3, 5, 5), levels=256, media="image")}, media="image")
    for spec in (odd, Spec(shape=(3, 16, 16), levels=256, media="image")):
        with pytest.raises(GenctlError, match="pairs"):
            build(SRGAN, SMALL, spec)


def test_vgg_reads_torchvision_s_names_and_compares_features(tmp_path):
    """Sixteen convolutions at their places among ReLUs and halvings; 20,024,384 numbers, as VGG-19 has in its convolutions."""
    assert sum(DEPTHS) == 16 and KEYS == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34] and NAMES[-1] == "conv5_4"
    with torch.device("meta"):
        whole = VGG("conv1_1")
        count, before = 0, 3
        for name in NAMES:
            wide = 64 * min(2 ** (int(name[4]) - 1), 8)
            count, before = count + 9 * before * wide + wide, wide
    assert count == 20_024_384 and not any(p.requires_grad for p in whole.parameters())
    small = VGG("conv2_1", width=4)
    file = tmp_path / "vgg.safetensors"
    held = {f"features.{k}.{part}": torch.randn_like(getattr(c, part)) for k, c in zip(KEYS, small.convs) for part in ("weight", "bias")}
    safetensors.torch.save_file(held, file)
    small.read(str(file))
    assert torch.equal(small.convs[2].weight, held["features.5.weight"])
    assert set(small(torch.rand(1, 3, 8, 8), frozenset({"conv1_2", "conv2_1"}))) == {"conv1_2", "conv2_1"}
    with pytest.raises(GenctlError, match="features"):
        VGG("conv3_1", width=4).read(str(file))
    with pytest.raises(GenctlError, match="nothing at"):
        small.read(str(tmp_path / "none"))
    with pytest.raises(GenctlError, match="weights"):
        build(SRGAN, {**SMALL, "pixels": 0.5, "features": 1.0}, PAIR)


def test_it_learns_to_restore():
    """Smooth pictures under noise come out nearer than they went in, others than those of training too."""
    model = build(SRGAN, {"width": 8, "blocks": 2}, SAME)

    def data(i: int) -> Batch:
        g = torch.Generator().manual_seed(i)
        x = filters.bicubic(torch.rand(16, 1, 2, 2, generator=g), 4).clamp(0, 1)
        return Batch(x=x, given={"source": (x + 0.2 * torch.randn(x.shape, generator=g)).clamp(0, 1)})

    held = data(10_000)
    before = float((held.given["source"] - held.x).abs().mean())
    loop.fit(model.train(), data, loop.Setting(Train(steps=150, lr=3e-3, batch=16)), lambda *a: False)
    with torch.no_grad():
        assert float(model.eval().loss(held, Progress()).total) < 0.6 * before
