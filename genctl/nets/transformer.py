"""Decoder-only transformer: pre-norm blocks of causal attention and a two-layer network, with a cache for drawing.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; query-key norm: Henry et al. 2020, https://arxiv.org/abs/2010.04245; squared ReLU: So et al. 2021, https://arxiv.org/abs/2109.08668;
SwiGLU: Shazeer 2020, https://arxiv.org/abs/2002.05202; RMS norm: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467; grouped
queries: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; GELU and its approximation by tanh: Hendrycks and Gimpel 2016,
https://arxiv.org/abs/1606.08415.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.rotary import Stretch, rotations, turned

Activation = Literal["gelu", "gelu_tanh", "relu2", "swiglu"]
Norm = Literal["layer", "rms"]
PATIENCE = 8  # steps of one symbol after which laying the weights out anew pays


class Packed:
    """Linear layers whose matrices are laid out anew for products of a few rows on a CPU.

    One row is a pass over the matrix, quicker along its longer side; for a few rows oneDNN's own blocks are twice as quick as a
    general product. The layout is a copy of the weights as they are, so it lives as long as one drawing does.
    """

    def __init__(self, layers: list[nn.Linear], rows: int) -> None:
        self.rows = rows
        self.of = {id(m): self.lay(m.weight.detach()) for m in layers}

    def lay(self, w: Tensor) -> Tensor:
        if self.rows > 1:
            blocks: Tensor = torch.ops.mkldnn._reorder_linear_weight(w, self.rows)
            return blocks
        return w.T.contiguous().T if w.shape[0] > w.shape[1] else w

    @staticmethod
    def able(h: Tensor) -> bool:
        """Whether vectors like h can be multiplied so."""
        plain = h.device.type == "cpu" and h.dtype is torch.float32 and not torch.is_autocast_enabled("cpu")
        return plain and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]

    def __call__(self, layer: nn.Linear, h: Tensor) -> Tensor:
        if self.rows == 1:
            return F.linear(h, self.of[id(layer)], layer.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(h, self.of[id(layer)], layer.bias, "none", [], "")
        return out


def _plain(layer: nn.Linear, h: Tensor) -> Tensor:
    out: Tensor = layer(h)
    return out


Apply = Callable[[nn.Linear, Tensor], Tensor]


class Cache:
    """Keys and values of every layer, (n, layers, 2, kv heads, room, d), of which the first `used` are written.

    A state of the Causal contract is a view of the written part. A step that starts from the newest view writes behind it, in
    place; one that starts from an older view, or from rows picked out of one (beams), takes a cache of its own first. So no
    state is ever changed by a step taken from another one.
    """

    def __init__(self, kv: Tensor, room: int) -> None:
        n, layers, two, heads, self.used, d = kv.shape
        self.room = max(room, self.used)
        self.kv = kv.new_empty(n, layers, two, heads, self.room, d)
        self.kv[..., : self.used, :] = kv
        self.apply: Apply = _plain
        self.steps = 0  # of one symbol
        self.layers = [layer.unbind(1) for layer in self.kv.unbind(1)]  # (keys, values) of each, (n, heads, room, d)

    def view(self) -> Tensor:
        return self.kv[..., : self.used, :]


class State(dict[str, Tensor]):
    """{"kv": (n, layers, 2, kv heads, read, d)}, and the cache that this is a view of. A copy made by hand is a plain dict."""

    def __init__(self, cache: Cache) -> None:
        super().__init__(kv=cache.view())
        self.cache = cache


class _ReLU2(torch.autograd.Function):
    """max(u, 0)^2, in one new tensor each way; u itself is overwritten."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        r = u.detach().clamp_min_(0)
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (r,) = ctx.saved_tensors
        out: Tensor = (grad * r).mul_(2)
        return out


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu2": _ReLU2.apply,  # type: ignore[no-untyped-call]
}


def normed(kind: Norm, width: int, bias: bool, eps: float = 0.0) -> nn.Module:
    """What brings vectors to one size: about their mean, or about zero. eps 0: 1e-5, or 1e-6 for rms."""
    return nn.LayerNorm(width, eps or 1e-5, bias=bias) if kind == "layer" else nn.RMSNorm(width, eps or 1e-6)


