"""Llama: rotary positions in halves, RMS norm, SwiGLU, grouped queries; queries, keys and values in matrices of their own.

https://huggingface.co/docs/transformers/model_doc/llama
"""

from typing import Any

from genctl.contract import Spec
from genctl.nets.transformer import between
from genctl.tasks.layouts import Config, Place, Unlike, linear, unless

FAMILY, DATA, PREFIX = "gpt", "text", "model."
STRAY = (".rotary_emb.inv_freq", "lm_head.weight")
HAS: dict[str, Any] = {}


def read(config: Config) -> tuple[dict[str, Any], Spec]:
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    d = config.integer("head_dim", width // heads or 1)
    if d * heads != width:
        raise Unlike(f"head_dim: {heads} heads of {d} dimensions do not make up the width {width}; genctl computes nothing else")
    bias = config.flag("attention_bias", False)
    config.same("mlp_bias", bias)
    config.one_of("hidden_act", "silu", ["silu"])
    settings = {
        "layers": config.integer("num_hidden_layers"),
        "heads": heads,
        "width": width,
        "inner": config.integer("intermediate_size"),
        "kv_heads": config.integer("num_key_value_heads", heads),
        "positions": "rotary",
        "qk_norm": False,
        "activation": "swiglu",
        "norm": "rms",
        "eps": config.real("rms_norm_eps", 1e-6),
        "bias": bias,
        "tied": config.flag("tie_word_embeddings", False),
        "begin": config.begin("bos_token_id", "eos_token_id"),
        **turns(config),
    }
    shape, vocab = (config.integer("max_position_embeddings"),), config.integer("vocab_size")
    return settings, Spec(shape=shape, vocab=vocab, end=config.symbol("eos_token_id"), media="text")


def turns(config: Config) -> dict[str, Any]:
    """`base` and `stretch`, from where version 5 of the library writes them or from where version 4 did."""
    new, old = config.part("rope_parameters"), config.part("rope_scaling")
    how = new if new.tree else old
    kind = how.one_of("rope_type", str(how.tree.get("type", "default")), ["default", "llama3"])
    base = new.real("rope_theta", config.real("rope_theta", 10_000.0))
    if kind == "default":
        return {"base": base}
    return {
        "base": base,
        "stretch": {
            "factor": how.real("factor", 8.0),
            "low": how.real("low_freq_factor", 1.0),
            "high": how.real("high_freq_factor", 4.0),
            "length": how.integer("original_max_position_embeddings"),
        },
    }


def write(m: Any, spec: Spec) -> dict[str, Any]:
    unless(
        (m.positions == "rotary", "model.positions must be rotary"),
        (m.norm == "rms", "model.norm must be rms"),
        (m.activation == "swiglu", "model.activation must be swiglu"),
        (not m.qk_norm, "model.qk_norm must be false"),
        (m.begin is not None, "model.begin must be a symbol"),
        (not m.conditions, "model.conditions must be empty"),
    )
    rope: dict[str, Any] = {"rope_theta": m.base, "rope_type": "default"}
    if m.stretch:
        s = m.stretch
        rope |= {"rope_type": "llama3", "factor": s.factor, "low_freq_factor": s.low, "high_freq_factor": s.high}
        rope["original_max_position_embeddings"] = s.length
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "num_key_value_heads": m.kv_heads or m.heads,
        "hidden_size": m.width,
        "intermediate_size": between(m.width, m.activation, m.inner),
        "head_dim": m.width // m.heads,
        "max_position_embeddings": spec.size,
        "vocab_size": spec.vocab,
        "hidden_act": "silu",
        "rms_norm_eps": m.eps or 1e-6,
        "rope_parameters": rope,
        "rope_theta": m.base,
        "rope_scaling": {k: v for k, v in rope.items() if k != "rope_theta"} if m.stretch else None,
        "attention_bias": m.bias,
        "mlp_bias": m.bias,
        "tie_word_embeddings": m.tied,
        "bos_token_id": m.begin,
        "eos_token_id": spec.end,
    }


def names(m: Any) -> dict[str, Place]:
    keys, inner = (m.kv_heads or m.heads) * (m.width // m.heads), between(m.width, m.activation, m.inner)
    found = {"embed.weight": Place(("model.embed_tokens.weight",))}
    for i in range(m.layers):
        ours, theirs = f"net.blocks.{i}", f"model.layers.{i}"
        qkv = [f"{theirs}.self_attn.{k}_proj" for k in "qkv"]
        found |= linear(f"{ours}.norm1", f"{theirs}.input_layernorm", bias=False)
        found |= linear(f"{ours}.attention.qkv", *qkv, rows=(m.width, keys, keys), bias=m.bias)
        found |= linear(f"{ours}.attention.out", f"{theirs}.self_attn.o_proj", bias=m.bias)
        found |= linear(f"{ours}.norm2", f"{theirs}.post_attention_layernorm", bias=False)
        gate, up = f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"
        found |= linear(f"{ours}.up", gate, up, rows=(inner, inner), bias=m.bias)
        found |= linear(f"{ours}.down", f"{theirs}.mlp.down_proj", bias=m.bias)
    found |= linear("net.norm", "model.norm", bias=False)
    return found if m.tied else found | linear("head", "lm_head", bias=False)


def special(m: Any, spec: Spec) -> dict[str, int | None]:
    return {"bos_token": m.begin, "eos_token": spec.end}


def frame(m: Any, spec: Spec) -> tuple[int | None, int | None]:
    return m.begin, None
