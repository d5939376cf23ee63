"""BERT: norms behind, learned positions, a layer of its own before the symbols are told; it reads [CLS], the text, and [SEP].

https://huggingface.co/docs/transformers/model_doc/bert. Which symbols those are, and which is [MASK], its tokenizer.json says. The vectors of
token types of the first kind are added to the positions; pooler and next-sentence head are left out.
"""

from typing import Any

from genctl.contract import Spec
from genctl.nets.transformer import between
from genctl.tasks.layouts import Config, Place, Sum, Unlike, linear, unless

FAMILY, DATA, PREFIX = "bert", "text", "bert."
STRAY = (".position_ids", "pooler.dense.weight", "pooler.dense.bias", "seq_relationship.weight", "seq_relationship.bias", "decoder.weight", "decoder.bias")  # fmt: skip
HAS: dict[str, Any] = {"bias": True}
TYPES = 2


def read(config: Config) -> tuple[dict[str, Any], Spec]:
    config.one_of("hidden_act", "gelu", ["gelu"])
    config.one_of("position_embedding_type", "absolute", ["absolute"])
    for name, value in (("tie_word_embeddings", True), ("is_decoder", False), ("add_cross_attention", False), ("type_vocab_size", TYPES)):
        config.same(name, value)
    if "[MASK]" not in config.names:
        raise Unlike("there is no tokenizer.json beside it with a symbol [MASK], which stands for what is hidden")
    width, begin = config.integer("hidden_size"), config.names.get("[CLS]")
    settings = {
        "layers": config.integer("num_hidden_layers"),
        "heads": config.integer("num_attention_heads"),
        "width": width,
        "inner": config.integer("intermediate_size"),
        "dropout": config.real("hidden_dropout_prob", 0.1),
        "norms": "behind",
        "positions": "learned",
        "qk_norm": False,
        "activation": "gelu",
        "eps": config.real("layer_norm_eps", 1e-12),
        "bias": True,
        "begin": begin,
        "mask": config.names["[MASK]"],
    }
    length = config.integer("max_position_embeddings") - (begin is not None)
    if not length:
        raise config.wrong("max_position_embeddings", "room for more than [CLS]")
    return settings, Spec(shape=(length,), vocab=config.integer("vocab_size"), end=config.names.get("[SEP]"), media="text")


def write(m: Any, spec: Spec) -> dict[str, Any]:
    unless(
        (m.norms == "behind", "model.norms must be behind"),
        (m.positions == "learned", "model.positions must be learned"),
        (not m.qk_norm, "model.qk_norm must be false"),
        (m.activation == "gelu", "model.activation must be gelu"),
        (m.mask is not None, "model.mask must be a symbol"),
    )
    return {
        "model_type": "bert",
        "architectures": ["BertForMaskedLM"],
        "num_hidden_layers": m.layers,
        "num_attention_heads": m.heads,
        "hidden_size": m.width,
        "intermediate_size": between(m.width, m.activation, m.inner),
        "max_position_embeddings": spec.size + (m.begin is not None),
        "type_vocab_size": TYPES,
        "vocab_size": spec.vocab,
        "hidden_act": "gelu",
        "layer_norm_eps": m.eps or 1e-5,
        "hidden_dropout_prob": m.dropout,
        "attention_probs_dropout_prob": m.dropout,
        "tie_word_embeddings": True,
        "pad_token_id": spec.end or 0,
    }


def names(m: Any) -> dict[str, Place]:
    at, head = "bert.embeddings", "cls.predictions"
    found: dict[str, Place] = {
        "embed.weight": Place((f"{at}.word_embeddings.weight",)),
        "net.position": Sum((f"{at}.position_embeddings.weight", f"{at}.token_type_embeddings.weight"), count=TYPES),
        "head.bias": Place((f"{head}.bias",)),
    }
    found |= linear("net.norm", f"{at}.LayerNorm")
    found |= linear("head.dense", f"{head}.transform.dense") | linear("head.norm", f"{head}.transform.LayerNorm")
    for i in range(m.layers):
        ours, theirs = f"net.blocks.{i}", f"bert.encoder.layer.{i}"
        qkv = [f"{theirs}.attention.self.{k}" for k in ("query", "key", "value")]
        found |= linear(f"{ours}.attention.qkv", *qkv, rows=(m.width,) * 3)
        found |= linear(f"{ours}.attention.out", f"{theirs}.attention.output.dense")
        found |= linear(f"{ours}.behind1", f"{theirs}.attention.output.LayerNorm")
        found |= linear(f"{ours}.up", f"{theirs}.intermediate.dense")
        found |= linear(f"{ours}.down", f"{theirs}.output.dense")
        found |= linear(f"{ours}.behind2", f"{theirs}.output.LayerNorm")
    return found


def special(m: Any, spec: Spec) -> dict[str, int | None]:
    return {"cls_token": m.begin, "sep_token": spec.end, "mask_token": m.mask, "pad_token": spec.end}


def frame(m: Any, spec: Spec) -> tuple[int | None, int | None]:
    return m.begin, spec.end
