"""Drawing symbol by symbol, written once for whoever is Causal (genctl/powers.py).

top_k: Fan et al. 2018, https://arxiv.org/abs/1805.04833; top_p: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751; min_p: Nguyen et al.
2024, https://arxiv.org/abs/2407.01082; typical: Meister et al. 2023, https://arxiv.org/abs/2202.00666; repetition: Keskar et al. 2019,
https://arxiv.org/abs/1909.05858, section 4.1.
Noise comes from genctl.maths.noise, a row for each sample, so that a sample does not depend on its neighbours.
"""

import math
from collections.abc import Iterator

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.contract import Given, Spec
from genctl.maths import noise
from genctl.powers import Causal, State


class Draw(contract.Draw):
    """How rows of symbols are drawn."""

    temperature: float = Field(1.0, ge=0, le=100)
    """Divides the logits; 0 takes the likeliest symbol."""
    top_k: int = Field(0, ge=0, le=1_000_000)
    """Draw among the k likeliest symbols only; 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw among the fewest symbols that hold this share of the probability."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Draw among symbols at least this share as likely as the likeliest; 0: all."""
    typical: float = Field(1.0, gt=0, le=1)
    """Draw among the fewest symbols that hold this share of the probability, those first whose surprise is nearest to what is expected."""
    repetition: float = Field(1.0, ge=1, le=100)
    """Divides the logits, where they are positive, of symbols that stand in the row already, and multiplies the others; 1: none."""
    beams: int = Field(1, ge=1, le=256)
    """Keep so many likeliest beginnings and answer with the likeliest whole; nothing is random then."""
    length: int = Field(0, ge=0, le=1_000_000)
    """Symbols in a row; 0: as many as in the data. Longer rows are read through a sliding window."""
    strict: bool = False
    """Refuse a prompt longer than the model sees, instead of going on from its end."""


def choose(logits: Tensor, draw: Draw) -> Tensor:
    """(B, V) -> (B,): one symbol for each row."""
    if draw.temperature == 0:
        return logits.argmax(-1)
    return noise.categorical(narrow(logits / draw.temperature if draw.temperature != 1 else logits, draw))


def narrow(logits: Tensor, draw: Draw) -> Tensor:
    """-inf for all but what top_k, top_p, min_p and typical keep, each of what is left by the one before. One symbol is always kept."""
    if draw.top_k and draw.top_k < logits.shape[-1]:
        best, index = logits.topk(draw.top_k)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, index, best)
    if draw.top_p < 1:
        logits = fewest(logits, -logits, draw.top_p)
    if draw.min_p:
        logits = logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(draw.min_p), -torch.inf)
    if draw.typical < 1:
        nats = -logits.log_softmax(-1)
        expected = (nats.exp().reciprocal() * nats.nan_to_num(posinf=0.0)).sum(-1, keepdim=True)
        logits = fewest(logits, (nats - expected).abs(), draw.typical)
    return logits


def fewest(logits: Tensor, rank: Tensor, share: float) -> Tensor:
    """-inf for all but the fewest symbols, those of low rank first, that hold a share of the probability."""
    index = rank.argsort(-1)
    ordered = logits.gather(-1, index)
    p = ordered.softmax(-1)
    beyond = p.cumsum(-1) - p >= share  # the symbols before it hold the share already; the first never is
    beyond[..., 0] = False
    return torch.empty_like(logits).scatter(-1, index, ordered.masked_fill(beyond, -torch.inf))


