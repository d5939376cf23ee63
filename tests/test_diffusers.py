"""Pipelines of diffusers: there and back; and where the library is, the same samples from the same noise."""

import json

import pytest
import torch

from genctl import checkpoint
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.diffusion.ddpm import DDPM
from genctl.maths import noise
from genctl.tasks import diffusers as task
from tests.battery import build, plan

IMAGE = Spec(shape=(3, 8, 8), levels=256, media="image")
FITS = {"channels": [8, 16, 32], "width": 32, "blocks": 2}


def made(**model):
    """(recipe, a model whose weights all matter)"""
    settings = {**FITS, **model}
    net = build(DDPM, settings, IMAGE).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.03)
    return plan(DDPM, settings), net


@pytest.mark.parametrize(
    "model", [{}, {"attention": False, "predict": "eps", "schedule": "linear"}, {"blocks": 1, "channels": [8], "predict": "x0"}]
)
def test_there_and_back(model, tmp_path):
    recipe, net = made(**model)
    weights = checkpoint.weights(net)
    task.write(recipe, IMAGE, weights, tmp_path)
    back, spec, found = task.read(tmp_path)
    assert spec == IMAGE
    assert {k: getattr(back.model, k) for k in FITS} == {k: getattr(recipe.model, k) for k in FITS}
    assert (back.model.predict, back.model.schedule, back.model.attention) == tuple(
        getattr(recipe.model, k) for k in ("predict", "schedule", "attention")
    )
    assert found.keys() == weights.keys()
    for k, v in weights.items():
        assert torch.equal(v, found[k]), k


@pytest.mark.parametrize(
    ("model", "said"),
    [({"patch": 2}, "patch: 1"), ({"width": 16}, "four times"), ({"steps": 100}, "steps: 1000"), ({"network": "dit"}, "network: unet")],
)
def test_what_does_not_fit_is_refused_with_the_reason(model, said):
    with pytest.raises(GenctlError, match=said):
        task.described(plan(DDPM, {**FITS, **model}), IMAGE)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("unet/config.json", "act_fn", "mish"),
        ("unet/config.json", "block_out_channels", "many"),
        ("unet/config.json", "sample_size", [8, 9]),
        ("unet/config.json", "down_block_types", ["AttnDownBlock2D"] * 3),
        ("unet/config.json", "norm_num_groups", 7),
        ("scheduler/scheduler_config.json", "beta_schedule", "sigmoid"),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 10),
    ],
)
def test_what_genctl_does_not_compute_is_refused(part, key, value, tmp_path):
    recipe, net = made()
    task.write(recipe, IMAGE, checkpoint.weights(net), tmp_path)
    tree = json.loads((tmp_path / part).read_text())
    (tmp_path / part).write_text(json.dumps(tree | {key: value}))
    with pytest.raises(GenctlError, match=key) as e:
        task.read(tmp_path)
    assert e.value.id == "ckpt-meta"


def test_weights_of_other_shapes_and_none_are_refused(tmp_path):
    recipe, net = made(attention=False)
    task.write(recipe, IMAGE, checkpoint.weights(net), tmp_path)
    tree = json.loads((tmp_path / "unet/config.json").read_text())
    (tmp_path / "unet/config.json").write_text(json.dumps(tree | {"block_out_channels": [8, 16, 64]}))
    with pytest.raises(GenctlError, match="its tensors are not those"):
        task.read(tmp_path)
    (tmp_path / "unet" / task.WEIGHTS).unlink()
    with pytest.raises(GenctlError, match="reads only safetensors"):
        task.read(tmp_path)


@pytest.mark.parametrize(
    "model",
    [{"channels": [8, 16], "schedule": "linear"}, {"channels": [8, 16], "predict": "eps", "schedule": "linear", "attention": False}],
)
def test_diffusers_draws_the_same_samples_from_the_same_noise(model, tmp_path, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    recipe, net = made(**model)
    task.write(recipe, IMAGE, checkpoint.weights(net), tmp_path)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    x, t = torch.randn(4, 3, 8, 8), torch.tensor([0, 10, 500, 999])
    with torch.no_grad():
        theirs = pipeline.unet(x, t).sample
        ours = net.net(x, t.float(), net.net.tell(None))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=2, generator=torch.Generator().manual_seed(0), num_inference_steps=1000, output_type="np").images
    g = torch.Generator().manual_seed(0)
    monkeypatch.setattr(noise, "randn", lambda *shape, device="cpu": torch.randn(*shape, generator=g))
    with torch.no_grad():
        ours = net.sample(2, DDPM.Draw(solver="ancestral", steps=1000))
    torch.testing.assert_close(ours.permute(0, 2, 3, 1), torch.from_numpy(theirs), atol=1e-4, rtol=1e-4)
