"""Models of other houses, written out in plain torch from their papers and laid out as Hugging Face does: what the maps are tested against.

Nothing of genctl computes here. `gpt2` and `llama` answer the logits (B, T, V) of input ids (B, T).
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from genctl.tasks import prompts

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 2,
    "n_head": 2,
    "n_embd": 16,
    "n_inner": 24,
    "n_positions": 64,
    "vocab_size": 11,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-4,
    "resid_pdrop": 0.0,
    "bos_token_id": 3,
    "eos_token_id": None,
}
LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 20,
    "max_position_embeddings": 64,
    "vocab_size": 11,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "tie_word_embeddings": False,
    "bos_token_id": 3,
    "eos_token_id": None,
}
BIASED = {
    **LLAMA,
    "tie_word_embeddings": True,
    "attention_bias": True,
    "mlp_bias": True,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
Weights = dict[str, Tensor]


def weights(config: dict[str, Any], seed: int = 0) -> Weights:
    """Random tensors under Hugging Face's names."""
    g = torch.Generator().manual_seed(seed)
    return {k: torch.randn(shape, generator=g) / 4 + (k.endswith("norm.weight") or ".ln_" in k) for k, shape in shapes(config).items()}


def shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    if c["model_type"] == "gpt2":
        w, inner = c["n_embd"], c["n_inner"]
        out: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (c["vocab_size"], w), "transformer.wpe.weight": (c["n_positions"], w)}
        for i in range(c["n_layer"]):
            layers = {"attn.c_attn": (w, 3 * w), "attn.c_proj": (w, w), "mlp.c_fc": (w, inner), "mlp.c_proj": (inner, w)}
            for name, shape in layers.items():
                out |= {f"transformer.h.{i}.{name}.weight": shape, f"transformer.h.{i}.{name}.bias": shape[1:]}
            for name in ("ln_1", "ln_2"):
                out |= {f"transformer.h.{i}.{name}.{k}": (w,) for k in ("weight", "bias")}
        return out | {f"transformer.ln_f.{k}": (w,) for k in ("weight", "bias")}
    w, inner, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    keys = w // c["num_attention_heads"] * c["num_key_value_heads"]
    out = {"model.embed_tokens.weight": (v, w), "model.norm.weight": (w,)}
    for i in range(c["num_hidden_layers"]):
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        layers = {f"{at}.q_proj": (w, w), f"{at}.k_proj": (keys, w), f"{at}.v_proj": (keys, w), f"{at}.o_proj": (w, w)}
        layers |= {f"{mlp}.gate_proj": (inner, w), f"{mlp}.up_proj": (inner, w), f"{mlp}.down_proj": (w, inner)}
        for name, shape in layers.items():
            out |= {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if c.get("attention_bias") else {})
        out |= {f"model.layers.{i}.{k}.weight": (w,) for k in ("input_layernorm", "post_attention_layernorm")}
    return out if c["tie_word_embeddings"] else out | {"lm_head.weight": (v, w)}


def write(folder: Path, config: dict[str, Any], tensors: Weights | None = None) -> Path:
    """A folder as `save_pretrained` leaves it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in (tensors or weights(config)).items()}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, heads, T, d) of causal attention, its probabilities written out."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return (scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)).softmax(-1) @ v


def split(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def gpt2(c: dict[str, Any], w: Weights, ids: Tensor) -> Tensor:
    def norm(h: Tensor, name: str) -> Tensor:
        return F.layer_norm(h, h.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], c["layer_norm_epsilon"])

    def layer(h: Tensor, name: str) -> Tensor:
        return h @ w[f"{name}.weight"] + w[f"{name}.bias"]

    h = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: ids.shape[1]]
    for i in range(c["n_layer"]):
        at = f"transformer.h.{i}"
        q, k, v = (split(x, c["n_head"]) for x in layer(norm(h, f"{at}.ln_1"), f"{at}.attn.c_attn").chunk(3, -1))
        h = h + layer(attend(q, k, v).transpose(1, 2).flatten(2), f"{at}.attn.c_proj")
        u = layer(norm(h, f"{at}.ln_2"), f"{at}.mlp.c_fc")
        u = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))
        h = h + layer(u, f"{at}.mlp.c_proj")
    return norm(h, "transformer.ln_f") @ w["transformer.wte.weight"].T


def frequencies(c: dict[str, Any], d: int) -> list[float]:
    """Llama's turns a position, pair by pair, with the three cases of Llama 3.1 as its reference code has them."""
    out = []
    for i in range(0, d, 2):
        f = c["rope_theta"] ** (-i / d)
        if s := c.get("rope_scaling"):
            wave, old = 2 * math.pi / f, s["original_max_position_embeddings"]
            if wave > old / s["low_freq_factor"]:
                f /= s["factor"]
            elif wave >= old / s["high_freq_factor"]:
                share = (old / wave - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
                f = (1 - share) * f / s["factor"] + share * f
        out.append(f)
    return out


def llama(c: dict[str, Any], w: Weights, ids: Tensor) -> Tensor:
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    d = c["hidden_size"] // heads
    angle = torch.arange(ids.shape[1])[:, None] * torch.tensor(frequencies(c, d))

    def norm(h: Tensor, name: str) -> Tensor:
        return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + c["rms_norm_eps"]) * w[f"{name}.weight"]

    def layer(h: Tensor, name: str) -> Tensor:
        return F.linear(h, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def turn(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    h = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}"
        x = norm(h, f"{at}.input_layernorm")
        q = turn(split(layer(x, f"{at}.self_attn.q_proj"), heads))
        k, v = turn(split(layer(x, f"{at}.self_attn.k_proj"), kv)), split(layer(x, f"{at}.self_attn.v_proj"), kv)
        o = attend(q, k.repeat_interleave(heads // kv, 1), v.repeat_interleave(heads // kv, 1))
        h = h + layer(o.transpose(1, 2).flatten(2), f"{at}.self_attn.o_proj")
        x = norm(h, f"{at}.post_attention_layernorm")
        h = h + layer(F.silu(layer(x, f"{at}.mlp.gate_proj")) * layer(x, f"{at}.mlp.up_proj"), f"{at}.mlp.down_proj")
    return norm(h, "model.norm") @ w["model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"].T


def logits(config: dict[str, Any], tensors: Weights, ids: Tensor) -> Tensor:
    return (gpt2 if config["model_type"] == "gpt2" else llama)(config, tensors, ids)


def greedy(config: dict[str, Any], tensors: Weights, ids: Tensor, count: int) -> Tensor:
    """ids (B, T) and the `count` likeliest symbols after them, one after another."""
    for _ in range(count):
        ids = torch.cat([ids, logits(config, tensors, ids)[:, -1:].argmax(-1)], 1)
    return ids


def following(sampler: Any, prompt: str, changes: list[str]) -> torch.Tensor:
    """(1, length): what a model of ours goes on with."""
    draw = sampler.draw(changes)
    return torch.cat(list(prompts.go_on(sampler, prompts.encoded(sampler, [prompt], draw, print), 1, 0, draw)))
