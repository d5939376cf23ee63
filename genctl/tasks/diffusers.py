"""Folders of Hugging Face's diffusers: a `ddpm` of pictures as a DDPMPipeline with its UNet2DModel, written and read.

model_index.json names the parts; unet/ holds config.json and diffusion_pytorch_model.safetensors, scheduler/ scheduler_config.json.
Format: https://huggingface.co/docs/diffusers/using-diffusers/other-formats, UNet2DModel: https://huggingface.co/docs/diffusers/api/models/unet2d.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from genctl import checkpoint, header, recipe
from genctl.config import Tree
from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text
from genctl.header import bad
from genctl.maths import noise
from genctl.recipe import Recipe
from genctl.tasks import huggingface, huggingface_out
from genctl.tasks.huggingface import CONFIG, Stored
from genctl.tasks.layouts import Config, Place, Unlike, linear, unless

INDEX, WEIGHTS, SCHEDULER = "model_index.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
PICTURES = "pictures"  # where a model that is read would look for data
GUESSES = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
STEPS = 1000


class UNet2D:
    """What the reader of tensors asks of a layout."""

    FAMILY, PREFIX, STRAY = "ddpm", "", ()

    @staticmethod
    def names(settings: Any) -> dict[str, Place]:
        """Our tensors in theirs."""
        levels, blocks, top = len(settings.channels), settings.blocks, settings.channels[-1]
        out = linear("net.teller.time.0", "time_embedding.linear_1") | linear("net.teller.time.2", "time_embedding.linear_2")
        if settings.conditional:
            out |= {"net.teller.label.weight": Place(("class_embedding.weight",))}
        widths = [settings.channels[0], *settings.channels]
        for i in range(levels):
            for k in range(blocks):
                out |= _resnet(f"net.body.down.{i}.{k}.0", f"down_blocks.{i}.resnets.{k}", k == 0 and widths[i] != widths[i + 1])
            for k in range(blocks + 1):
                out |= _resnet(f"net.body.up.{i}.{k}.0", f"up_blocks.{i}.resnets.{k}", True)
            if i < levels - 1:
                out |= linear(f"net.body.shrink.{i}", f"down_blocks.{i}.downsamplers.0.conv")
                out |= linear(f"net.body.grow.{i}", f"up_blocks.{i}.upsamplers.0.conv")
        for k in range(2):
            out |= _resnet(f"net.body.middle.{k}.0", f"mid_block.resnets.{k}", False)
        if settings.attention:
            ours, theirs = "net.body.attention", "mid_block.attentions.0"
            out |= linear(f"{ours}.norm", f"{theirs}.group_norm") | linear(f"{ours}.out", f"{theirs}.to_out.0")
            out |= linear(f"{ours}.qkv", *(f"{theirs}.to_{x}" for x in "qkv"), rows=(top,) * 3)
        for a, b in (("first", "conv_in"), ("norm", "conv_norm_out"), ("last", "conv_out")):
            out |= linear(f"net.body.{a}", b)
        return out


def _resnet(ours: str, theirs: str, shortcut: bool) -> dict[str, Place]:
    out: dict[str, Place] = {}
    for a, b in {"norm1": "norm1", "conv1": "conv1", "emb": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}.items():
        out |= linear(f"{ours}.{a}", f"{theirs}.{b}")
    return out | (linear(f"{ours}.skip", f"{theirs}.conv_shortcut") if shortcut else {})


# --- written ---


def described(plan: Recipe, spec: Spec) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json of the U-Net and of the scheduler. Raises GenctlError (power, config) with what stands against it."""
    from genctl.nets.unet import groups

    if plan.family != UNet2D.FAMILY:
        raise GenctlError("power", f"diffusers has no pipeline for family '{plan.family}' that genctl writes", "a ddpm of pictures")
    m: Any = plan.model
    deep = 2 ** (len(m.channels) - 1)
    try:
        unless(
            (spec.kind == "image" and spec.levels > 0, "data: its pipeline draws pictures"),
            (m.network in ("auto", "unet"), "network: unet"),
            (m.patch == 1, "patch: 1"),
            (not m.text, "text: false"),
            (m.steps == STEPS, f"steps: {STEPS}"),
            (m.width == 4 * m.channels[0], "width: four times the first of channels"),
            (spec.kind == "image" and all(n % deep == 0 for n in spec.shape[1:]), f"data: sides that {deep} divides"),
        )
    except Unlike as e:
        raise GenctlError("config", [f"not expressible as a UNet2DModel: it needs {line}" for line in e.lines]) from None
    top = m.channels[-1]
    heads = top // 32 if top % 32 == 0 else 1
    unet = {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.30.0",
        "sample_size": list(spec.shape[1:]),
        "in_channels": spec.shape[0],
        "out_channels": spec.shape[0],
        "time_embedding_type": "positional",
        "freq_shift": 0,
        "flip_sin_to_cos": True,
        "down_block_types": ["DownBlock2D"] * len(m.channels),
        "up_block_types": ["UpBlock2D"] * len(m.channels),
        "block_out_channels": list(m.channels),
        "layers_per_block": m.blocks,
        "act_fn": "silu",
        "add_attention": m.attention,
        "attention_head_dim": top // heads,
        "norm_num_groups": groups(m.channels),
        "attn_norm_num_groups": groups(m.channels),
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift",
        "num_class_embeds": spec.given["label"].vocab + 1 if m.conditional else None,
    }
    scheduler = {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.30.0",
        "num_train_timesteps": STEPS,
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "beta_schedule": SCHEDULES[m.schedule],
        "prediction_type": GUESSES[m.predict],
        "variance_type": "fixed_small",
        "clip_sample": True,
    }
    return unet, scheduler


