"""BERT: a transformer that sees both sides of a hidden symbol and tells what it was; pretraining for what reads text.

Devlin et al. 2018, https://arxiv.org/abs/1810.04805: norms behind, learned positions, gelu, biases; the defaults are of today. Token types are
left out: theirs of the first kind are added to the positions by `genctl import`. With `begin` the vectors of x_1 .. x_T are those that a
model of Hugging Face gives behind the first when it reads begin, x_1 .. x_T. Drawing by uncovering the surest symbols first: Ghazvininejad et al. 2019,
https://arxiv.org/abs/1904.09324; the likelihood of a row as if each symbol were asked for alone: Salazar et al. 2020,
https://arxiv.org/abs/1910.14659.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.maths.decoding import live
from genctl.nets.encoder import Encoder
from genctl.nets.transformer import Activation


class BERT(Family):
    """p(hidden symbols | the others), each symbol alone."""

    kinds = frozenset({"tokens"})

    class Config(Settings):
        layers: int = Field(4, ge=0, le=256)
        """Blocks of attention and a two-layer network; 0: each symbol's vector alone."""
        heads: int = Field(4, ge=1, le=256)
        """Heads of attention; they divide the width."""
        width: int = Field(128, ge=2, le=65_536)
        """Dimensions of the vectors between the blocks."""
        inner: int = Field(0, ge=0, le=1_000_000)
        """Units between the two layers; 0: four times the width."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Of the embedding, of attention and of what each half of a block adds."""
        norms: Literal["front", "behind"] = "front"
        """Norms in front of each half of a block, or behind it as in BERT."""
        positions: Literal["rotary", "learned"] = "rotary"
        """Turn queries and keys by their position (Su et al. 2021), or add a learned vector for each position."""
        qk_norm: bool = True
        """Normalise queries and keys (Henry et al. 2020)."""
        activation: Activation = "gelu"
        """Between the two layers: gelu, squared ReLU (So et al. 2021), or a gate of silu (Shazeer 2020)."""
        eps: float = Field(0.0, ge=0, le=0.1)
        """Added to the variance in the norms; 0: 1e-5."""
        bias: bool = True
        """Biases in the linear layers and norms."""
        begin: int | None = Field(None, ge=0)
        """A symbol that is read before the first one, as [CLS] is."""
        mask: int | None = Field(None, ge=0)
        """The symbol that stands for what is hidden; none: a vector of its own behind those of the vocabulary."""
        rate: float = Field(0.15, gt=0, le=1)
        """The share of symbols to be told; of these 80 % are hidden, 10 % replaced by any symbol, 10 % left as they are."""

    class Draw(contract.Draw):
        steps: int = Field(10, ge=1, le=10_000)
        """Passes of the network; after each the surest symbols stay, and the others are hidden again."""
        temperature: float = Field(1.0, ge=0, le=100)
        """Divides the logits; 0 takes the likeliest symbol."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.width % config.heads or (config.width // config.heads) % 2:
            raise GenctlError("config", f"model.heads: {config.heads} heads do not divide width {config.width} into even parts")
        for name in ("begin", "mask"):
            if (getattr(config, name) or 0) >= spec.vocab:
                raise GenctlError("config", f"model.{name}: {getattr(config, name)} is no symbol of this data, which has {spec.vocab}")
        self.width, self.mask = config.width, spec.vocab if config.mask is None else config.mask
        self.embed = nn.Embedding(max(spec.vocab, self.mask + 1), config.width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.net = Encoder(
            config.width,
            config.layers,
            config.heads,
            spec.size + (config.begin is not None),
            behind=config.norms == "behind",
            rotary=config.positions == "rotary",
            qk_norm=config.qk_norm,
            bias=config.bias,
            activation=config.activation,
            eps=config.eps,
            inner=config.inner,
            dropout=config.dropout,
        )
        self.head = Told(config.width, spec.vocab, config.eps)
        self.lengths = nn.Parameter(torch.zeros(spec.size)) if spec.end is not None else None  # logits of the place of the end

    def units(self) -> list[nn.Module]:
        return list(self.net.blocks)

    # --- the network ---

    def context(self, batch: Batch, seen: Tensor | None = None) -> Tensor:
        x = batch.x.flatten(1)
        put = x if seen is None else torch.where(seen, x, self.mask)
        return self.read(put, live(x, self.spec.end))

    def idle(self) -> list[nn.Parameter]:
        return [*self.head.parameters(), *([] if self.lengths is None else [self.lengths])]

    def read(self, put: Tensor, alive: Tensor | None) -> Tensor:
        """(B, T, width) of symbols and masks."""
        h = self.net(*self.begun(put, alive))
        return h if self.config.begin is None else h[:, 1:]

    def begun(self, put: Tensor, alive: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The vectors that the network reads, and which of them it looks at."""
        h = self.embed(put)
        if self.config.begin is None:
            return h, alive
        first = self.embed.weight[self.config.begin].expand(len(h), 1, -1)
        return torch.cat([first, h], 1), None if alive is None else F.pad(alive, (1, 0), value=True)

    def logits(self, h: Tensor) -> Tensor:
        """(..., V): of the symbol at each vector; none is the end."""
        out = self.head(h, self.embed.weight[: self.spec.vocab])
        if self.spec.end is not None:
            out[..., self.spec.end] = -torch.inf
        return out

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats per symbol that is to be told, the end never."""
        x = batch.x.flatten(1)
        ask, put = self.spoil(x)
        h = self.read(put, live(x, self.spec.end))[ask]
        count = ask.sum().clamp(min=1)
        logits = self.logits(h)
        right = (logits.argmax(-1) == x[ask]).sum() / count
        return Loss(F.cross_entropy(logits, x[ask], reduction="sum") / count, weight=count, right=right)

    def spoil(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(which symbols are to be told, what is shown in their place)."""
        chosen, how = noise.rand(*x.shape, device=x.device), noise.rand(*x.shape, device=x.device)
        ask = chosen < self.config.rate
        if self.spec.end is not None:
            ask &= x != self.spec.end
        other = noise.randint(self.spec.vocab, *x.shape, device=x.device)
        put = torch.where(how < 0.8, self.mask, torch.where(how < 0.9, other, x))
        return ask, torch.where(ask, put, x)

    def stages(self) -> list[Stage]:
        """How long rows are is counted by a player of its own."""
        if self.lengths is None:
            return super().stages()
        mine = [p for p in self.parameters() if p is not self.lengths]
        players = [
            Player(name="model", params=mine, loss=self.loss),
            Player(name="length", params=[self.lengths], loss=self.length_loss),
        ]
        return [Stage(name="train", players=players)]

    def length_loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats of the length of a row."""
        last = (batch.x.flatten(1) != self.spec.end).sum(1)
        return Loss(F.cross_entropy(self.lengths.expand(len(last), -1), last.clamp(max=self.spec.size - 1)))

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        x = torch.zeros(n, *self.spec.shape, dtype=torch.long, device=self.device)
        return self.impute(Batch(x=x, mask=torch.zeros_like(x, dtype=torch.bool)), draw)

    # --- powers ---

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        x = batch.x.flatten(1)
        seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask.flatten(1)
        if self.spec.end is not None:
            x, seen = self.ended(x, seen)
        return self.uncover(x, ~seen, draw).view_as(batch.x)

    def ended(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Where rows end that do not say so: as long as rows are, and behind what is seen. All from there on is seen to be the end."""
        place = torch.arange(x.shape[1], device=x.device)
        said = seen & (x == self.spec.end)
        behind = ((seen & ~said) * (place + 1)).amax(1)  # the first place that may be the end
        drawn = noise.categorical(self.lengths.masked_fill(place < behind[:, None], -torch.inf))
        at = torch.where(said.any(1), said.long().argmax(1), drawn)[:, None]
        over = (place >= at) & (~seen | said)
        return torch.where(over, self.spec.end, x), seen | over

    def uncover(self, x: Tensor, hidden: Tensor, draw: Draw) -> Tensor:
        """Mask-predict: all that is hidden is drawn at once; the least sure of it is hidden again, less each time."""
        alive = None if self.spec.end is None else live(x.masked_fill(hidden, self.mask), self.spec.end)
        count, again = hidden.sum(1, keepdim=True), hidden
        sure = torch.full(x.shape, torch.inf, device=x.device)
        for left in reversed(range(draw.steps)):
            logits = self.logits(self.read(torch.where(again, self.mask, x), alive))
            y = logits.argmax(-1) if draw.temperature == 0 else noise.categorical(logits / draw.temperature)
            sure = torch.where(again, logits.log_softmax(-1).gather(-1, y[..., None])[..., 0], sure)
            x = torch.where(again, y, x)
            again = sure.argsort(1).argsort(1) < count * left // draw.steps
        return x

    def attention(self, batch: Batch) -> Tensor:
        x = batch.x.flatten(1)
        return self.net.looks(*self.begun(x, live(x, self.spec.end)))

    def energy(self, batch: Batch) -> Tensor:
        """The nats of each symbol given all others, in sum: as many passes as there are symbols."""
        x = batch.x.flatten(1)
        alive = live(x, self.spec.end)
        total = torch.zeros(len(x), device=x.device)
        for t in range(x.shape[1]):
            put = x.clone()
            put[:, t] = self.mask
            nats = F.cross_entropy(self.logits(self.read(put, alive)[:, t]), x[:, t], reduction="none")
            total = total + (nats if self.spec.end is None else nats.masked_fill(x[:, t] == self.spec.end, 0.0))
        return total


class Told(nn.Module):
    """Vectors to logits: a layer, a norm, and the embedding transposed, with a bias."""

    def __init__(self, width: int, vocab: int, eps: float) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps or 1e-5)
        self.bias = nn.Parameter(torch.zeros(vocab))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, h: Tensor, embed: Tensor) -> Tensor:
        return F.linear(self.norm(F.gelu(self.dense(h))), embed, self.bias)
