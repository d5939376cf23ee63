"""ddpm: the battery, and its own truth: the forward process of the paper, and a network that knows the answer."""

import math

import pytest
import torch
from torch import nn

from genctl.contract import Batch, Progress, Spec
from genctl.families.diffusion.ddpm import DDPM
from genctl.maths import noise
from tests.battery import build, check_family, check_resume, fake

TEXT = Spec(shape=(6,), vocab=8, end=0, media="text", codec={"symbols": ["\n", *"abcdefg"]})
IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=4), "caption": TEXT})
BINARY = Spec(shape=(3, 8, 8), levels=2, media="image")
ROW = Spec(shape=(2,))
TABLE = Spec(shape=(4,), blocks=(1, 3))
SIGNAL = Spec(shape=(2, 13))
CLIP = Spec(shape=(3, 1, 6, 8), levels=256, media="video")
UNET = {"channels": [8, 16], "width": 16, "steps": 20}
MLP = {"width": 16, "depth": 2, "steps": 20}
DIT = {"network": "dit", "width": 16, "depth": 2, "heads": 2, "patch": 2, "steps": 20}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (UNET, IMAGE),
        (MLP, ROW),
        (MLP, TABLE),
        ({**UNET, "patch": 2, "predict": "eps", "schedule": "linear"}, BINARY),
        ({**UNET, "conditional": True}, IMAGE),
        ({**UNET, "text": True}, IMAGE),
        ({**UNET, "patch": 2}, SIGNAL),
        ({**UNET, "patch": 2}, CLIP),
        ({**DIT, "text": True, "conditional": True}, IMAGE),
        (DIT, SIGNAL),
        (DIT, CLIP),
    ],
)
def test_battery(model, spec):
    check_family(DDPM, model, spec, steps=16)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DDPM, {**UNET, "dropout": 0.1, "conditional": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_forward_process_has_the_moments_of_the_paper(schedule):
    """x_t = sqrt(abar_t) z has mean sqrt(abar_t) x_0 and variance 1 - abar_t, and goes into the network as it is."""
    model = build(DDPM, {**MLP, "steps": 1000, "schedule": schedule}, ROW)
    if schedule == "linear":
        abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    else:
        f = torch.cos((torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
        abar = (f[1:] / f[:-1]).clamp(min=0.001).cumprod(0)
    into = model.scaling(model.s.view(-1, 1)).into[:, 0].double()
    torch.testing.assert_close(into.square(), abar, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close((into * model.s).square(), 1 - abar, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(model.clock(model.s), torch.arange(1000.0), rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("predict", ["eps", "v", "x0"])
def test_a_network_that_knows_the_answer_has_no_loss_and_gives_x_back(predict):
    model = build(DDPM, {**MLP, "predict": predict}, ROW).eval()
    x = fake(ROW, 8).x

    def answer(x_t, clock, told):
        a = 1 / (1 + model.s[clock.mul(20 / 1000).round().long()] ** 2)[:, None]
        eps = (x_t - a.sqrt() * x) / (1 - a).sqrt()
        return {"eps": eps, "v": a.sqrt() * eps - (1 - a).sqrt() * x, "x0": x}[predict]

    model.net.forward = answer
    with torch.no_grad(), noise.stream(0):
        assert model.loss(Batch(x=x), Progress()).total < 1e-5
        for solver in ("ancestral", "ddim", "heun", "dpmpp_2m", "unipc"):
            torch.testing.assert_close(model.sample(8, DDPM.Draw(steps=5, solver=solver)), x, atol=1e-3, rtol=1e-3)


def stirred(model):
    for p in model.net.parameters():  # some begin at zero, and hide what is told
        nn.init.normal_(p, std=0.3)
    return model.eval()


def drawn(model, given, **how):
    with torch.no_grad(), noise.stream(0):
        return model.sample(4, DDPM.Draw(steps=5, **how), given)


def test_guidance_of_zero_is_the_conditional_model_and_the_label_matters():
    model = stirred(build(DDPM, {**UNET, "conditional": True}, IMAGE))
    one, other = ({"label": torch.full((4,), k)} for k in range(2))
    assert not torch.equal(drawn(model, one), drawn(model, other))
    assert not torch.equal(drawn(model, one), drawn(model, one, guidance=2.0))
    torch.testing.assert_close(drawn(model, one, guidance=1e-9), drawn(model, one), atol=1e-4, rtol=1e-4)
    assert torch.equal(drawn(model, one, guidance=2.0, guidance_low=1e8), drawn(model, one))
    assert not torch.equal(drawn(model, one, guidance=2.0, rescale=1.0), drawn(model, one, guidance=2.0))


@pytest.mark.parametrize("network", [UNET, DIT], ids=["unet", "dit"])
def test_the_text_matters_its_filling_does_not_and_a_negative_one_leads_away(network):
    model = stirred(build(DDPM, {**network, "text": True}, IMAGE))
    one, other = ({"caption": torch.tensor([[a, 2, 0, 0, 0, 0]]).expand(4, -1)} for a in (3, 4))
    assert not torch.equal(drawn(model, one), drawn(model, other))
    filled = {"caption": torch.tensor([[3, 2, 0, 5, 5, 0]]).expand(4, -1)}
    torch.testing.assert_close(drawn(model, one), drawn(model, filled), atol=1e-4, rtol=1e-4)
    assert not torch.equal(drawn(model, one, guidance=2.0), drawn(model, one, guidance=2.0, negative="ab"))


def test_what_a_text_model_says_of_bad_settings():
    from genctl.errors import GenctlError

    with pytest.raises(GenctlError, match="no text stands beside"):
        build(DDPM, {**UNET, "text": True}, BINARY)
    with pytest.raises(GenctlError, match="does not read"):
        build(DDPM, {**MLP, "network": "unet"}, ROW)
    model = build(DDPM, {**UNET, "conditional": True}, IMAGE).eval()
    with pytest.raises(GenctlError, match="reads no text"):
        drawn(model, {"label": torch.zeros(4, dtype=torch.long)}, guidance=1.0, negative="a")
