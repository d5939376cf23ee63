"""Deep belief network: restricted Boltzmann machines on top of each other, learned one by one, then refined together by wake-sleep.

Hinton, Osindero and Teh 2006, https://www.cs.toronto.edu/~hinton/absps/fastnc.pdf; its bound: Salakhutdinov and Murray 2008,
https://www.cs.toronto.edu/~rsalakhu/papers/dbn_ais.pdf. The two highest layers are a restricted machine, what is beneath is drawn from
above, layer by layer: p(v, h) = p(v | h1) ... p(h_L-1, h_L). Each machine learns what the one beneath makes of the data.
"""

import math
from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.energy.rbm import RBM, SMALL
from genctl.maths import gibbs, noise, units
from genctl.nets.mlp import Width


class DBN(Family):
    """Recognition goes up by the machines' own weights; generation comes down by the same ones, or once refined by others (`down`)."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "IS-k"
    Draw = RBM.Draw

    class Config(RBM.Config):
        hidden: list[Width] = Field(default_factory=lambda: [500, 2000], min_length=2, max_length=16)  # type: ignore[assignment]
        """Hidden units of each layer, from below. All other keys are those of the machines."""
        visible: Literal["bernoulli"] = "bernoulli"  # type: ignore[assignment]
        """Pixels are coins, or grey ones the probabilities of coins."""
        conditional: bool = False
        """Class label units beside what the top sees: the model draws given the label, and tells it."""
        refine: float = Field(0.4, ge=0, lt=1)
        """The share of training, at its end, in which all layers are refined together by wake-sleep; before it they learn one by one."""
        importance: int = Field(20, ge=1, le=100_000)
        """Draws of the hidden layers for the bound of log p(x)."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if not spec.levels:
            raise GenctlError("config", "family 'dbn' models binary or grey pixels; this data is continuous", "family: rbm")
        sizes = [spec.size, *config.hidden]
        shared = {k: getattr(config, k) for k in RBM.Config.model_fields if k != "hidden"}
        self.seen, self.classes = config.hidden[-2], self.labelled(config.conditional)
        self.target = "label" if self.classes else ""
        specs = [spec, *(Spec(shape=(n,), levels=2) for n in (*config.hidden[:-2], self.seen + self.classes))]
        self.machines = nn.ModuleList(RBM(RBM.Config(**shared, hidden=n), s) for n, s in zip(config.hidden, specs, strict=True))
        if self.classes:
            kinds = units.Mixed([(units.Bernoulli(), self.seen), (units.Softmax(self.classes), self.classes)])
            self.top.reader = replace(self.top.reader, units=kinds)
            self.top.log_prob_is = "exact" if config.hidden[-1] <= SMALL else "AIS"
        self.down = nn.ModuleList(nn.Linear(b, a) for a, b in zip(sizes, config.hidden[:-1], strict=False)) if config.refine else None
        self.code = Spec(shape=(config.hidden[-1],))
        self.dream: list[Tensor] = []  # what the sleep of this step learns from
        with torch.no_grad():
            self.tie()

    @property
    def top(self) -> RBM:
        return cast(RBM, self.machines[-1])

    @property
    def lower(self) -> list[RBM]:
        return [cast(RBM, m) for m in self.machines[:-1]]

    # --- up and down ---

    def above(self, k: int, h: Tensor) -> Tensor:
        """Logits of layer k + 1 given layer k; the label, if the top has one, is not looked at."""
        machine = cast(RBM, self.machines[k])
        return torch.addmm(machine.c, h, machine.w[: h.shape[1]])

    def below(self, k: int, h: Tensor) -> Tensor:
        """Logits of layer k given layer k + 1."""
        machine = cast(RBM, self.machines[k])
        return F.linear(h, machine.w, machine.b) if self.down is None else self.down[k](h)

    def rise(self, v: Tensor, layers: int | None = None) -> list[Tensor]:
        """v and a draw of each hidden layer below the highest, or of so many."""
        h = [v]
        for k in range(len(self.lower) if layers is None else layers):
            h.append(noise.bernoulli(self.above(k, h[k]).sigmoid()))
        return h

    def fall(self, h: Tensor) -> list[Tensor]:
        """Layers 0, 1, ... drawn given the last of them; of grey pixels layer 0 are probabilities."""
        states = [h]
        for k in reversed(range(len(self.lower))):
            p = self.below(k, states[0]).sigmoid()
            states.insert(0, p if k == 0 and self.spec.levels != 2 else noise.bernoulli(p))
        return states

    # --- the label ---

    def beside(self, h: Tensor, given: Given) -> Tensor:
        """What the top sees: the layer beneath it, and the label one-hot if it has one."""
        return torch.cat([h, F.one_hot(given["label"], self.classes).to(h.dtype)], 1) if self.classes else h

    def each(self, h: Tensor) -> Tensor:
        """log sum over the highest layer of exp(score) for each label (B, classes), or for none (B, 1), h being the layer beneath."""
        at, w, b, c = self.seen, self.top.w, self.top.b, self.top.c
        a = torch.addmm(c, h, w[:at])
        by = torch.stack([F.softplus(a + u).sum(1) for u in w[at:]], 1) + b[at:] if self.classes else F.softplus(a).sum(1, keepdim=True)
        return by + (h @ b[:at])[:, None]

    def labelled_layers(self, label: Tensor) -> gibbs.Layers:
        """The top with a label held for each row: they are biases of the highest layer."""
        at, top = self.seen, self.top.layers
        return gibbs.Layers(top.w[:at], top.b[:at], top.c + top.w[at:][label], top.mean[:at])

    # --- training ---

    def stages(self) -> list[Stage]:
        share = self.config.refine
        stages = [replace(self.greedy(k), share=(1 - share) / len(self.machines)) for k in range(len(self.machines))]
        if not share:
            return stages
        assert self.down is not None
        players = [
            Player(name="generate", params=list(self.down.parameters()), loss=self.wake),
            Player(name="top", params=list(self.top.parameters()), loss=self.dwell, after=self.top.follow),
            Player(name="recognise", params=[p for m in self.lower for p in (m.w, m.c)], loss=self.sleep),
        ]
        return [*stages, Stage(name="wake-sleep", players=players, share=share, feed=self.breathe)]

    def greedy(self, k: int) -> Stage:
        """The stage in which machine k learns what those beneath make of the data."""
        machine = cast(RBM, self.machines[k])
        (stage,) = machine.stages()
        (player,) = stage.players

        def feed(batch: Batch, at: Progress) -> Batch:
            h = self.rise(batch.x.flatten(1), k)[k]
            return stage.feed(Batch(x=h if machine is not self.top else self.beside(h, batch.given), given=batch.given), at)

        def after() -> None:
            machine.follow()
            self.tie()

        return Stage(name=f"layer {k + 1}", players=[replace(player, name=f"layer{k + 1}", after=after)], feed=feed)

    def tie(self) -> None:
        """Until they are refined, the weights down are those up."""
        for machine, down in zip(self.lower, self.down or [], strict=False):
            line = cast(nn.Linear, down)
            line.weight.copy_(machine.w)
            line.bias.copy_(machine.b)

    def breathe(self, batch: Batch, at: Progress) -> Batch:
        """Layers drawn given the data for the wake, and, from the top's chains down, a dream for the sleep."""
        h, top, layers = self.rise(batch.x.flatten(1)), self.top, self.top.layers
        x = self.beside(h[-1], batch.given)
        top.advance(Batch(x=x), Progress(at.step + 1, at.total + 1))  # its chains live on
        self.dream = self.fall(top.fantasies(layers, layers.up(x).sigmoid())[:, : self.seen])
        return replace(batch, given={**batch.given, **{f"h{k}": t for k, t in enumerate(h)}})

    def wake(self, batch: Batch, at: Progress) -> Loss:
        """-log p(v, h1, ... | h_L-1): the layers beneath learn to be drawn from above."""
        h = [batch.given[f"h{k}"] for k in range(len(self.machines))]
        return Loss(sum((missed(self.below(k, h[k + 1]), h[k]).mean() for k in range(len(h) - 1)), h[0].new_zeros(())))

    def dwell(self, batch: Batch, at: Progress) -> Loss:
        """The top goes on to learn what it is given."""
        return self.top.contrast(Batch(x=self.beside(batch.given[f"h{len(self.lower)}"], batch.given)), at)

    def sleep(self, batch: Batch, at: Progress) -> Loss:
        """-log q(h | v) of a dream: recognition learns to tell what made it."""
        h = self.dream
        return Loss(sum((missed(self.above(k, h[k]), h[k + 1]).mean() for k in range(len(h) - 1)), h[0].new_zeros(())))

    # --- the contract ---

    def sample(self, n: int, draw: RBM.Draw, given: Given | None = None) -> Tensor:
        """From the top, drawn as an RBM is, down. Given labels each chain cools by itself: they are of different densities."""
        if not (given and self.classes):
            return self.fall(self.top.sample(n, draw)[:, : self.seen])[0].reshape(n, *self.spec.shape)
        layers, cooling = self.labelled_layers(given["label"]), round(draw.anneal * draw.steps)
        h = layers.start(n)
        for k in range(draw.steps):
            h = layers.step(layers.up(h), min(1.0, (k + 1) / max(1, cooling)))
        return self.fall(h)[0].reshape(n, *self.spec.shape)

    # --- powers ---

    def log_prob(self, batch: Batch) -> Tensor:
        """log 1/k sum_i p*(v, h_i) / q(h_i | v) - log Z of the top (B,): a lower bound in expectation, but for the error of log Z.

        Whatever the label is: it is summed over.
        """
        if self.spec.levels != 2:
            raise GenctlError("power", "this likelihood is one of binary pixels; this data is grey", "data.binarize=fixed")
        terms = []
        for _ in range(self.config.importance):
            h = self.rise(batch.x.flatten(1))
            log_p = self.each(h[-1]).logsumexp(1)
            for k in range(len(h) - 1):
                log_p = log_p - missed(self.below(k, h[k + 1]), h[k]) + missed(self.above(k, h[k]), h[k + 1])
            terms.append(log_p)
        return torch.stack(terms).logsumexp(0) - math.log(len(terms)) - self.log_partition()[0]

    def log_partition(self) -> tuple[float, float]:
        """log Z of the top and its standard error."""
        return self.top.log_partition()

    def encode(self, batch: Batch) -> Tensor:
        """The means of the highest layer (B, H), each layer's from the means of the one beneath."""
        h = batch.x.flatten(1)
        for k in range(len(self.machines)):
            h = self.above(k, h).sigmoid()
        return h

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """The means of v (B, *shape), each layer's from the means of the one above."""
        h = self.top.decode(code)[:, : self.seen]
        for k in reversed(range(len(self.lower))):
            h = self.below(k, h).sigmoid()
        return h.reshape(-1, *self.spec.shape)

    def predict(self, batch: Batch) -> Tensor:
        """Logits (B, classes) of the label, from the means of the layer beneath the top."""
        h = batch.x.flatten(1)
        for k in range(len(self.lower)):
            h = self.above(k, h).sigmoid()
        return self.each(h)

    def impute(self, batch: Batch, draw: RBM.Draw) -> Tensor:
        """Up by recognition, a Gibbs step of the top, and down to what is missing, in turn: near the conditional as recognition is."""
        layers, at, x, seen = self.top.layers, self.seen, batch.x.flatten(1), batch.mask.flatten(1)
        top = layers.start(len(x))
        v = torch.where(seen, x, self.fall(top[:, :at])[0])
        for _ in range(draw.steps):
            top = layers.step(layers.up(torch.cat([self.rise(v)[-1], top[:, at:]], 1)))
            v = torch.where(seen, x, self.fall(top[:, :at])[0])
        return v.reshape(batch.x.shape)


def missed(logits: Tensor, h: Tensor) -> Tensor:
    """-log p(h) (n,) of coins."""
    return F.binary_cross_entropy_with_logits(logits, h, reduction="none").sum(1)
