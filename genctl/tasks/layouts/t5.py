"""T5: relative positions, RMS norm, no biases; scores are not scaled, and tied outputs are: both are carried by the weights here.

https://huggingface.co/docs/transformers/model_doc/t5. Our queries are theirs times sqrt(d), and our last gain is theirs / sqrt(width). The
second version (T5 1.1, Flan) has gates and an output layer of its own: it is read, but not written, since genctl would have two embeddings.
"""

import math
from dataclasses import replace
from typing import Any

from genctl.contract import Spec
from genctl.nets.relative import BUCKETS, FAR
from genctl.nets.transformer import GATES, between
from genctl.tasks.layouts import Config, Place, Unlike, linear, unless

FAMILY, DATA, PREFIX = "seq2seq", "text-pairs", ""
STRAY = ("lm_head.weight", "embed_tokens.weight", "EncDecAttention.relative_attention_bias.weight")
HAS: dict[str, Any] = {}
ACTIVATIONS = {"relu": "relu", "gated-gelu": "geglu", "gelu": "gelu", "gated-silu": "swiglu"}


def read(config: Config) -> tuple[dict[str, Any], Spec]:
    width, heads, d = config.integer("d_model"), config.integer("num_heads"), config.integer("d_kv")
    if d * heads != width:
        raise Unlike(f"d_kv: {heads} heads of {d} dimensions do not make up the width {width}; genctl computes nothing else")
    tied = config.flag("tie_word_embeddings", True)
    for name, value in (
        ("relative_attention_num_buckets", BUCKETS),
        ("relative_attention_max_distance", FAR),
        ("layer_norm_epsilon", 1e-6),
        ("scale_decoder_outputs", tied),
    ):
        config.same(name, value)
    layers = config.integer("num_layers")
    settings = {
        "layers": layers,
        "writer_layers": config.integer("num_decoder_layers", layers),
        "heads": heads,
        "width": width,
        "inner": config.integer("d_ff"),
        "dropout": config.real("dropout_rate", 0.1),
        "positions": "relative",
        "qk_norm": False,
        "activation": ACTIVATIONS[config.one_of("feed_forward_proj", "relu", ACTIVATIONS)],
        "norm": "rms",
        "tied": tied,
        "begin": config.begin("decoder_start_token_id", "pad_token_id"),
    }
    shape, vocab = (config.integer("n_positions", 512),), config.integer("vocab_size")
    side = Spec(shape=shape, vocab=vocab, end=config.symbol("eos_token_id"), media="text")
    return settings, replace(side, given={"source": side})


def write(m: Any, spec: Spec) -> dict[str, Any]:
    source = spec.given["source"]
    unless(
        (m.network == "transformer", "model.network must be transformer"),
        (m.positions == "relative", "model.positions must be relative"),
        (m.norm == "rms", "model.norm must be rms"),
        (m.activation in ACTIVATIONS.values(), "model.activation must be relu, gelu, geglu or swiglu"),
        (not m.qk_norm, "model.qk_norm must be false"),
        (m.begin is not None, "model.begin must be a symbol"),
        (m.tied, "model.tied must be true"),
        (not m.pointer, "model.pointer must be false"),
        ((source.vocab, source.codec) == (spec.vocab, spec.codec), "source and target must have one vocabulary"),
    )
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "num_layers": m.layers,
        "num_decoder_layers": m.writer_layers or m.layers,
        "num_heads": m.heads,
        "d_model": m.width,
        "d_kv": m.width // m.heads,
        "d_ff": between(m.width, m.activation, m.inner),
        "feed_forward_proj": next(k for k, v in ACTIVATIONS.items() if v == m.activation),
        "relative_attention_num_buckets": BUCKETS,
        "relative_attention_max_distance": FAR,
        "n_positions": max(source.size, spec.size),
        "vocab_size": spec.vocab,
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": m.dropout,
        "tie_word_embeddings": True,
        "decoder_start_token_id": m.begin,
        "pad_token_id": m.begin,
        "eos_token_id": spec.end,
    }


def names(m: Any) -> dict[str, Place]:
    layers, sharp = m.writer_layers or m.layers, math.sqrt(m.width // m.heads)
    found = {"embed.weight": Place(("shared.weight",))}
    if not m.tied:
        found |= {"embed_source.weight": Place(("shared.weight",)), "head.weight": Place(("lm_head.weight",))}
    for ours, theirs, count, last in (("reader", "encoder", m.layers, 1), ("writer", "decoder", layers, 2)):
        table = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        found[f"net.{ours}.relative.table.weight"] = Place((table,))
        scale = (m.width**-0.5,) if last == 2 and m.tied else ()
        found[f"net.{ours}.norm.weight"] = Place((f"{theirs}.final_layer_norm.weight",), times=scale)
        for i in range(count):
            found |= _block(m, f"net.{ours}.blocks.{i}", f"{theirs}.block.{i}.layer", last, sharp)
    memory = [f"decoder.block.{i}.layer.1.EncDecAttention.{k}.weight" for i in range(layers) for k in "kv"]
    return found | {"net.writer.memory.weight": Place(tuple(memory), (m.width,) * len(memory))}


def _block(m: Any, ours: str, theirs: str, last: int, sharp: float) -> dict[str, Place]:
    """One block, whose network is their layer `last`; behind attention to itself the writer's has that to the memory."""
    at, net = f"{theirs}.0.SelfAttention", f"{theirs}.{last}.DenseReluDense"
    qkv = tuple(f"{at}.{k}.weight" for k in "qkv")
    found = {f"{ours}.attention.qkv.weight": Place(qkv, (m.width,) * 3, times=(sharp, 1.0, 1.0))}
    found |= linear(f"{ours}.attention.out", f"{at}.o", bias=False)
    found |= linear(f"{ours}.norm1", f"{theirs}.0.layer_norm", bias=False) | linear(
        f"{ours}.norm2", f"{theirs}.{last}.layer_norm", bias=False
    )
    if last == 2:
        cross = f"{theirs}.1.EncDecAttention"
        found[f"{ours}.cross.query.weight"] = Place((f"{cross}.q.weight",), times=(sharp,))
        found |= linear(f"{ours}.cross.out", f"{cross}.o", bias=False) | linear(f"{ours}.norm3", f"{theirs}.1.layer_norm", bias=False)
    inner = between(m.width, m.activation, m.inner)
    ups = (f"{net}.wi_0", f"{net}.wi_1") if m.activation in GATES else (f"{net}.wi",)
    found |= linear(f"{ours}.up", *ups, rows=(inner,) * len(ups) if len(ups) > 1 else (), bias=False)
    return found | linear(f"{ours}.down", f"{net}.wo", bias=False)


def special(m: Any, spec: Spec) -> dict[str, int | None]:
    return {"pad_token": m.begin, "eos_token": spec.end}


def frame(m: Any, spec: Spec) -> tuple[int | None, int | None]:
    return None, spec.end
