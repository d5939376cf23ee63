"""chat: a conversation with a model of dialogues. It reads the last turns that fit into its context, and its answer is said as it comes."""

import json
from pathlib import Path
from typing import Any

import torch

from genctl.data import _dialogue
from genctl.data._tokenise import Coder, of
from genctl.errors import GenctlError, safe_text
from genctl.maths import decoding, noise
from genctl.nets.symbols import rule
from genctl.powers import Causal
from genctl.tasks.prompts import Say, Voice
from genctl.tasks.sample import Sampler

SHARE = 4  # of the context, that is kept free for an answer


class Chat:
    """Answer k depends on the seed, k, and what was said before."""

    def __init__(self, sampler: Sampler, draw: Any, seed: int, system: str, warn: Say) -> None:
        """draw: how to; system: what stands before each conversation. Raises GenctlError (power, usage, prompt-length)."""
        self.sampler, self.draw, self.seed, self.system, self.warn = sampler, draw, seed, system.strip(), warn
        self.coder = _coder(sampler)
        self.number = _dialogue.marks(self.coder)
        if self.system and "system" not in self.number:
            raise GenctlError("power", "no dialogue that this model was trained on has a system's turn", "leave --system out")
        if self.draw.beams > 1:
            raise GenctlError("usage", "a beam search knows its text only at the end", "sample.beams=1")
        size = sampler.spec.size
        self.room = max(2, size - (self.draw.length or size // SHARE))  # for what was said, and the symbol behind which an agent speaks
        self.answers = 0
        self.reset()
        if self.system and (long := len(self.turns[0][1])) > self.room // 2:
            raise GenctlError("prompt-length", f"--system has {long} symbols, this model takes {self.room // 2}", "a shorter one")

    def reset(self) -> None:
        """A new conversation."""
        self.said: _dialogue.Dialogue = []
        self.turns: _dialogue.Turns = []
        if self.system:
            self._add("system", self.system)

    @property
    def answered(self) -> bool:
        """Whether the model has said something in this conversation."""
        return self.said[-1:] != [] and self.said[-1][0] == "agent"

    def _add(self, role: str, text: str, symbols: list[int] | None = None) -> None:
        """symbols: those that were drawn."""
        text = text.encode("utf-8", errors="replace").decode()
        if lost := set(text) - set(self.coder.codec.get("symbols", text)):
            self.warn(f"warning[prompt-token]: {safe_text(''.join(sorted(lost)))}: not in this model's vocabulary, left out")
        self.said.append((role, text))
        self.turns.append((role, self.coder.encode([text])[0] if symbols is None else symbols))

    def answer(self, text: str, say: Say) -> str:
        """What the model says to that; `say` hears it as it comes. An answer that is broken off is kept as far as it went."""
        self._add("user", text)
        self.answers += 1
        symbols: list[int] = []
        try:
            self._draw(symbols, Voice(say, self.draw.stop))
        finally:
            found = self._text(symbols)
            self._add("agent", found, symbols)
        return found

    def _draw(self, symbols: list[int], voice: Voice) -> None:
        """Adds to the symbols one after another, up to one that ends a turn."""
        model: Any = self.sampler.model
        front = self._front()
        length = len(front) + (self.draw.length or self.sampler.spec.size - len(front))
        ends = {self.coder.end, *self.number.values()}
        beside = {k: v.to(model.device) for k, v in self.sampler.given(1, None).items()} or None
        model.eval()
        with torch.no_grad(), noise.stream(self.seed, "chat", self.answers):
            pieces = decoding.stream(
                model,
                1,
                length,
                self.draw,
                window=self.sampler.window(length),
                end=self.coder.end,
                given=beside,
                prompt=torch.tensor([front], device=model.device),
                rule=rule(self.draw, self.sampler.spec),
            )
            next(pieces)  # what was said before
            for piece in pieces:
                symbol = int(piece[0, 0])
                if symbol in ends:
                    break
                symbols.append(symbol)
                voice.go_on(self._text(symbols))
            voice.go_on(self._text(symbols), over=True)

    def _text(self, symbols: list[int]) -> str:
        return self.sampler.text(torch.tensor(symbols, dtype=torch.long), self.draw).lstrip()

    def _front(self) -> list[int]:
        """What was said, as far as it fits, and the symbol behind which an agent speaks. A turn too long for all of it loses its beginning."""
        turns, last = _dialogue.recent(self.turns, self.room - 1), self.turns[-1][1]
        if not turns:
            kept = last[max(0, len(last) - self.room + 2) :]
            self.warn(f"warning[prompt-length]: that has {len(last)} symbols, this model reads the last {len(kept)} alone")
            turns = [("user", kept)]
        return [*_dialogue.row(turns, self.number), self.number["agent"]]

    def save(self, path: Path) -> None:
        """Adds the conversation to a .jsonl that data `dialogues` reads. Raises GenctlError (out-unwritable)."""
        try:
            with path.open("a", encoding="utf-8") as file:
                if self.answered:
                    file.write(json.dumps(self.plain(), ensure_ascii=False) + "\n")
        except (OSError, ValueError) as e:
            what = safe_text(getattr(e, "strerror", None) or e)
            raise GenctlError("out-unwritable", f"{safe_text(path)} cannot be written: {what}", "another FILE") from None

    def plain(self) -> dict[str, Any]:
        """The conversation as JSON."""
        return {"turns": [{"role": role, "text": text} for role, text in self.said]}


def _coder(sampler: Sampler) -> Coder:
    """Raises GenctlError (power) for a model of anything else than dialogues."""
    spec = sampler.spec
    draws = isinstance(sampler.model, Causal) and isinstance(sampler.recipe.sample, decoding.Draw)
    if draws and spec.media == "text" and spec.end is not None:
        coder = of(spec)
        if {"user", "agent"} <= _dialogue.marks(coder).keys():
            return coder
    raise GenctlError(
        "power", "this model was not trained on dialogues", "genctl train gpt-taskmaster, or data.name=dialogues with your own"
    )
