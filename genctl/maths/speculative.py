"""Drawing from a slow model by the guesses of a quick one, exactly as from the slow one alone.

Leviathan, Kalman and Matias 2023, https://arxiv.org/abs/2211.17192, algorithm 1: the draft draws a few symbols one after another, the model
scores all of them at once, and each is kept with probability min(1, p / q); the first that is not kept is drawn anew from what p has over q.
Both must be Causal over one vocabulary.
"""

import torch
from torch import Tensor

from genctl.contract import Given
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.maths.narrowing import Draw, narrow
from genctl.powers import Causal, State

PENDING = 4  # times the guesses: more symbols than that are not scored again, but read for good


def probabilities(logits: Tensor, draw: Draw) -> Tensor:
    """(..., V) of what `draw` draws from logits."""
    if draw.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(-1, keepdim=True), 1.0)
    return narrow(logits / draw.temperature, draw).softmax(-1)


def accept(p: Tensor, q: Tensor, guess: Tensor) -> tuple[Tensor, Tensor]:
    """(kept (B,), symbols (B,)): guesses drawn from q (B, V) become draws from p (B, V)."""
    at = guess[:, None]
    kept = noise.rand(len(p), device=p.device) * q.gather(1, at)[:, 0] < p.gather(1, at)[:, 0]
    rest = (p - q).clamp(min=0)
    anew = noise.categorical(torch.where(rest.sum(1, keepdim=True) > 0, rest, p).log())
    return kept, torch.where(kept, guess, anew)


def rows(
    model: Causal,
    draft: Causal,
    n: int,
    length: int,
    draw: Draw,
    guesses: int,
    *,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
) -> Tensor:
    """(n, length) symbols, beginning with `prompt` (n, S), one row after another, each by noise of its own.

    Raises GenctlError (usage) for ways of drawing that look at more than the next symbol.
    """
    if draw.beams > 1 or draw.repetition != 1 or draw.stop or draw.pattern:
        raise GenctlError("usage", "guesses are for plain drawing", 'sample.beams=1 sample.repetition=1 sample.stop=[] sample.pattern=""')
    seeds = noise.randint(2**31 - 1, n).tolist()
    out = []
    for k, seed in enumerate(seeds):
        one = {name: v[k : k + 1] for name, v in (given or {}).items()} or None
        with noise.stream(seed, "speculative"):
            found = _row(model, draft, length, draw, guesses, end, one, prompt[k : k + 1] if prompt is not None else None)
        out.append(found)
    return torch.cat(out)


def _row(
    model: Causal, draft: Causal, length: int, draw: Draw, guesses: int, end: int | None, given: Given | None, prompt: Tensor | None
) -> Tensor:
    logits, state = model.start(1, given)
    _, quick = draft.start(1, given)
    x = logits.new_empty(1, 0, dtype=torch.long) if prompt is None else prompt[:, :length]
    if not x.shape[1]:
        x = noise.categorical(probabilities(logits, draw).log())[:, None]
    read, known = 0, 0  # symbols of x that the states have read; of the model's at least one is always left
    while x.shape[1] < length and not (end is not None and bool((x[0] == end).any())):
        count = min(guesses, length - x.shape[1] - 1)
        guessed, q, quick, known = _guess(draft, x, quick, known, count, draw)
        scored, after = model.step(torch.cat([x[:, read:], guessed], 1), state)
        p = probabilities(scored[:, -count - 1 :], draw)  # of each guess, and of the symbol behind them
        kept = 0
        for i in range(count):
            ok, symbol = accept(p[:, i], q[:, i], guessed[:, i])
            x = torch.cat([x, symbol[:, None]], 1)
            if not ok:
                break
            kept += 1
        if kept == count:
            read, state = x.shape[1], after
            x = torch.cat([x, noise.categorical(p[:, count].log())[:, None]], 1)
        elif x.shape[1] - read > PENDING * max(1, guesses):
            _, state = model.step(x[:, read:-1], state)
            read = x.shape[1] - 1
    if end is not None:
        done = (x == end).cumsum(1) > 0
        x = torch.where(done, end, x)
        x = torch.cat([x, x.new_full((1, max(0, length - x.shape[1])), end)], 1)
    return x[:, :length]


def _guess(draft: Causal, x: Tensor, state: State, known: int, count: int, draw: Draw) -> tuple[Tensor, Tensor, State, int]:
    """Guesses (1, count), what each was drawn from (1, count, V), and the draft's state behind x alone."""
    if not count:
        return x[:, :0], x.new_empty(1, 0, 1, dtype=torch.float), state, known
    logits, base = draft.step(x[:, known:], state)
    here, state = logits[:, -1], base
    guessed, seen = [], []
    for i in range(count):
        q = probabilities(here, draw)
        guessed.append(noise.categorical(q.log()))
        seen.append(q)
        if i + 1 < count:
            logits, state = draft.step(guessed[-1][:, None], state)
            here = logits[:, -1]
    return torch.stack(guessed, 1), torch.stack(seen, 1), base, x.shape[1]
