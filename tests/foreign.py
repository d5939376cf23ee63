"""Models of other houses, written out in plain torch from their papers and laid out as Hugging Face does: what the maps are tested against.

Nothing of genctl computes here. `gpt2`, `llama` and `bert` answer the logits (B, T, V) of input ids (B, T), `t5` those of two rows.
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
BERT = {
    "model_type": "bert",
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "max_position_embeddings": 13,
    "type_vocab_size": 2,
    "vocab_size": 11,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-4,
    "hidden_dropout_prob": 0.0,
}
T5 = {
    "model_type": "t5",
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "vocab_size": 11,
    "feed_forward_proj": "relu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "n_positions": 300,
    "dropout_rate": 0.0,
    "tie_word_embeddings": True,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
FLAN = {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
Weights = dict[str, Tensor]


def weights(config: dict[str, Any], seed: int = 0) -> Weights:
    """Random tensors under Hugging Face's names."""
    g = torch.Generator().manual_seed(seed)
    gains = ("norm.weight", "LayerNorm.weight")
    return {k: torch.randn(shape, generator=g) / 4 + (k.endswith(gains) or ".ln_" in k) for k, shape in shapes(config).items()}


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
    if c["model_type"] == "bert":
        return bert_shapes(c)
    if c["model_type"] == "t5":
        return t5_shapes(c)
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


def bert_shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    w, inner, v, at = c["hidden_size"], c["intermediate_size"], c["vocab_size"], "bert.embeddings"
    tables = {"word": v, "position": c["max_position_embeddings"], "token_type": c["type_vocab_size"]}
    out: dict[str, tuple[int, ...]] = {f"{at}.{k}_embeddings.weight": (n, w) for k, n in tables.items()}
    layers = {f"{at}.LayerNorm": (w,), "cls.predictions.transform.dense": (w, w), "cls.predictions.transform.LayerNorm": (w,)}
    for i in range(c["num_hidden_layers"]):
        at = f"bert.encoder.layer.{i}"
        layers |= {f"{at}.attention.{k}": (w, w) for k in ("self.query", "self.key", "self.value", "output.dense")}
        layers |= {f"{at}.intermediate.dense": (inner, w), f"{at}.output.dense": (w, inner)}
        layers |= {f"{at}.attention.output.LayerNorm": (w,), f"{at}.output.LayerNorm": (w,)}
    for name, shape in layers.items():
        out |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return out | {"cls.predictions.bias": (v,)}


