"""import and export: models of other houses into checkpoints, and checkpoints into what other houses read."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genctl import checkpoint, durable
from genctl.errors import GenctlError, safe_text
from genctl.tasks import diffusers, huggingface, huggingface_out, peft
from genctl.tasks.sample import writable


def from_hf(folder: Path, out: Path | None, context: int, say: Callable[[str], None]) -> dict[str, Any]:
    """One checkpoint file out of a folder of Hugging Face. Raises GenctlError."""
    found = huggingface.read(folder, context)
    for note in found.notes:
        say(note)
    path = out or Path(f"{folder.resolve().name}.safetensors")
    _save(path, checkpoint.pieces(found.tensors, checkpoint.describe(found.recipe, found.spec, 0)))
    count = sum(t.numel() for t in found.tensors.values())
    return {"out": str(path), "family": found.recipe.family, "parameters": count, "context": found.spec.size, "vocab": found.spec.vocab}


def from_diffusers(folder: Path, out: Path | None) -> dict[str, Any]:
    """One checkpoint file out of a pipeline's folder. Raises GenctlError."""
    plan, spec, tensors = diffusers.read(folder)
    path = out or Path(f"{folder.resolve().name}.safetensors")
    _save(path, checkpoint.pieces(tensors, checkpoint.describe(plan, spec, 0)))
    return {"out": str(path), "family": plan.family, "parameters": sum(t.numel() for t in tensors.values()), "shape": list(spec.shape)}


def from_peft(folder: Path, base: Path, out: Path | None) -> dict[str, Any]:
    """One checkpoint file: a base with an adapter merged into it. Raises GenctlError."""
    plan, spec, tensors, layers = peft.merge(folder, base)
    path = out or Path(f"{folder.resolve().name}.safetensors")
    _save(path, checkpoint.pieces(tensors, checkpoint.describe(plan, spec, 0)))
    return {"out": str(path), "family": plan.family, "layers": layers}


def to_peft(ckpt: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The adapter of a run with train.lora. Raises GenctlError."""
    _empty(out)
    with writable(out):
        return {"out": str(out), "files": [str(p) for p in peft.write(ckpt, out)]}


def to_hf(ckpt: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """A folder that `from_pretrained` reads. Raises GenctlError."""
    file = durable.locate(ckpt, say)
    plan, spec = checkpoint.understand(checkpoint.look(file))
    told = huggingface_out.layout_of(plan, spec)[1]  # or why not, before the weights are read
    model = checkpoint.load(file)[0]
    _empty(out)
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        paths = huggingface_out.write(plan, spec, checkpoint.weights(model), out)
    if len(paths) < 3:
        say("warning[tokenizer]: no tokenizer was written: this model's symbols are not characters")
    return {"out": str(out), "model_type": told["model_type"], "files": [str(p) for p in paths]}


def to_diffusers(ckpt: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """A folder that `DDPMPipeline.from_pretrained` reads. Raises GenctlError."""
    file = durable.locate(ckpt, say)
    plan, spec = checkpoint.understand(checkpoint.look(file))
    diffusers.described(plan, spec)  # or why not, before the weights are read
    model = checkpoint.load(file)[0]
    _empty(out)
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        paths = diffusers.write(plan, spec, checkpoint.weights(model), out)
    return {"out": str(out), "files": [str(p) for p in paths]}


def to_file(ckpt: Path, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The one file that a run's newest checkpoint is to who samples from it. Raises GenctlError."""
    file = durable.locate(ckpt, say)
    checkpoint.unpack(file)  # whole, or it is not handed on
    _save(out, [file.read_bytes()])
    return {"out": str(out), "files": [str(out)]}


def _save(path: Path, data: durable.Pieces) -> None:
    """A new file, whole or not at all. Raises GenctlError (out-exists, out-unwritable)."""
    if os.path.lexists(path):
        raise GenctlError("out-exists", f"{safe_text(path)} exists", "give another --out")
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            durable.FS().write(temporary, data)
            os.rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    """Raises GenctlError (out-exists)."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GenctlError("out-exists", f"{safe_text(folder)} is a file, or holds other things", "give another --out")
