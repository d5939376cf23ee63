"""GPT: a decoder-only transformer that predicts each symbol from those before it; in the manner of GPT-2 or of Llama.

Radford et al. 2018 and 2019, https://openai.com/research/language-unsupervised; the plain network (learned positions, LayerNorm,
GELU, tied embedding) is that of GPT-2, https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf.
That of Llama (Touvron et al. 2023, https://arxiv.org/abs/2302.13971): rotary positions, rms norm, swiglu, no qk_norm, untied. Both have
`begin`, a symbol before the first; `genctl import` and `export` carry such models from and to Hugging Face (docs/huggingface.md).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Given, Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive._next import Next, NextConfig
from genctl.nets.rotary import Stretch
from genctl.nets.transformer import Activation, Norm, Transformer
from genctl.powers import State


class GPT(Next):
    """A transformer that sees what stands before; longer rows than it was trained on are read through a sliding window."""

    class Config(NextConfig):
        layers: int = Field(4, ge=1, le=256)
        """Blocks of attention and a two-layer network."""
        heads: int = Field(4, ge=1, le=256)
        """Heads of attention; they divide the width."""
        width: int = Field(128, ge=1, le=65_536)
        """Dimensions of the vectors between the blocks."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Of the embedding, of attention and of what each half of a block adds."""
        positions: Literal["rotary", "learned"] = "rotary"
        """Turn queries and keys by their position (Su et al. 2021), or add a learned vector for each position."""
        qk_norm: bool = True
        """Normalise queries and keys (Henry et al. 2020): higher learning rates stay stable."""
        activation: Activation = "relu2"
        """Between the two layers: gelu, its approximation by tanh, squared ReLU (So et al. 2021), or a gate of silu (Shazeer 2020)."""
        inner: int = Field(0, ge=0, le=1_000_000)
        """Units between the two layers; 0: four times the width, 8/3 for swiglu."""
        norm: Norm = "layer"
        """Bring vectors to one size about their mean (layer) or about zero (rms)."""
        eps: float = Field(0.0, ge=0, le=0.1)
        """Added to the mean square in that; 0: 1e-5, or 1e-6 for rms."""
        kv_heads: int = Field(0, ge=0, le=256)
        """Heads of keys and values, each for a group of queries (Ainslie et al. 2023); 0: as many as heads."""
        bias: bool = False
        """Biases in the linear layers and norms."""
        base: float = Field(10_000.0, gt=1, le=1e9)
        """Of rotary positions: the slowest pair of dimensions turns by about 1 / base a position."""
        stretch: Stretch | None = None
        """Make rotary positions reach further than they were trained for (Llama 3.1)."""

        documents: bool = False
        """Nothing behind a separator looks at what stands before it, in rows of several texts."""

    def __init__(self, config: Config, spec: Spec) -> None:
        width = config.width
        super().__init__(config, spec, width)
        if width % config.heads or (width // config.heads) % 2:
            raise GenctlError("config", f"model.heads: {config.heads} heads do not divide width {width} into even parts")
        if config.kv_heads and config.heads % config.kv_heads:
            raise GenctlError("config", f"model.kv_heads: {config.kv_heads} do not divide {config.heads} heads into groups")
        if config.documents and (spec.separator is None or self.conditions):
            why = "it is conditional on what stands in front" if self.conditions else "nothing separates texts in a row of this data"
            raise GenctlError("config", f"model.documents: {why}", "model.documents=false, or data such as corpus with packed=true")
        self.net = Transformer(
            width,
            config.layers,
            config.heads,
            sum(r.count for r in self.readers.values()) + spec.size,  # type: ignore[misc]
            rotary=config.positions == "rotary",
            qk_norm=config.qk_norm,
            bias=config.bias,
            activation=config.activation,
            norm=config.norm,
            eps=config.eps,
            kv_heads=config.kv_heads,
            inner=config.inner,
            dropout=config.dropout,
            base=config.base,
            stretch=config.stretch,
        )
        self.finish(width)

    # --- documents apart ---

    def begun(self, tokens: Tensor, first: int, before: Tensor | int = 0) -> Tensor:
        """(B, S): where the text began that each of tokens (B, S) belongs to, which are read as vectors first, first + 1, ..."""
        place = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        start = torch.where(tokens == self.spec.separator, place, 0)
        return start.cummax(1).values.maximum(torch.as_tensor(before, device=tokens.device).view(-1, 1))

    def since(self, begun: Tensor, first: int) -> Tensor:
        """(B, S, first + S): vectors from the beginning of a text up to each."""
        place = torch.arange(first + begun.shape[1], device=begun.device)
        return (place >= begun[..., None]) & (place <= place[first:, None])

    def looked(self, x: Tensor) -> Tensor | None:
        if not self.config.documents:
            return None
        return self.since(F.pad(self.begun(x[:, :-1], 1), (1, 0)), 0)

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        logits, state = super().start(n, given)
        return logits, self.note(state, torch.zeros(n, dtype=torch.long, device=logits.device))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        if not self.config.documents:
            return super().step(tokens, state)
        read = state["kv"].shape[-2]
        begun = self.begun(tokens, read, state["begun"])
        h, after = self.net.extend(self.embed(tokens), state, self.since(begun, read))
        return self.score(h), self.note(after, begun[:, -1])

    def note(self, state: State, begun: Tensor) -> State:
        """Keeps where the text in the making began."""
        if self.config.documents:
            state["begun"] = begun
        return state

    def units(self) -> list[nn.Module]:
        return list(self.net.blocks)

    def attention(self, batch: Batch) -> Tensor:
        x = batch.x.flatten(1)
        return self.net.looks(torch.cat([self.front(len(x), batch.given), self.embed(x[:, :-1])], 1), self.looked(x))