def worn(logits: Tensor, used: Tensor, penalty: float) -> Tensor:
    """(B, V) less likely where a symbol was `used` (B, V)."""
    return torch.where(used, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def rows(
    model: Causal,
    n: int,
    length: int,
    draw: Draw,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
) -> Tensor:
    """(n, length) symbols, beginning with `prompt` (n, S).

    window    the longest row the model can score: it has read at most window - 1 symbols when it draws one. A longer row goes on
              by reading the last half of a window afresh.
    end       the symbol that ends a row and fills the rest
    """
    if draw.beams > 1:
        return beam(model, n, length, draw.beams, window=window, end=end, given=given, prompt=prompt)
    return torch.cat(list(stream(model, n, length, draw, window=window, end=end, given=given, prompt=prompt)), 1)


def stream(
    model: Causal,
    n: int,
    length: int,
    draw: Draw,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
) -> Iterator[Tensor]:
    """The pieces of `rows` as they come: the prompt, then columns (n, 1)."""
    prompt = prompt[:, :length] if prompt is not None and prompt.shape[1] else None
    logits, state, context = _begin(model, n, window, given, prompt)
    done = None if end is None else (context if prompt is None else prompt).eq(end).any(1)
    drawn = 0
    if prompt is not None:
        yield prompt
        drawn = prompt.shape[1]
    recent = [context]  # what the state has read, newest last
    read = context.shape[1]
    used = torch.zeros_like(logits, dtype=torch.bool) if draw.repetition != 1 else None
    if used is not None and prompt is not None:
        used.scatter_(1, prompt, True)
    while drawn < length:
        token = choose(logits if used is None else worn(logits, used, draw.repetition), draw)
        if used is not None:
            used.scatter_(1, token[:, None], True)
        if done is not None:
            token = torch.where(done, end, token)  # type: ignore[arg-type]
            done = done | (token == end)
        column = token[:, None]
        yield column
        drawn += 1
        if drawn == length:
            return
        if done is not None and drawn % 16 == 0 and bool(done.all()):
            yield column.expand(n, length - drawn)
            return
        recent.append(column)
        read += 1
        if read < window:
            out, state = model.step(column, state)
            logits = out[:, -1]
        else:
            logits, state, context = _begin(model, n, window, given, torch.cat(recent, 1)[:, -max(1, window // 2) :])
            recent, read = [context], context.shape[1]


def _begin(model: Causal, n: int, window: int, given: Given | None, prompt: Tensor | None) -> tuple[Tensor, State, Tensor]:
    """Logits and state after the prompt, of which the last `window` - 1 symbols are read, and those."""
    logits, state = model.start(n, given)
    context = (
        torch.empty(n, 0, dtype=torch.long, device=logits.device) if prompt is None else prompt[:, max(0, prompt.shape[1] - window + 1) :]
    )
    if context.shape[1]:
        out, state = model.step(context, state)
        logits = out[:, -1]
    return logits, state, context


def reorder(state: State, index: Tensor) -> State:
    """The state of rows `index`."""
    return {k: v[index] for k, v in state.items()}


def beam(
    model: Causal,
    n: int,
    length: int,
    beams: int,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
) -> Tensor:
    """The likeliest row (n, length) of those that beam search keeps. A finished row goes on with `end`, for free."""
    prompt = prompt[:, :length] if prompt is not None else None
    logits, state, context = _begin(model, n, window, given, prompt)
    kept = (context if prompt is None else prompt)[:, None]  # (n, K, drawn)
    score = logits.new_zeros(n, 1)
    step = logits.log_softmax(-1)[:, None]  # (n, K, V)
    vocab, read = step.shape[-1], context.shape[1]
    base = torch.arange(n, device=logits.device)[:, None]
    while kept.shape[-1] < length:
        if end is not None and kept.shape[-1]:
            only = step.new_full((vocab,), -torch.inf)
            only[end] = 0
            step = torch.where((kept == end).any(-1, keepdim=True), only, step)
        total = (score[..., None] + step).flatten(1)
        score, flat = total.topk(min(beams, total.shape[1]))
        parent, token = flat // vocab, flat % vocab
        state = reorder(state, (base * step.shape[1] + parent).flatten())
        kept = torch.cat([kept.gather(1, parent[..., None].expand(-1, -1, kept.shape[-1])), token[..., None]], -1)
        if kept.shape[-1] == length:
            break
        read += 1
        if read < window:
            out, state = model.step(token.reshape(-1, 1), state)
            logits = out[:, -1]
        else:
            k = kept.shape[1]
            many = {name: v.repeat_interleave(k, 0) for name, v in (given or {}).items()}
            logits, state, context = _begin(model, n * k, window, many, kept.flatten(0, 1)[:, -max(1, window // 2) :])
            read = context.shape[1]
        step = logits.log_softmax(-1).view(n, -1, vocab)
    return kept[:, 0]


def forced(model: Causal, x: Tensor, seen: Tensor, draw: Draw, given: Given | None = None) -> Tensor:
    """Rows (n, T) equal to x where `seen`, drawn elsewhere given what stands before."""
    logits, state = model.start(len(x), given)
    out: list[Tensor] = []
    for t in range(x.shape[1]):
        out.append(torch.where(seen[:, t], x[:, t], choose(logits, draw)))
        if t + 1 < x.shape[1]:
            every, state = model.step(out[-1][:, None], state)
            logits = every[:, -1]
    return torch.stack(out, 1)


# --- pictures as rows of symbols: raster order, the channels of a pixel one after another ---


def alphabet(spec: Spec) -> int:
    """How many symbols there are: of the vocabulary, or levels of a pixel."""
    return spec.vocab or spec.levels


def in_order(x: Tensor, spec: Spec) -> Tensor:
    """(B, *shape) -> (B, T)."""
    return (x.movedim(1, -1) if spec.kind == "image" else x).flatten(1)


def symbols(x: Tensor, spec: Spec) -> Tensor:
    """Data (B, *shape) as symbols (B, T): pixels in [0, 1] as the numbers of their levels."""
    return in_order(x if spec.vocab else (x * (spec.levels - 1)).round().long(), spec)


def picture(x: Tensor, spec: Spec) -> Tensor:
    """Symbols (B, T) as data (B, *shape)."""
    if spec.vocab:
        return x.view(len(x), *spec.shape)
    scaled = x.float() / (spec.levels - 1)
    if spec.kind != "image":
        return scaled.view(len(x), *spec.shape)
    return scaled.view(len(x), *spec.shape[1:], spec.shape[0]).movedim(-1, 1).contiguous()


def live(x: Tensor, end: int | None) -> Tensor | None:
    """(B, T) True up to and including the first `end`; None where nothing ends."""
    if end is None:
        return None
    is_end = x == end
    return is_end.cumsum(-1) - is_end.long() == 0


def log_prob(model: Causal, x: Tensor, given: Given | None = None, end: int | None = None) -> Tensor:
    """(B, T) nats of each symbol of x (B, T) through start and step alone, 0 beyond `end`."""
    logits, state = model.start(len(x), given)
    every = [logits[:, None]]
    if x.shape[1] > 1:
        every.append(model.step(x[:, :-1], state)[0])
    nats = torch.cat(every, 1).log_softmax(-1).gather(-1, x[..., None]).squeeze(-1)
    mask = live(x, end)
    return nats if mask is None else nats * mask