def between(width: int, activation: Activation, inner: int = 0) -> int:
    """Units between the two layers: four times the width, or for swiglu, which has three matrices, 8/3; `inner` if that is given."""
    return inner or (-(-8 * width // 3) if activation == "swiglu" else 4 * width)


class Attention(nn.Module):
    """Causal self-attention of `heads` heads; one matrix for queries, keys and values. kv_heads: of keys and values, each for a group."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool, qk_norm: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dropout = heads, kv_heads, dropout
        self.qkv = nn.Linear(width, width + 2 * kv_heads * (width // heads), bias)
        self.out = nn.Linear(width, width, bias)
        self.gain = nn.Parameter(torch.ones(width // heads)) if qk_norm else None  # of queries and keys alike: a temperature per dimension

    def project(self, h: Tensor, turn: Tensor | None, apply: Apply = _plain) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, S, heads, d) of h (B, S, width), normed and turned to their positions (2, S, d)."""
        heads, kv = self.heads, self.kv_heads
        qk, v = torch.split(apply(self.qkv, h).view(*h.shape[:2], heads + 2 * kv, -1), [heads + kv, kv], 2)
        if self.gain is not None:
            qk = F.layer_norm(qk, (qk.shape[-1],), self.gain)
        if turn is not None:
            qk = turned(qk, turn)
        q, k = torch.split(qk, [heads, kv], 2)
        return q, k, v

    @property
    def grouped(self) -> bool:
        """Whether several queries share a key."""
        return self.kv_heads != self.heads

    def forward(self, h: Tensor, turn: Tensor | None) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in self.project(h, turn))
        o = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=True, enable_gqa=self.grouped
        )
        return o.transpose(1, 2).flatten(2)

    def looks(self, h: Tensor, turn: Tensor | None) -> Tensor:
        """(B, heads, S, S): how much each vector takes from each up to itself; rows sum to one."""
        q, k, _ = (t.transpose(1, 2) for t in self.project(h, turn))
        k = k.repeat_interleave(self.heads // self.kv_heads, 1)
        ahead = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).triu(1)
        return (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(ahead, -torch.inf).softmax(-1)

    def extend(self, h: Tensor, turn: Tensor | None, past: tuple[Tensor, Tensor], used: int, apply: Apply) -> Tensor:
        """The same for S new vectors behind `used` old ones, whose keys and values are in `past`, where the new ones join them."""
        q, k, v = self.project(h, turn, apply)
        keys, values, read = past[0], past[1], used + h.shape[1]
        keys[:, :, used:read] = k.transpose(1, 2)
        values[:, :, used:read] = v.transpose(1, 2)
        mask = None
        if h.shape[1] > 1:
            mask = torch.ones(h.shape[1], read, dtype=torch.bool, device=h.device).tril(used)
        o = F.scaled_dot_product_attention(q.transpose(1, 2), keys[:, :, :read], values[:, :, :read], mask, enable_gqa=self.grouped)
        return o.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """h + attention(norm(h)), then h + network(norm(h))."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        inner: int,
        bias: bool,
        qk_norm: bool,
        activation: Activation,
        norm: Callable[[], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(), norm()
        self.attention = Attention(width, heads, kv_heads, bias, qk_norm, dropout)
        self.up, self.down = nn.Linear(width, 2 * inner if activation == "swiglu" else inner, bias), nn.Linear(inner, width, bias)
        self.activation, self.dropout = activation, dropout

    def add(self, h: Tensor, change: Tensor) -> Tensor:
        return h + (F.dropout(change, self.dropout, self.training) if self.dropout else change)

    def think(self, h: Tensor, apply: Apply = _plain) -> Tensor:
        u = apply(self.up, self.norm2(h))
        if self.activation == "swiglu":
            gate, u = u.chunk(2, -1)
            u = F.silu(gate) * u
        else:
            u = ACTIVATIONS[self.activation](u)
        return self.add(h, apply(self.down, u))

    def forward(self, h: Tensor, turn: Tensor | None) -> Tensor:
        h = self.add(h, self.attention.out(self.attention(self.norm1(h), turn)))
        return self.think(h)

    def extend(self, h: Tensor, turn: Tensor | None, past: tuple[Tensor, Tensor], used: int, apply: Apply) -> Tensor:
        h = self.add(h, apply(self.attention.out, self.attention.extend(self.norm1(h), turn, past, used, apply)))
        return self.think(h, apply)


class Transformer(nn.Module):
    """Vectors (B, S, width) to vectors of the same shape, each a function of itself and those before it.

    length    the most vectors that are read together
    rotary    turns queries and keys by their position, the slowest pair by about 1 / base; otherwise `position` holds a learned vector
              for each
    kv_heads  heads of keys and values; 0: as many as of queries
    inner     units between the two layers; 0: as `between` says
    """

    turns: Tensor | None

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        length: int,
        *,
        rotary: bool = True,
        qk_norm: bool = True,
        bias: bool = False,
        activation: Activation = "relu2",
        norm: Norm = "layer",
        eps: float = 0.0,
        kv_heads: int = 0,
        inner: int = 0,
        dropout: float = 0.0,
        base: float = 10_000.0,
        stretch: Stretch | None = None,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        inner = between(width, activation, inner)
        self.length, self.dropout = length, dropout
        self.cached = (kv_heads, width // heads)  # heads and dimensions of keys and values
        one = partial(normed, norm, width, bias, eps)
        self.blocks = nn.ModuleList(Block(width, heads, kv_heads, inner, bias, qk_norm, activation, one, dropout) for _ in range(layers))
        self.norm = one()
        self.position = None if rotary else nn.Parameter(torch.empty(length, width))
        self.register_buffer("turns", rotations(length, width // heads, base, stretch) if rotary else None, persistent=False)
        self.reset()

    def reset(self) -> None:
        """Normal with deviation 0.02, what is added to the stream less by sqrt(2 layers): Radford et al. 2019 (GPT-2)."""
        for name, p in self.named_parameters():
            if p.ndim > 1:
                last = name.endswith(("attention.out.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * len(self.blocks)) if last else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def place(self, h: Tensor, first: int) -> tuple[Tensor, Tensor | None]:
        """h with its positions added, or the rotations of its positions."""
        stop = first + h.shape[1]
        if stop > self.length:
            raise ValueError(f"{stop} vectors, but this transformer reads {self.length}")
        if self.position is not None:
            h = h + self.position[first:stop]
        return F.dropout(h, self.dropout, self.training) if self.dropout else h, None if self.turns is None else self.turns[:, first:stop]

    def forward(self, h: Tensor) -> Tensor:
        h, turn = self.place(h, 0)
        for block in self.blocks:
            h = block(h, turn)
        out: Tensor = self.norm(h)
        return out

    def looks(self, h: Tensor) -> Tensor:
        """(B, layers, heads, S, S): how much each vector takes from each, in every layer."""
        h, turn = self.place(h, 0)
        found = []
        for block in self.blocks:
            found.append(block.attention.looks(block.norm1(h), turn))  # type: ignore[union-attr, operator]
            h = block(h, turn)
        return torch.stack(found, 1)

    @torch.no_grad()
    def extend(self, h: Tensor, state: dict[str, Tensor] | None) -> tuple[Tensor, State]:
        """The same for S new vectors behind those that `state` has read; the state that has read them too. Carries no gradient."""
        if state is None:
            heads, d = self.cached
            cache = Cache(h.new_empty(len(h), len(self.blocks), 2, heads, 0, d), self.length)
        else:
            kv = state["kv"]
            cache = getattr(state, "cache", None) or Cache(kv, self.length)
            if cache.used != kv.shape[-2]:  # another step was taken from this state already
                cache = Cache(kv, self.length)
        if h.shape[1] == 1:
            cache.steps += 1
            if cache.steps == PATIENCE and Packed.able(h):
                cache.apply = Packed([m for m in self.modules() if isinstance(m, nn.Linear)], len(h))
        h, turn = self.place(h, cache.used)
        for block, past in zip(self.blocks, cache.layers, strict=True):
            h = block.extend(h, turn, past, cache.used, cache.apply)  # type: ignore[operator]
        cache.used += h.shape[1]
        return self.norm(h), State(cache)
