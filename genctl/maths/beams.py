"""Beam search: the likeliest row that a few likeliest beginnings lead to.

Length penalty: Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14 without coverage: s = log p / ((5 + length) / 6)^alpha, of the
symbols that are drawn, the one that ends a row among them. A row that ends among the likeliest leaves the beams and competes by s; the
search is over once no beam can do better, however it goes on. With as many beams as there are beginnings the answer is exact.
"""

import torch
from torch import Tensor

from genctl.contract import Given
from genctl.maths.narrowing import Draw
from genctl.maths.reading import Reader, Told
from genctl.maths.rules import HALT, Rule
from genctl.powers import Causal


def search(
    model: Causal,
    n: int,
    length: int,
    draw: Draw,
    *,
    window: int,
    end: int | None = None,
    given: Given | None = None,
    prompt: Tensor | None = None,
    seen: Tensor | None = None,
    rule: Rule | None = None,
) -> Tensor:
    """(n, length), as `decoding.rows` says."""
    reader, told = Reader(model, window, given), Told(n, length, prompt, seen)
    logits = reader.begin(n, told.front)
    beams = _Beams(n, length, draw, told, end, rule and rule.to(logits.device), logits.device)
    for t in range(told.common, length):
        if beams.decided():
            break
        parent, token = beams.extend(logits, t)
        if t + 1 < length:
            reader.pick(parent)
            logits = reader.on(token, [beams.rows.flatten(0, 1)])
    return beams.answer()


class _Beams:
    """Unfinished rows (n, K, t) with their log p (n, K) and the rule's state (n, K); the best finished row of each search with its s."""

    def __init__(self, n: int, length: int, draw: Draw, told: Told, end: int | None, rule: Rule | None, device: torch.device) -> None:
        self.length, self.draw, self.told, self.end, self.rule = length, draw, told, end, rule
        self.rows = told.front[:, None].to(device)
        self.score, self.drawn = torch.zeros(n, 1, device=device), torch.zeros(n, 1, device=device)
        self.state = rule.begin(n)[:, None] if rule else torch.full((n, 1), HALT + 1, device=device)
        self.to_draw = length - told.seen.sum(1, keepdim=True).to(device)
        self.best = torch.full((n,), -torch.inf, device=device)
        fill = end if end is not None else rule.fill if rule else 0
        self.finished = torch.full((n, length), fill, device=device)
        over = (self.state == HALT) | (self.rows == end).any(-1) if end is not None else self.state == HALT
        self.finish(self.score.masked_fill(~over, -torch.inf), self.rows)
        self.score = self.score.masked_fill(over, -torch.inf)
        self.base = torch.arange(n, device=device)[:, None]

    def penalised(self, score: Tensor, count: Tensor) -> Tensor:
        return score / ((5 + count) / 6) ** self.draw.length_penalty

    def finish(self, s: Tensor, rows: Tensor) -> None:
        """Keeps what is best of rows (n, K, t) by s (n, K)."""
        found, at = s.max(1)
        row = rows.gather(1, at[:, None, None].expand(-1, -1, rows.shape[2]))[:, 0]
        better = found > self.best
        self.best = torch.where(better, found, self.best)
        self.finished[better, : row.shape[1]] = row[better]

    def decided(self) -> bool:
        """Whether no row can pass the best one: its log p only falls, and it is divided by no more than if it were of full length."""
        return bool((self.penalised(self.score, self.to_draw).amax(1) <= self.best).all())

    def judge(self, logits: Tensor, t: int) -> Tensor:
        """(n, K, V) log p of every symbol of column t."""
        step = logits.log_softmax(-1)
        if self.rule:
            step = self.rule.narrow(step, self.state.flatten(), self.length - t)
        step = step.view(*self.score.shape, -1)
        here = self.told.at(t)
        if here is None:
            return step
        only = torch.full_like(step, -torch.inf).scatter(-1, self.told.x[:, t, None, None].expand(*step.shape[:2], 1), 0.0)
        return torch.where(here[:, None, None], only, step)

    def extend(self, logits: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """One symbol more: which rows go on (n K,), and their symbols (n K,)."""
        here, before, width = self.told.at(t), self.score.shape[1], self.draw.beams
        total = self.score[..., None] + self.judge(logits, t)
        top, flat = total.flatten(1).topk(min(2 * width, total[0].numel()))
        parent, token = flat // total.shape[-1], flat % total.shape[-1]
        rows = torch.cat([self.rows.gather(1, parent[..., None].expand(-1, -1, t)), token[..., None]], -1)
        state = self.state.gather(1, parent)
        if self.rule:
            moved = self.rule.go[state, token]
            state = moved if here is None else torch.where(here[:, None], state, moved)
        self.drawn = self.drawn + (1 if here is None else ~here[:, None])
        ends = state == HALT if self.end is None else (state == HALT) | (token == self.end)
        if bool(ends[:, :width].any()):
            self.finish(self.penalised(top, self.drawn).masked_fill(~ends, -torch.inf)[:, :width], rows)
        self.score, at = top.masked_fill(ends, -torch.inf).topk(min(width, top.shape[1]))
        self.rows, self.state = rows.gather(1, at[..., None].expand(-1, -1, t + 1)), state.gather(1, at)
        return (self.base * before + parent.gather(1, at)).flatten(), token.gather(1, at).flatten()

    def answer(self) -> Tensor:
        """(n, length); a row that fills its room without an end is finished too."""
        if self.rows.shape[-1] == self.length:
            self.finish(self.penalised(self.score, self.to_draw), self.rows)
        for t in range(self.told.width):
            self.finished[:, t] = self.told.put(t, self.finished[:, t])
        return self.finished