def write(plan: Recipe, spec: Spec, tensors: dict[str, Tensor], folder: Path) -> list[Path]:
    """Writes a folder that `DDPMPipeline.from_pretrained` reads, into an empty one. Raises GenctlError before anything is written."""
    unet, scheduler = described(plan, spec)
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
    trees = {INDEX: {"_class_name": "DDPMPipeline", "_diffusers_version": "0.30.0", **parts}}
    trees |= {f"unet/{CONFIG}": unet, f"scheduler/{SCHEDULER}": scheduler}
    for name, tree in trees.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    weights = folder / "unet" / WEIGHTS
    out: dict[str, Tensor] = {}
    for name, place in UNet2D.names(plan.model).items():
        out |= place.theirs(tensors[name])
    huggingface_out.save(out, weights)
    return [*(folder / name for name in trees), weights]


# --- read ---


def read(folder: Path) -> tuple[Recipe, Spec, dict[str, Tensor]]:
    """A pipeline as a checkpoint's contents, in float32. Raises GenctlError (no-input, permission, ckpt-...)."""
    unet = Config(huggingface.read_object(folder / "unet" / CONFIG)[1])
    scheduler = Config(huggingface.read_object(folder / "scheduler" / SCHEDULER)[1])
    try:
        model, spec = understood(unet, scheduler)
        plain: dict[str, Any] = {
            "family": UNet2D.FAMILY,
            "data": {"name": "images", "path": PICTURES, "size": spec.shape[1]},
            "model": model,
        }
        plain["data"] |= {"channels": spec.shape[0]}
        plan = recipe.resolve(Tree(plain))
        described(plan, spec)
    except Unlike as e:
        raise GenctlError("ckpt-meta", [f"{safe_text(folder.name)}: {line}" for line in e.lines]) from None
    except GenctlError as e:
        raise GenctlError("ckpt-meta", [f"{safe_text(folder.name)} as genctl understands it: {line}" for line in e.lines]) from None
    path = folder / "unet" / WEIGHTS
    if not path.is_file():
        raise bad(
            "ckpt-format", folder, f"no unet/{WEIGHTS}: genctl reads only safetensors", "save_pretrained(NEW, safe_serialization=True)"
        )
    stored = {k: Stored(path, k, *told) for k, told in header.read(path, own=False).tensors.items()}
    layout: Any = UNet2D
    places = UNet2D.names(plan.model)
    found = huggingface.tensors(folder / "unet", layout, plan, spec, spec, stored)
    with noise.stream(0, "import"):
        fresh = checkpoint.weights(checkpoint.build(plan, spec))  # levels and scales, which the U-Net does not hold
    return plan, spec, {k: found[k] if k in places else v for k, v in fresh.items()}


def understood(unet: Config, scheduler: Config) -> tuple[dict[str, Any], Spec]:
    """The `model:` section and the Spec. Raises Unlike for what the family does not compute."""
    channels = unet.tree.get("block_out_channels")
    if not isinstance(channels, list) or not 1 <= len(channels) <= 6 or not all(type(c) is int and 1 <= c <= 2**16 for c in channels):
        raise unet.wrong("block_out_channels", "one to six numbers")
    size = unet.tree.get("sample_size")
    side = size if isinstance(size, list) else [size, size]
    if len(side) != 2 or not all(type(n) is int and 1 <= n <= 4096 for n in side) or side[0] != side[1]:
        raise unet.wrong("sample_size", "the side of a square")
    heads = channels[-1] // 32 if channels[-1] % 32 == 0 else 1
    from genctl.nets.unet import groups

    fixed: dict[str, Any] = {
        "out_channels": unet.integer("in_channels", 3),
        "time_embedding_type": "positional",
        "freq_shift": 0,
        "flip_sin_to_cos": True,
        "center_input_sample": False,
        "down_block_types": ["DownBlock2D"] * len(channels),
        "up_block_types": ["UpBlock2D"] * len(channels),
        "mid_block_scale_factor": 1,
        "downsample_padding": 1,
        "downsample_type": "conv",
        "upsample_type": "conv",
        "act_fn": "silu",
        "norm_num_groups": groups(channels),
        "attn_norm_num_groups": groups(channels),
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift",
        "class_embed_type": None,
        "num_class_embeds": None,
    }
    attention = unet.flag("add_attention", True)
    if attention:
        fixed["attention_head_dim"] = channels[-1] // heads
    for name, value in fixed.items():
        if name in unet.tree or name in ("norm_num_groups", "resnet_time_scale_shift", "attn_norm_num_groups", "attention_head_dim"):
            unet.same(name, value)
    for name, value in {"num_train_timesteps": STEPS, "trained_betas": None, "beta_start": 1e-4, "beta_end": 0.02}.items():
        scheduler.same(name, value)
    guesses, schedules = ({v: k for k, v in table.items()} for table in (GUESSES, SCHEDULES))
    model = {
        "channels": channels,
        "blocks": unet.integer("layers_per_block", 2),
        "width": 4 * channels[0],
        "attention": attention,
        "schedule": schedules[scheduler.one_of("beta_schedule", "linear", schedules)],
        "predict": guesses[scheduler.one_of("prediction_type", "epsilon", guesses)],
    }
    return model, Spec(shape=(unet.integer("in_channels", 3), *side), levels=256, media="image")
