"""GPT-2: learned positions, LayerNorm, matrices stored transposed, as its first implementation's convolutions were.

https://huggingface.co/docs/transformers/model_doc/gpt2
"""

from typing import Any

from genctl.contract import Spec
from genctl.nets.transformer import between
from genctl.tasks.layouts import Config, Place, linear, unless

FAMILY, DATA, PREFIX = "gpt", "text", "transformer."
STRAY = (".attn.bias", ".attn.masked_bias", "lm_head.weight")  # masks of what lies ahead; the embedding once more
HAS: dict[str, Any] = {"bias": True}
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu": "gelu", "relu": "relu", "relu2": "relu2", "gelu_pytorch_tanh": "gelu_tanh"}


def read(config: Config) -> tuple[dict[str, Any], Spec]:
    config.same("scale_attn_weights", True)
    config.same("scale_attn_by_inverse_layer_idx", False)
    config.same("add_cross_attention", False)
    width = config.integer("n_embd")
    settings = {
        "layers": config.integer("n_layer"),
        "heads": config.integer("n_head"),
        "width": width,
        "inner": config.integer("n_inner", 4 * width),
        "dropout": config.real("resid_pdrop", 0.1),
        "positions": "learned",
        "qk_norm": False,
        "activation": ACTIVATIONS[config.one_of("activation_function", "gelu_new", ACTIVATIONS)],
        "norm": "layer",
        "eps": config.real("layer_norm_epsilon", 1e-5),
        "bias": True,
        "tied": config.flag("tie_word_embeddings", True),
        "begin": config.begin("bos_token_id", "eos_token_id"),
    }
    shape, vocab = (config.integer("n_positions"),), config.integer("vocab_size")
    return settings, Spec(shape=shape, vocab=vocab, end=config.symbol("eos_token_id"), media="text")


def write(m: Any, spec: Spec) -> dict[str, Any]:
    unless(
        (m.positions == "learned", "model.positions must be learned"),
        (m.norm == "layer", "model.norm must be layer"),
        (m.activation in ACTIVATIONS.values(), "model.activation must be gelu, gelu_tanh, relu or relu2"),
        (not m.qk_norm, "model.qk_norm must be false"),
        (m.kv_heads in (0, m.heads), "model.kv_heads must be 0"),
        (m.begin is not None, "model.begin must be a symbol"),
        (not m.conditions, "model.conditions must be empty"),
    )
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": m.layers,
        "n_head": m.heads,
        "n_embd": m.width,
        "n_inner": between(m.width, m.activation, m.inner),
        "n_positions": spec.size,
        "vocab_size": spec.vocab,
        "activation_function": next(k for k, v in ACTIVATIONS.items() if v == m.activation),
        "layer_norm_epsilon": m.eps or 1e-5,
        "embd_pdrop": m.dropout,
        "attn_pdrop": m.dropout,
        "resid_pdrop": m.dropout,
        "tie_word_embeddings": m.tied,
        "bos_token_id": m.begin,
        "eos_token_id": spec.end,
    }


def names(m: Any) -> dict[str, Place]:
    found = {"embed.weight": Place(("transformer.wte.weight",)), "net.position": Place(("transformer.wpe.weight",))}
    for i in range(m.layers):
        ours, theirs = f"net.blocks.{i}", f"transformer.h.{i}"
        found |= linear(f"{ours}.norm1", f"{theirs}.ln_1")
        found |= linear(f"{ours}.attention.qkv", f"{theirs}.attn.c_attn", turned=True)
        found |= linear(f"{ours}.attention.out", f"{theirs}.attn.c_proj", turned=True)
        found |= linear(f"{ours}.norm2", f"{theirs}.ln_2")
        found |= linear(f"{ours}.up", f"{theirs}.mlp.c_fc", turned=True)
        found |= linear(f"{ours}.down", f"{theirs}.mlp.c_proj", turned=True)
    found |= linear("net.norm", "transformer.ln_f")
    return found if m.tied else found | linear("head", "lm_head", bias=False)


def special(m: Any, spec: Spec) -> dict[str, int | None]:
    return {"bos_token": m.begin, "eos_token": spec.end}


def frame(m: Any, spec: Spec) -> tuple[int | None, int | None]:
    return m.begin, None