def t5_shapes(c: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    w, inner = c["d_model"], c["d_ff"]
    out: dict[str, tuple[int, ...]] = {"shared.weight": (c["vocab_size"], w)}
    for side, count, last in (("encoder", c["num_layers"], 1), ("decoder", c["num_decoder_layers"], 2)):
        out[f"{side}.final_layer_norm.weight"] = (w,)
        out[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, c["num_heads"])
        for i in range(count):
            at = f"{side}.block.{i}.layer"
            for k, name in enumerate(["SelfAttention", "EncDecAttention"][:last]):
                out |= {f"{at}.{k}.{name}.{p}.weight": (w, w) for p in "qkvo"}
            out |= {f"{at}.{k}.layer_norm.weight": (w,) for k in range(last + 1)}
            ups = ("wi_0", "wi_1") if c["feed_forward_proj"].startswith("gated") else ("wi",)
            out |= {f"{at}.{last}.DenseReluDense.{k}.weight": (inner, w) for k in ups}
            out[f"{at}.{last}.DenseReluDense.wo.weight"] = (w, inner)
    return out if c["tie_word_embeddings"] else out | {"lm_head.weight": (c["vocab_size"], w)}


def tokenizer(config: dict[str, Any], special: dict[str, int]) -> str:
    """The text of a tokenizer.json whose words are letters, but for these special ones."""
    words = {chr(97 + i): i for i in range(config["vocab_size"]) if i not in special.values()}
    added = [
        {"id": i, "content": s, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        for s, i in special.items()
    ]
    split = {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False}
    model = {"type": "WordLevel", "vocab": {**words, **special}, "unk_token": next(iter(special))}
    rest = {"truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": {"type": "Fuse"}}
    return json.dumps({"version": "1.0", "added_tokens": added, "pre_tokenizer": split, "model": model, **rest})


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


def bert(c: dict[str, Any], w: Weights, ids: Tensor, seen: Tensor) -> Tensor:
    """seen (B, T): False for padding."""

    def norm(h: Tensor, name: str) -> Tensor:
        return F.layer_norm(h, h.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], c["layer_norm_eps"])

    def layer(h: Tensor, name: str) -> Tensor:
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    at = "bert.embeddings"
    h = w[f"{at}.word_embeddings.weight"][ids] + w[f"{at}.position_embeddings.weight"][: ids.shape[1]]
    h = norm(h + w[f"{at}.token_type_embeddings.weight"][0], f"{at}.LayerNorm")
    for i in range(c["num_hidden_layers"]):
        at = f"bert.encoder.layer.{i}"
        q, k, v = (split(layer(h, f"{at}.attention.self.{p}"), c["num_attention_heads"]) for p in ("query", "key", "value"))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen[:, None, None], -torch.inf)
        o = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        h = norm(h + layer(o, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        u = layer(h, f"{at}.intermediate.dense")
        u = 0.5 * u * (1 + torch.erf(u / math.sqrt(2)))
        h = norm(h + layer(u, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    u = layer(h, "cls.predictions.transform.dense")
    h = norm(0.5 * u * (1 + torch.erf(u / math.sqrt(2))), "cls.predictions.transform.LayerNorm")
    return h @ w["bert.embeddings.word_embeddings.weight"].T + w["cls.predictions.bias"]


def distance_bucket(offset: int, both: bool) -> int:
    """Of a key that stands `offset` places behind the query: T5's table, case by case."""
    count, base = 32, 0
    if both:
        count, base = 16, 16 if offset > 0 else 0
        offset = abs(offset)
    else:
        offset = max(-offset, 0)
    near = count // 2
    if offset < near:
        return base + offset
    return base + min(count - 1, near + int(math.log(offset / near) / math.log(128 / near) * (count - near)))


def t5(c: dict[str, Any], w: Weights, source: Tensor, seen: Tensor, ids: Tensor) -> Tensor:
    """Logits of ids (B, T) as the decoder reads them; seen (B, M): False for padding of the source."""

    def norm(h: Tensor, name: str) -> Tensor:
        return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + c["layer_norm_epsilon"]) * w[f"{name}.weight"]

    def attention(h: Tensor, other: Tensor, name: str, added: Tensor) -> Tensor:
        q, k, v = (split(x @ w[f"{name}.{p}.weight"].T, c["num_heads"]) for x, p in ((h, "q"), (other, "k"), (other, "v")))
        return ((q @ k.mT + added).softmax(-1) @ v).transpose(1, 2).flatten(2) @ w[f"{name}.o.weight"].T

    def network(h: Tensor, name: str) -> Tensor:
        if c["feed_forward_proj"] == "relu":
            u = (h @ w[f"{name}.wi.weight"].T).clamp(min=0)
        else:
            gate, u = h @ w[f"{name}.wi_0.weight"].T, h @ w[f"{name}.wi_1.weight"].T
            u = 0.5 * gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3))) * u
        return u @ w[f"{name}.wo.weight"].T

    def distances(side: str, size: int) -> Tensor:
        table = w[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        index = [[distance_bucket(j - i, side == "encoder") for j in range(size)] for i in range(size)]
        return table[torch.tensor(index)].permute(2, 0, 1)

    hide = torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)[:, None, None]
    m, h = w["shared.weight"][source], w["shared.weight"][ids]
    added = distances("encoder", source.shape[1]) + hide
    for i in range(c["num_layers"]):
        at = f"encoder.block.{i}.layer"
        x = norm(m, f"{at}.0.layer_norm")
        m = m + attention(x, x, f"{at}.0.SelfAttention", added)
        m = m + network(norm(m, f"{at}.1.layer_norm"), f"{at}.1.DenseReluDense")
    m = norm(m, "encoder.final_layer_norm")
    added = distances("decoder", ids.shape[1]) + torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
    for i in range(c["num_decoder_layers"]):
        at = f"decoder.block.{i}.layer"
        x = norm(h, f"{at}.0.layer_norm")
        h = h + attention(x, x, f"{at}.0.SelfAttention", added)
        h = h + attention(norm(h, f"{at}.1.layer_norm"), m, f"{at}.1.EncDecAttention", hide)
        h = h + network(norm(h, f"{at}.2.layer_norm"), f"{at}.2.DenseReluDense")
    h = norm(h, "decoder.final_layer_norm")
    if c["tie_word_embeddings"]:
        return h * c["d_model"] ** -0.5 @ w["shared.weight"].T
    return h @ w["lm_head.weight"].T


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
