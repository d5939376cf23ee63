"""init_from: a new run starts from the weights of another model, as far as they fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from genctl import checkpoint, durable
from genctl.contract import Model, Spec
from genctl.errors import GenctlError, safe_text
from genctl.tasks import huggingface


def adopt(model: Model, source: Path, say: Callable[[str], None]) -> None:
    """Copies tensors of the same name and shape, into the model or a model inside it, whichever takes more; says what was left.

    source   a checkpoint, or a folder of Hugging Face

    Raises GenctlError (no-input, ckpt-..., usage; ckpt-mismatch where nothing fits).
    """
    tensors, spec = _source(source, model.spec, say)
    own = checkpoint.weights(model)
    places = ["", *(f"{name}." for name, child in model.named_children() if isinstance(child, Model))]
    fit = max((_fitting({place + k: v for k, v in tensors.items()}, own) for place in places), key=len)
    if not fit:
        raise GenctlError("ckpt-mismatch", f"init_from: nothing in {safe_text(source)} has the names and shapes of this model")
    model.load_state_dict(fit, strict=False)
    left = sorted(own.keys() - fit.keys())
    fresh = f"; fresh: {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}" if left else ""
    say(f"init-from: {len(fit)} of {len(own)} tensors taken over{fresh}")
    if spec.vocab and model.spec.vocab and _symbols(spec) != _symbols(model.spec):
        say(
            f"warning[symbols]: init_from was trained on {spec.vocab} symbols, this data has {model.spec.vocab}, and they are not the same: "
            "what it learned of a symbol is lost or goes to another (data.tokenizer takes its own)"
        )


def _fitting(tensors: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape and own[k].dtype == v.dtype}


def spec_of(source: Path) -> Spec:
    """What a model to start from was trained on. Raises GenctlError (no-input, ckpt-...)."""
    if huggingface.is_folder(source):
        return huggingface.spec_of(source)
    return checkpoint.understand(checkpoint.look(durable.locate(source, lambda text: None)))[1]


def _source(source: Path, spec: Spec, say: Callable[[str], None]) -> tuple[dict[str, Tensor], Spec]:
    if huggingface.is_folder(source):
        found = huggingface.read(source, *((spec.size, spec.vocab) if spec.vocab else (0, 0)))
        return found.tensors, found.spec
    head, tensors = checkpoint.unpack(durable.locate(source, say))
    return tensors, checkpoint.understand(head)[1]


def _symbols(spec: Spec) -> tuple[int, Any]:
    """What the symbols of a Spec are; a tokeniser by its content, however it is spaced."""
    codec = dict(spec.codec)
    if "tokenizer" in codec:
        codec["tokenizer"] = json.loads(codec["tokenizer"])
    return spec.vocab, codec
