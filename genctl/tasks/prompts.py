"""Prompts: texts that samples go on from, one or a file of them, or that they are conditional on; and text that is shown as it comes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from genctl.contract import Batch, Draw, Given
from genctl.data._cells import lines
from genctl.errors import GenctlError, safe_text
from genctl.maths import decoding, noise, sampling
from genctl.media import text as letters
from genctl.nets.symbols import rule
from genctl.powers import Causal, Impute
from genctl.tasks.sample import Sampler

Say = Callable[[str], None]


def read(path: Path) -> list[str]:
    """The lines of a file; empty ones are none. Raises GenctlError (no-input, permission, data-format, data-encoding, data-empty, limit)."""
    found = [line for line in lines(path) if line.strip()]
    if not found:
        raise GenctlError("data-empty", f"{safe_text(path)}: holds no prompt", "a prompt a line")
    return found


def encoded(sampler: Sampler, prompts: Sequence[str], draw: Draw | None, warn: Say) -> list[Tensor]:
    """Prompts as symbols, the last of them where the model cannot read all. Raises GenctlError (power, prompt-token, prompt-length)."""
    if sampler.spec.media != "text":
        raise GenctlError("power", f"family '{sampler.recipe.family}' cannot go on from a prompt")
    longest, strict = sampler.spec.size - 1, getattr(draw or sampler.recipe.sample, "strict", False)
    out, long = [], []
    for i, prompt in enumerate(prompts):
        tokens = letters.encode(prompt, sampler.spec)
        if len(tokens) > longest:
            long.append(f"{'the prompt' if len(prompts) == 1 else f'prompt {i + 1}'} has {len(tokens)} symbols")
        out.append(tokens[-longest:] if longest else tokens[:0])
    if long and strict:
        raise GenctlError("prompt-length", f"{long[0]}, the model goes on from {longest} at most", "a shorter one, or sample.strict=false")
    if long:
        more = f", {len(long) - 1} more are as long" if long[1:] else ""
        warn(f"warning[prompt-length]: {long[0]}, the model sees {longest + 1}: only the last {longest} are used{more}")
    return out


def go_on(sampler: Sampler, prompts: Sequence[Tensor], n: int, seed: int = 0, draw: Draw | None = None) -> Iterator[Tensor]:
    """Pieces of n samples of each prompt in turn, which begin with it. Raises GenctlError (power)."""
    if not isinstance(sampler.model, Impute):
        raise GenctlError("power", f"family '{sampler.recipe.family}' cannot go on from a prompt")
    shape, device = (-1, *sampler.spec.shape), sampler.family.device
    count = torch.tensor([len(p) for p in prompts])
    x = torch.zeros(len(prompts), sampler.spec.size, dtype=torch.long)
    for row, prompt in zip(x, prompts, strict=True):
        row[: len(prompt)] = prompt
    seen = torch.arange(sampler.spec.size) < count[:, None]

    def drawn(m: int, how: Draw, given: Given | None) -> Tensor:
        which = (given or {})["prompt"].cpu()
        batch = Batch(x=x[which].reshape(shape).to(device), mask=seen[which].reshape(shape).to(device))
        return sampler.model.impute(batch, how)  # type: ignore[operator, no-any-return]

    which = {"prompt": torch.arange(len(prompts)).repeat_interleave(n)}
    return sampling.chunks(sampler.family, n * len(prompts), draw or sampler.recipe.sample, seed, which, drawn)


def told(sampler: Sampler, prompts: Sequence[str], n: int = 1) -> dict[str, Tensor] | None:
    """Prompts, n times each, as `given` of a model that is conditional on a text; None for any other.

    Raises GenctlError (prompt-token, prompt-length).
    """
    name = next((k for k in sampler.model.conditions if sampler.spec.given[k].media == "text"), None)
    if name is None:
        return None
    spec = sampler.spec.given[name]
    rows = torch.stack([letters.row(prompt, spec) for prompt in prompts])
    return {name: rows.view(-1, *spec.shape).repeat_interleave(n, 0)}


def live(
    sampler: Sampler, say: Say, prompt: Tensor | None = None, seed: int = 0, given: Given | None = None, draw: Draw | None = None
) -> Iterator[Tensor]:
    """One piece of one sample, the one that is drawn with sample.chunk=1; its text is said as it comes. Raises GenctlError (power, usage)."""
    model, spec, how = sampler.model, sampler.spec, draw or sampler.recipe.sample
    if not isinstance(model, Causal) or not isinstance(how, decoding.Draw) or spec.media != "text":
        raise GenctlError("power", f"family '{sampler.recipe.family}' does not write text symbol by symbol", "leave --stream out")
    if how.beams > 1:
        raise GenctlError("usage", "a beam search knows its text only at the end", "leave --stream out, or sample.beams=1")
    length, asked, behind = how.length or spec.size, rule(how, spec), 0 if prompt is None else len(prompt)
    beside = {k: v.to(model.device) for k, v in sampler.given(1, given).items()} or None
    front = None if prompt is None else prompt[None].to(model.device)
    row, voice = torch.zeros(1, 0, dtype=torch.long), Voice(say, how.stop)
    model.eval()
    with torch.no_grad(), noise.stream(seed, "sample", 0):
        pieces = decoding.stream(model, 1, length, how, window=sampler.window(length), end=spec.end, given=beside, prompt=front, rule=asked)
        for piece in pieces:
            row = torch.cat([row, piece.cpu()], 1)
            voice.go_on(sampler.text(row[0], how, behind), over=row.shape[1] == length)
    yield row


class Voice:
    """Says a text in the making: at each turn what has become certain of it."""

    def __init__(self, say: Say, stop: Sequence[str]) -> None:
        self.say, self.stop, self.said = say, stop, ""

    def go_on(self, text: str, over: bool = False) -> None:
        """text: as far as it goes now."""
        sure = text if over else letters.certain(text, self.stop)
        self.say(sure[len(self.said) :])
        self.said = max(self.said, sure, key=len)
