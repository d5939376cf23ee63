"""Boltzmann machine: binary pixels and hidden units, all of them connected; small ones are exact, large ones walk Markov chains.

Ackley, Hinton and Sejnowski 1985, https://doi.org/10.1207/s15516709cog0901_7; persistent chains against mean field given the data:
Salakhutdinov and Hinton 2009, https://proceedings.mlr.press/v5/salakhutdinov09a.html. A machine of at most 20 units is summed over all
of its states: in training, in drawing and in `log_prob`.
"""

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.energy._partition import Partitioned
from genctl.maths import boltzmann, noise, ranks

FEW = 10  # hidden units whose states are all summed over for each x


class Boltzmann(Partitioned):
    """p(v, h) ~ exp(s'Ws / 2 + b's), s = (v, h) in {0, 1}^N, W symmetric; its pairs i < j are the parameters."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "AIS"

    class Config(Settings):
        hidden: int = Field(8, ge=0, le=4096)
        """Hidden units; 0: a fully visible machine."""
        lateral: Literal["all", "visible", "hidden", "none"] = "all"
        """Among which units there are connections, beside those between visible and hidden ones; none: a restricted machine."""
        learn: Literal["auto", "exact", "gibbs", "mean-field"] = "auto"
        """What hidden units do given the data: summed over with all else (exact), drawn, or by their means; auto: exact to 20 units, else mean-field."""
        settle: int = Field(10, ge=1, le=1000)
        """Sweeps over the hidden units given the data (gibbs, mean-field)."""
        gibbs: int = Field(1, ge=1, le=1000)
        """Sweeps that the persistent chains take before each update (gibbs, mean-field)."""
        chains: int = Field(100, ge=1, le=100_000)
        """Persistent chains."""
        ais_chains: int = Field(100, ge=2, le=100_000)
        """Chains that estimate log Z of more than 20 units."""
        ais_steps: int = Field(2000, ge=1, le=1_000_000)
        """Inverse temperatures that each of them passes."""

    class Draw(contract.Draw):
        steps: int = Field(200, ge=1, le=1_000_000)
        """Sweeps from noise to a sample; up to 20 units are drawn exactly."""
        anneal: float = Field(0.5, ge=0, le=1)
        """The share of them over which the chains cool from independent units, so that they find every mode."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.levels != 2:
            raise GenctlError("config", "family 'boltzmann' models binary pixels", "data.binarize=fixed, or family: rbm")
        self.seen, n = spec.size, spec.size + config.hidden
        if config.learn == "exact" and n > boltzmann.MOST:
            raise GenctlError(
                "config", f"model.learn=exact: {n} units, limit {boltzmann.MOST} (visible and hidden)", "model.learn=mean-field"
            )
        groups = {"visible": (0, self.seen), "hidden": (self.seen, n)}
        pairs = [torch.cartesian_prod(torch.arange(self.seen), torch.arange(self.seen, n)).t()]
        self.blocks: dict[str, list[slice]] = {}
        for name, (first, last) in groups.items():
            if config.lateral in ("all", name):
                pairs.append(first + torch.triu_indices(last - first, last - first, 1))
                self.blocks[name] = [slice(k, k + 1) for k in range(first, last)]
            else:
                self.blocks[name] = [slice(first, last)] if last > first else []
        i, j = torch.cat(pairs, 1)
        self.register_buffer("i", i, persistent=False)
        self.register_buffer("j", j, persistent=False)
        self.w = nn.Parameter(0.1 * torch.randn(len(i)))
        self.b = nn.Parameter(torch.zeros(n))
        self.register_buffer("mu", torch.full((n,), 0.5))  # the means of independent units
        self.exact = n <= boltzmann.MOST
        self.learn = config.learn if config.learn != "auto" else "exact" if self.exact else "mean-field"
        if self.learn != "exact":
            self.memory = Memory(s=torch.zeros(config.chains, n))
        self.summed = not config.hidden or config.lateral in ("visible", "none")  # the sum over h has a closed form
        self.log_prob_is = "exact" if self.exact else "AIS" if self.summed or config.hidden <= FEW else "bound"

    @property
    def machine(self) -> boltzmann.Machine:
        n, w = len(self.b), self.w.detach()
        full = w.new_zeros(n, n).index_put_((self.i, self.j), w)
        mu = self.mu.clamp(0.01, 0.99)
        return boltzmann.Machine(full + full.t(), self.b.detach(), torch.log(mu / (1 - mu)), self.blocks["visible"] + self.blocks["hidden"])

    # --- training ---

    def stages(self) -> list[Stage]:
        return [Stage(name="train", players=[Player(name="model", params=list(self.parameters()), loss=self.contrast)], feed=self.advance)]

    def advance(self, batch: Batch, at: Progress) -> Batch:
        """Starts biases and chains at the first step; moves the chains at every one."""
        if at.step == 0:
            self.begin(batch.x.flatten(1))
        if self.learn != "exact":
            machine, s = self.machine, self.memory.s
            for _ in range(self.config.gibbs):
                s = machine.sweep(s)
            self.memory.s.copy_(s)
        return batch

    def begin(self, v: Tensor) -> None:
        """Visible biases log p / (1 - p) from the first batch, unless weights were brought along."""
        if not self.b.any():
            sums = ranks.total(torch.cat([v.sum(0), v.new_full((1,), len(v))]))
            self.mu[: self.seen] = sums[:-1] / sums[-1]
            self.b.detach().copy_(self.machine.base)
        if self.learn != "exact":
            self.memory.s.copy_(self.machine.start(len(self.memory.s)))

    def contrast(self, batch: Batch, at: Progress) -> Loss:
        """-log p(v), or the gap of scores between data and fantasies; in both the gradient is <s s'>, <s> of the model less the data's."""
        with torch.no_grad():
            machine, v = self.machine, batch.x.flatten(1)
            if self.learn == "exact":
                every = boltzmann.states(len(self.b), v.device)
                log_p = machine.table().to(v.device, v.dtype).log_softmax(0).view(2**self.seen, -1)
                rows = log_p[boltzmann.place(v)]  # (B, 2^H): log p(v, h)
                nll = -rows.logsumexp(1).mean()
                share = torch.zeros_like(log_p).index_add_(0, boltzmann.place(v), rows.softmax(1) / len(v))
                over = (log_p.exp() - share).flatten()  # what a state has too much in the model
                first, second = over @ every, every.t() @ (every * over[:, None])
            else:
                s, s_ = self.given(machine, v, self.config.settle), self.memory.s
                first = s_.mean(0) - s.mean(0)
                second = s_.t() @ s_ / len(s_) - s.t() @ s / len(s)
                nll = None
        line = self.w @ second[self.i, self.j] + self.b @ first  # linear in the parameters: its gradient is that of -log p
        return Loss(line if nll is None else nll + line - line.detach())

    def given(self, machine: boltzmann.Machine, v: Tensor, steps: int) -> Tensor:
        """(v, h) (B, N): h drawn given v, or its means by mean field."""
        n, hidden = len(v), self.blocks["hidden"]
        if self.learn != "gibbs":
            return machine.settle(torch.cat([v, v.new_full((n, self.config.hidden), 0.5)], 1), steps, hidden)
        s = torch.cat([v, machine.start(n)[:, self.seen :]], 1)
        for _ in range(steps):
            s = machine.sweep(s, blocks=hidden)
        return s

    # --- the contract ---

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """Draws from the table of all states, or the ends of chains that cooled from independent units."""
        if not self.exact:
            return next(itertools.islice(self.walk(n, draw), draw.steps - round(draw.anneal * draw.steps), None))
        p = self.machine.table().softmax(0).cumsum(0)
        rows = torch.searchsorted(p, noise.rand(n).double()).clamp(max=len(p) - 1)
        s = boltzmann.states(len(self.b))[rows].to(self.device)
        return s[:, : self.seen].reshape(n, *self.spec.shape)

    def walk(self, n: int, draw: Draw) -> Iterator[Tensor]:
        """The states of n chains, a sweep after another, from where they have cooled."""
        machine, cooling = self.machine, round(draw.anneal * draw.steps)
        s = machine.anneal(n, cooling) if cooling else machine.start(n)
        while True:
            yield s[:, : self.seen].reshape(n, *self.spec.shape)
            s = machine.sweep(s)

    # --- powers ---

    def energy(self, batch: Batch) -> Tensor:
        """F(v) = -log sum_h exp(score(v, h)) (B,); of many connected hidden units mean field's bound from above."""
        machine, v = self.machine, batch.x.flatten(1)
        at, h = slice(self.seen, None), self.config.hidden
        bare = torch.cat([v, v.new_zeros(len(v), h)], 1)
        if self.summed:
            return -machine.score(bare) - F.softplus(v @ machine.w[: self.seen, at] + machine.b[at]).sum(1)
        if h <= FEW or self.exact:
            inner = boltzmann.Machine(machine.w[at, at], machine.b[at], machine.base[at], []).table().to(v.device, v.dtype)
            return -machine.score(bare) - torch.logsumexp(inner + v @ machine.w[: self.seen, at] @ boltzmann.states(h, v.device).t(), 1)
        m = machine.settle(torch.cat([v, v.new_full((len(v), h), 0.5)], 1), 3 * self.config.settle, self.blocks["hidden"])
        p = m[:, at].clamp(1e-7, 1 - 1e-7)
        return -machine.score(m) + (p * p.log() + (1 - p) * torch.log1p(-p)).sum(1)

    def log_prob(self, batch: Batch) -> Tensor:
        """-F(v) - log Z (B,)."""
        return -self.energy(batch) - self.log_partition()[0]

    def partition(self) -> tuple[float, float]:
        """log Z and its standard error (0: exact)."""
        machine = self.machine
        if self.exact:
            return float(machine.table().logsumexp(0)), 0.0
        return machine.estimate(self.config.ais_chains, self.config.ais_steps)

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Sweeps with the observed pixels held."""
        machine, x = self.machine, batch.x.flatten(1)
        none = torch.zeros(len(x), self.config.hidden, device=x.device, dtype=torch.bool)
        held = torch.cat([batch.mask.flatten(1), none], 1)
        s = torch.where(held, torch.cat([x, none.to(x.dtype)], 1), machine.start(len(x)))
        for _ in range(draw.steps):
            s = machine.sweep(s, held=held)
        return s[:, : self.seen].reshape(batch.x.shape)
