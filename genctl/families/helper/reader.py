"""Reader: tells what stands beside a text: its class, a tag for each symbol, or where an answer begins and ends; on a language model.

Radford et al. 2018, https://openai.com/research/language-unsupervised, and Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.2: a
linear layer on what a pretrained model makes of a text, all trained together. Without a pretrained body it is trained from the start.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.helper._body import BodyConfig, OnBody
from genctl.maths.decoding import live
from genctl.nets.bag import Bag

OUTSIDE = -1e4  # the logit of a place behind the end


class Reader(OnBody):
    """p(target | x). The target's shape says what it is: () a class, (T,) a tag for each symbol, (2,) of T places the ends of a span."""

    class Config(BodyConfig):
        target: str = "label"
        """What to tell: the name of something that stands beside x."""
        bag: int = Field(0, ge=0, le=5)
        """Beside the body, a bag of groups of up to so many symbols tells the class as well; it is trained alone, and their words are averaged."""
        buckets: int = Field(65_536, ge=1, le=10_000_000)
        """How many weights the groups of a bag share."""
        bag_share: float = Field(0.5, ge=0, le=1)
        """How much the word of the bag counts in that mean of log probabilities."""
        bayes: float = Field(0.0, ge=0, le=1e6)
        """Let a group count by how much likelier it is in one class than in others, with so many rows assumed; 0: by how few rows hold it."""
        smoothing: float = Field(0.0, ge=0, lt=1)
        """The share of a target that is spread over all that it might be (Szegedy et al. 2016)."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.target, wanted = config.target, spec.given.get(config.target)
        if wanted is None or not wanted.vocab or wanted.shape not in ((), (spec.size,), (2,)):
            beside = ", ".join(spec.given) or "nothing"
            raise GenctlError("config", f"model.target: '{config.target}' is no class, row of tags or span beside x; beside it: {beside}")
        self.kind = "span" if wanted.shape == (2,) and wanted.vocab == spec.size else "tags" if wanted.shape else "class"
        self.head = nn.Linear(self.body.width, 2 if self.kind == "span" else wanted.vocab)

        if config.bag and self.kind != "class":
            raise GenctlError("config", f"model.bag: a bag tells classes; '{config.target}' is no class", "model.bag=0")
        self.bag = Bag(wanted.vocab, config.bag, config.buckets, config.bayes) if config.bag else None

    def predict(self, batch: Batch) -> Tensor:
        if self.bag is None:
            return self.told(batch)
        return torch.lerp(self.told(batch).log_softmax(-1), self.bagged(batch).log_softmax(-1), self.config.bag_share)

    def told(self, batch: Batch) -> Tensor:
        """The word of what stands on the body."""
        whole = batch.x.flatten(1)
        x = self.trim(whole)
        h = self.vectors(x)
        if self.kind == "class":
            return self.head(self.pooled(h, x))
        alive, rest = live(x, self.spec.end), (0, 0, 0, whole.shape[1] - x.shape[1])
        out = self.head(h)
        if self.kind == "tags":
            return F.pad(out, rest)
        out = out if alive is None else out.masked_fill(~alive[..., None], OUTSIDE)
        return F.pad(out, rest, value=OUTSIDE).transpose(1, 2)

    def bagged(self, batch: Batch) -> Tensor:
        """The word of the bag."""
        x = self.trim(batch.x.flatten(1))
        return self.bag(x, self.words(x))

    def words(self, x: Tensor) -> Tensor:
        """(B, T) True for the symbols before the end."""
        return torch.ones_like(x, dtype=torch.bool) if self.spec.end is None else x != self.spec.end

    def noted(self, batch: Batch, at: Progress) -> Batch:
        """Lets the bag count what it is trained on."""
        if self.bag is not None:
            x = batch.x.flatten(1)
            self.bag.note(x, self.words(x), batch.given[self.target])
        return batch

    def stages(self) -> list[Stage]:
        def alone(name: str, params: list[nn.Parameter], word: Callable[[Batch], Tensor]) -> Player:
            return Player(name=name, params=params, loss=lambda batch, at: self.missed(word(batch), batch))

        bag = [] if self.bag is None else list(self.bag.parameters())
        own = {id(p) for p in bag}
        players = [alone("model", [p for p in self.parameters() if id(p) not in own], self.told)]
        return [Stage(name="train", players=[*players, alone("bag", bag, self.bagged)] if bag else players, feed=self.noted)]

    def loss(self, batch: Batch, at: Progress) -> Loss:
        return self.missed(self.predict(batch), batch)

    def missed(self, logits: Tensor, batch: Batch) -> Loss:
        """Cross-entropy in nats: of a class, a symbol's tag, or an end of a span."""
        y = batch.given[self.target]
        alive = live(batch.x.flatten(1), self.spec.end) if self.kind == "tags" else None
        if alive is not None:
            logits, y = logits[alive], y[alive]
        smoothing = self.config.smoothing if self.training else 0.0
        nats = F.cross_entropy(logits.flatten(0, -2), y.flatten(), label_smoothing=smoothing)
        return Loss(nats, weight=float(y.numel()), accuracy=(logits.argmax(-1) == y).float().mean())
