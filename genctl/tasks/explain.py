"""explain: what a model looks at in a text, and how much each of its symbols surprises it, as one HTML page and PNGs."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import powers
from genctl.contract import Batch
from genctl.errors import GenctlError, safe_text
from genctl.maths import decoding
from genctl.maths.rollout import rollout
from genctl.media import _heat, image
from genctl.media import text as letters
from genctl.tasks.sample import Sampler, fill, npz

MOST, IN_A_TABLE = 512, 64  # symbols that are looked at, and vectors up to which a map is a table with its words


def nats(sampler: Sampler, x: Tensor, given: dict[str, Tensor]) -> Tensor:
    """(T,) -log p of each symbol of x (1, T), given those before it."""
    model: Any = sampler.model
    with torch.no_grad():
        return -decoding.log_prob(model, x.to(model.device), _placed(sampler, given), sampler.spec.end)[0].cpu()


def attention(sampler: Sampler, x: Tensor, given: dict[str, Tensor]) -> Tensor:
    """(layers, heads, S, S)."""
    model: Any = sampler.model
    with torch.no_grad():
        found: Tensor = model.attention(Batch(x=x.to(model.device), given=_placed(sampler, given) or {}))
    return found[0].cpu()


def _placed(sampler: Sampler, given: dict[str, Tensor]) -> dict[str, Tensor] | None:
    return {k: v.to(sampler.model.device) for k, v in sampler.given(1, given).items()} or None


def explain(sampler: Sampler, prompt: str, out: Path, given: dict[str, Tensor] | None = None) -> dict[str, Any]:
    """Writes explain.html to look at; loss.png, attention.png, mean.png and rollout.png; and the numbers as explain.npz.

    Raises GenctlError (power, usage, prompt-token, prompt-length, out-...).
    """
    able = powers.of(type(sampler.model))
    if sampler.spec.media != "text" or not {"attend", "causal"} & set(able):
        raise GenctlError("power", f"family '{sampler.recipe.family}' neither attends to a text nor goes on from one", "genctl list powers")
    x = letters.encode(prompt, sampler.spec)[None]
    most = min(MOST, sampler.spec.size)
    if not x.numel():
        raise GenctlError("usage", "--prompt: there is nothing to explain")
    if x.shape[1] > most:
        raise GenctlError("prompt-length", f"the prompt has {x.shape[1]} symbols, {most} are looked at at most", "a shorter prompt")
    sampler.model.eval()
    beside = given or {}
    loss = nats(sampler, x, beside) if "causal" in able else None
    looks = attention(sampler, x, beside) if "attend" in able else None
    table = letters.symbols(sampler.spec)
    pieces = [table[i] for i in x[0].tolist()]
    words = [_heat.shown(p) for p in pieces]
    note = {**sampler.note(0), "prompt": prompt}

    def files(folder: Path) -> list[Path]:
        parts, pictures, arrays = [], [], {}
        if loss is not None:
            parts += surprise(loss, [_heat.shown(p, _heat.RUNNING) for p in pieces])
            image.save_png(_heat.passage(words, _heat.relative(loss), _heat.RED), folder / "loss.png", note)
            pictures, arrays = [folder / "loss.png"], {"nats": loss}
        if looks is not None:
            parts += maps(looks, read(words, looks.shape[-1], "causal" in able))
            pictures += _drawn(looks, folder, note)
            arrays["attention"] = looks
        title = f"{sampler.recipe.family}, step {safe_text(sampler.header.meta.get('step'))}"
        (folder / "explain.html").write_text(_heat.page(title, parts), encoding="utf-8")
        return [folder / "explain.html", *pictures, npz(folder / "explain.npz", note, **arrays)]

    paths = fill(out, note, files)
    found: dict[str, Any] = {"symbols": x.shape[1]}
    if loss is not None:
        found |= {"nats": loss.sum().item(), "nats_per_symbol": loss.mean().item(), "strangest": words[int(loss.argmax())]}
    if looks is not None:
        found |= {"layers": looks.shape[0], "heads": looks.shape[1]}
    return {**found, "out": str(out), "files": [str(p) for p in paths]}


def read(words: list[str], count: int, causal: bool) -> list[str]:
    """Names of the vectors that the network reads: a causal one reads what stands in front, and all symbols but the last."""
    symbols = words[:-1] if causal else words
    return ["▸"] * (count - len(symbols)) + symbols


def surprise(loss: Tensor, words: list[str]) -> list[str]:
    """The parts of the page about the loss (T,)."""
    said = [f"{v:.3f} nats, p = {p:.3g}" for v, p in zip(loss.tolist(), loss.neg().exp().tolist(), strict=True)]
    note = f"Each symbol on the colour of -log p given those before it; the darkest has {loss.max():.3f} nats. In all {loss.sum():.3f} nats, {loss.mean():.4f} a symbol."
    return [_heat.heading("Loss", note), _heat.text(words, _heat.relative(loss), said, _heat.RED)]


def maps(looks: Tensor, words: list[str]) -> list[str]:
    """The parts of the page about attention (layers, heads, S, S)."""
    mean, all_layers = looks.mean((0, 1)), rollout(looks)
    whole = "A row is a vector that the network reads, and shows how much it takes from each column; the largest of a row is darkest. ▸ stands before the text."
    parts = []
    for name, values, note in (
        ("Attention, the mean of all layers and heads", mean, whole),
        ("Attention rollout", all_layers, "The same through all layers, with what passes by them (Abnar and Zuidema 2020)."),
    ):
        large = len(words) > IN_A_TABLE
        parts += [
            _heat.heading(name, note),
            _heat.figure(_heat.relative(values), "", _heat.BLUE) if large else _heat.table(values, words, _heat.BLUE),
        ]
    parts.append(_heat.heading("Every layer and head", "Layers from the first, heads side by side."))
    for i, layer in enumerate(looks, 1):
        parts.append(
            "<div>" + "".join(_heat.figure(head, f"layer {i}, head {j}", _heat.BLUE) for j, head in enumerate(layer, 1)) + "</div>"
        )
    return parts


def _drawn(looks: Tensor, folder: Path, note: dict[str, Any]) -> list[Path]:
    """attention.png, a layer a row and a head a column; mean.png and rollout.png, each row on colours up to its largest."""
    every = _heat.shade(looks.flatten(0, 1), _heat.BLUE).movedim(0, 1)
    image.save_png(image.enlarge(image.grid(every, columns=looks.shape[1])), folder / "attention.png", note)
    for name, values in (("mean", looks.mean((0, 1))), ("rollout", rollout(looks))):
        image.save_png(image.enlarge(_heat.shade(_heat.relative(values), _heat.BLUE)), folder / f"{name}.png", note)
    return [folder / f"{name}.png" for name in ("attention", "mean", "rollout")]
