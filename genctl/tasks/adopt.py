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
    """Copies tensors of the same name and shape; says what was left. `source`: a checkpoint, or a folder of Hugging Face.

    Raises GenctlError (no-input, ckpt-..., usage; ckpt-mismatch where nothing fits).
    """
    tensors, spec = _source(source, model.spec, say)
    own = checkpoint.weights(model)
    fit = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape and own[k].dtype == v.dtype}
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


def _source(source: Path, spec: Spec, say: Callable[[str], None]) -> tuple[dict[str, Tensor], Spec]:
    if huggingface.is_folder(source):
        found = huggingface.read(source, spec.size if spec.vocab else 0)
        return found.tensors, found.spec
    head, tensors = checkpoint.unpack(durable.locate(source, say))
    return tensors, checkpoint.understand(head)[1]


def _symbols(spec: Spec) -> tuple[int, Any]:
    """What the symbols of a Spec are; a tokeniser by its content, however it is spaced."""
    codec = dict(spec.codec)
    if "tokenizer" in codec:
        codec["tokenizer"] = json.loads(codec["tokenizer"])
    return spec.vocab, codec
