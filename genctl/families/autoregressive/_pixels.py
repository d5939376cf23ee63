"""What models that draw a picture pixel by pixel have in common: symbols in raster order, what is said of one, drawing and imputing."""

from abc import abstractmethod
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.maths import decoding, pixels
from genctl.powers import State


class PixelsConfig(Settings):
    """The keys that all of them take."""

    output: Literal["auto", "bernoulli", "softmax", "mol"] = "auto"
    """What is said of a pixel: a coin flip, a logit a level, or a mixture of logistics (the one for colour)."""
    mixtures: int = Field(10, ge=1, le=100)
    """For mol: logistics of a pixel."""
    conditional: bool = False
    """Draw and score given the class label."""


class Pixels(Family):
    """p(x) = prod_i p(x_i | x_1 .. x_{i-1}) over pixels in raster order, channels within a pixel likewise."""

    kinds = frozenset({"image", "tokens"})
    log_prob_is = "exact"
    Draw = decoding.Draw

    def __init__(self, config: PixelsConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.classes = self.labelled(config.conditional)
        if spec.vocab and len(spec.shape) != 2:
            raise GenctlError("config", f"this family reads grids of symbols; this data is {list(spec.shape)}", "family: gpt")
        if not spec.vocab and not spec.levels:
            raise GenctlError("config", "this family needs pixels of levels; this data is continuous")
        self.channels, self.grid = (1, spec.shape) if spec.vocab else (spec.shape[0], spec.shape[1:])
        try:
            self.said = pixels.head("softmax" if spec.vocab else config.output, decoding.alphabet(spec), self.channels, config.mixtures)
        except ValueError as e:
            raise GenctlError("config", f"model.output: {e}") from None

    @abstractmethod
    def params(self, x: Tensor, label: Tensor | None) -> Tensor:
        """What is said of every pixel (B, said.size, H, W), given the levels (B, C, H, W) of those before it."""

    @abstractmethod
    def first_pixel(self, n: int, label: Tensor | None) -> tuple[Tensor, State]:
        """What is said of the first pixel (n, said.size), and what is kept."""

    @abstractmethod
    def next_pixel(self, x: Tensor, place: int, kept: State) -> tuple[Tensor, State]:
        """What is said of pixel `place` (n, said.size), once the one before it is known to be x (n, C) levels."""

    def labels(self, given: Given | None) -> Tensor | None:
        return (given or {})["label"] if self.conditions else None

    def scaled(self, x: Tensor) -> Tensor:
        """Levels as numbers in [-1, 1]."""
        return 2 * x.float() / (self.spec.levels - 1) - 1

    def nats(self, batch: Batch) -> Tensor:
        """-log p(x) (B,)."""
        x = decoding.symbols(batch.x, self.spec).view(len(batch), *self.grid, self.channels).permute(0, 3, 1, 2)
        return -self.said.log_prob(x, self.params(x, self.labels(batch.given))).flatten(1).sum(1)

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats a picture."""
        return Loss(self.nats(batch).mean())

    def sample(self, n: int, draw: decoding.Draw, given: Given | None = None) -> Tensor:
        return self.draw(n, draw, given, None, None)

    def draw(self, n: int, draw: decoding.Draw, given: Given | None, x: Tensor | None, seen: Tensor | None) -> Tensor:
        size = self.spec.size
        return decoding.picture(decoding.rows(self, n, size, draw, window=size + 1, given=given, prompt=x, seen=seen), self.spec)

    # --- powers ---

    def log_prob(self, batch: Batch) -> Tensor:
        return -self.nats(batch)

    def impute(self, batch: Batch, draw: decoding.Draw) -> Tensor:
        """Pixel after pixel: what was observed is kept, the rest drawn given what stands before it alone."""
        x = decoding.symbols(batch.x, self.spec)
        seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else decoding.in_order(batch.mask, self.spec)
        return self.draw(len(x), draw, batch.given, x, seen)

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        params, kept = self.first_pixel(n, self.labels(given))
        none = torch.zeros(n, 0, dtype=torch.long, device=self.device)
        return self.said.logits(params, none), {**kept, "params": params, "seen": none}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        out = []
        for token in tokens.unbind(1):
            seen = torch.cat([state["seen"], token[:, None]], 1)
            place, channel = divmod(seen.shape[1], self.channels)
            params, kept = state["params"], state
            if channel == 0 and seen.shape[1] < self.spec.size:
                params, kept = self.next_pixel(seen[:, -self.channels :], place, state)
            state = {**kept, "params": params, "seen": seen}
            out.append(self.said.logits(params, seen[:, place * self.channels :]))
        return torch.stack(out, 1), state


class Raster(Pixels):
    """Pixels by a network `net` of the picture that draws it row by row (genctl/nets/pixelcnn.py, genctl/nets/pixelrnn.py)."""

    net: Any

    def read_as(self, width: int) -> int:
        """Channels that the network reads: those of the picture, or vectors (width) of the symbols."""
        self.embed = nn.Embedding(self.spec.vocab, width) if self.spec.vocab else None
        return width if self.spec.vocab else self.channels

    def read(self, x: Tensor) -> Tensor:
        """Levels (B, C, H, W) as the network reads them."""
        return self.scaled(x) if self.embed is None else self.embed(x[:, 0]).permute(0, 3, 1, 2)

    def params(self, x: Tensor, label: Tensor | None) -> Tensor:
        out: Tensor = self.net(self.read(x), label)
        return out

    def first_pixel(self, n: int, label: Tensor | None) -> tuple[Tensor, State]:
        params, kept = self.net.pixel(self.net.begin(n, self.grid[1], label), 0)
        return params, kept

    def next_pixel(self, x: Tensor, place: int, kept: State) -> tuple[Tensor, State]:
        before, column = (place - 1) % self.grid[1], place % self.grid[1]
        kept = self.net.put(kept, before, self.read(x[:, :, None, None])[:, :, 0, 0])
        params, kept = self.net.pixel(kept if column else self.net.row(kept), column)
        return params, kept
