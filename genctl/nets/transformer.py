"""Transformer: pre-norm blocks of attention and a two-layer network; causal with a cache for drawing, or to both sides; alone, or over a memory.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; query-key norm: Henry et al. 2020, https://arxiv.org/abs/2010.04245; GELU: Hendrycks
and Gimpel 2016, https://arxiv.org/abs/1606.08415; squared ReLU: So et al. 2021, https://arxiv.org/abs/2109.08668; SwiGLU: Shazeer 2020,
https://arxiv.org/abs/2002.05202; RMS norm: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467; grouped queries: Ainslie et al.
2023, https://arxiv.org/abs/2305.13245.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.relative import Relative
from genctl.nets.rotary import Stretch, rotations, turned

Activation = Literal["gelu", "gelu_tanh", "relu", "relu2", "swiglu", "geglu"]
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
MEMORY = ("memory", "seen")  # what rows of one source have in common
Looked = tuple[Tensor, Tensor, Tensor]  # keys, values, and which of them are looked at


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
    """{"kv": (n, layers, 2, kv heads, read, d)} and the memory, if any; and the cache that kv is a view of. A copy made by hand is a plain dict.

    alike   how many rows, one behind another, have one memory: the beams of a source
    """

    def __init__(self, cache: Cache, memory: dict[str, Tensor], alike: int = 1) -> None:
        super().__init__(memory, kv=cache.view())
        self.cache, self.alike = cache, alike

    def pick(self, index: Tensor) -> "State":
        """The rows `index` alone. A memory that stays where it is is not copied; weights laid out anew stay so for as many rows."""
        n, kv = len(self["kv"]), self["kv"].index_select(0, index)
        cache = Cache(kv, kv.shape[-2] + 1)
        if len(index) == n:
            cache.apply, cache.steps = self.cache.apply, self.cache.steps
        sources = n // self.alike
        alike = len(index) // sources if len(index) % sources == 0 else 1
        stays = alike > 1 and torch.equal(index // self.alike, torch.arange(len(index), device=index.device) // alike)
        same = MEMORY if stays and alike == self.alike else ()
        beside = {k: v if k in same else v[index] for k, v in self.items() if k != "kv"}
        return State(cache, beside, alike if stays else 1)


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
    "relu": F.relu,
    "relu2": _ReLU2.apply,  # type: ignore[no-untyped-call]
}
GATES: dict[str, Callable[[Tensor], Tensor]] = {"swiglu": F.silu, "geglu": partial(F.gelu, approximate="tanh")}


def normed(kind: Norm, width: int, bias: bool, eps: float = 0.0) -> nn.Module:
    """What brings vectors to one size: about their mean, or about zero. eps 0: 1e-5, or 1e-6 for rms."""
    return nn.LayerNorm(width, eps or 1e-5, bias=bias) if kind == "layer" else nn.RMSNorm(width, eps or 1e-6)


def between(width: int, activation: Activation, inner: int = 0) -> int:
    """Units between the two layers: four times the width, or with a gate, which is a third matrix, 8/3; `inner` if that is given."""
    return inner or (-(-8 * width // 3) if activation in GATES else 4 * width)


class Attention(nn.Module):
    """Self-attention of `heads` heads; one matrix for queries, keys and values. kv_heads: of keys and values, each for a group."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool, qk_norm: bool, dropout: float, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dropout, self.causal = heads, kv_heads, dropout, causal
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

    def forward(self, h: Tensor, turn: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """seen: (B, 1, 1 or S, S), True for vectors that are looked at, or numbers to add to scores; of a causal network causal itself."""
        q, k, v = (t.transpose(1, 2) for t in self.project(h, turn))
        o = F.scaled_dot_product_attention(
            q, k, v, seen, self.dropout if self.training else 0.0, is_causal=self.causal and seen is None, enable_gqa=self.grouped
        )
        return o.transpose(1, 2).flatten(2)

    def looks(self, h: Tensor, turn: Tensor | None, seen: Tensor | None = None) -> Tensor:
        """(B, heads, S, S): how much each vector takes from each; rows sum to one."""
        q, k, _ = (t.transpose(1, 2) for t in self.project(h, turn))
        k = k.repeat_interleave(self.heads // self.kv_heads, 1)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if seen is not None:
            scores = scores.masked_fill(~seen, -torch.inf)
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        return scores.softmax(-1)

    def extend(
        self, h: Tensor, turn: Tensor | None, past: tuple[Tensor, Tensor], used: int, apply: Apply, seen: Tensor | None = None
    ) -> Tensor:
        """The same for S new vectors behind `used` old ones, whose keys and values are in `past`, where the new ones join them."""
        q, k, v = self.project(h, turn, apply)
        keys, values, read = past[0], past[1], used + h.shape[1]
        keys[:, :, used:read] = k.transpose(1, 2)
        values[:, :, used:read] = v.transpose(1, 2)
        mask = seen
        if seen is None and h.shape[1] > 1:
            mask = torch.ones(h.shape[1], read, dtype=torch.bool, device=h.device).tril(used)
        o = F.scaled_dot_product_attention(q.transpose(1, 2), keys[:, :, :read], values[:, :, :read], mask, enable_gqa=self.grouped)
        return o.transpose(1, 2).flatten(2)


class Cross(nn.Module):
    """Attention to a memory: to keys and values that were made of other vectors."""

    def __init__(self, width: int, heads: int, bias: bool, qk_norm: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.out = nn.Linear(width, width, bias), nn.Linear(width, width, bias)
        self.gain = nn.Parameter(torch.ones(width // heads)) if qk_norm else None

    def forward(self, h: Tensor, memory: Looked, apply: Apply = _plain) -> Tensor:
        """memory: keys and values (B, heads, M, d), and (B, 1, 1, M), True for those that are looked at; B/K of each where K rows share one."""
        q = apply(self.query, h).view(len(memory[0]), -1, self.heads, h.shape[2] // self.heads)
        if self.gain is not None:
            q = F.layer_norm(q, (q.shape[-1],), self.gain)
        o = F.scaled_dot_product_attention(q.transpose(1, 2), *memory, self.dropout if self.training else 0.0)
        return apply(self.out, o.transpose(1, 2).reshape(h.shape))


class Block(nn.Module):
    """h + attention(norm(h)), with a memory h + cross(norm(h)), then h + network(norm(h))."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        inner: int,
        bias: bool,
        qk_norm: bool,
        activation: Activation,
        norm: Norm,
        dropout: float,
        attention: bool = True,
        causal: bool = True,
        cross: bool = False,
        eps: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = normed(norm, width, bias, eps), normed(norm, width, bias, eps)
        self.attention = Attention(width, heads, kv_heads, bias, qk_norm, dropout if attention else 0.0, causal)
        self.cross = Cross(width, heads, bias, qk_norm, dropout if attention else 0.0) if cross else None
        self.norm3 = normed(norm, width, bias, eps) if cross else None
        self.up, self.down = nn.Linear(width, 2 * inner if activation in GATES else inner, bias), nn.Linear(inner, width, bias)
        self.activation, self.dropout = activation, dropout

    def add(self, h: Tensor, change: Tensor) -> Tensor:
        return h + (F.dropout(change, self.dropout, self.training) if self.dropout else change)

    def think(self, h: Tensor, apply: Apply = _plain) -> Tensor:
        u = apply(self.up, self.norm2(h))
        if self.activation in GATES:
            gate, u = u.chunk(2, -1)
            u = GATES[self.activation](gate) * u
        else:
            u = ACTIVATIONS[self.activation](u)
        return self.add(h, apply(self.down, u))

    def look(self, h: Tensor, memory: Looked | None, apply: Apply = _plain) -> Tensor:
        if self.cross is None or self.norm3 is None or memory is None:
            return h
        return self.add(h, self.cross(self.norm3(h), memory, apply))

    def forward(self, h: Tensor, turn: Tensor | None, seen: Tensor | None = None, memory: Looked | None = None) -> Tensor:
        h = self.add(h, self.attention.out(self.attention(self.norm1(h), turn, seen)))
        return self.think(self.look(h, memory))

    def extend(
        self,
        h: Tensor,
        turn: Tensor | None,
        past: tuple[Tensor, Tensor],
        used: int,
        apply: Apply,
        memory: Looked | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        h = self.add(h, apply(self.attention.out, self.attention.extend(self.norm1(h), turn, past, used, apply, seen)))
        return self.think(self.look(h, memory, apply), apply)


def looks(blocks: nn.ModuleList, h: Tensor, turn: Tensor | None, seen: Tensor | None = None) -> Tensor:
    """(B, layers, heads, S, S): how much each vector takes from each in blocks one after another, of which h (B, S, width) is read first."""
    found = []
    for block in blocks:
        found.append(block.attention.looks(block.norm1(h), turn, seen))  # type: ignore[union-attr, operator]
        h = block(h, turn, seen)
    return torch.stack(found, 1)


class Transformer(nn.Module):
    """Vectors (B, S, width) to vectors of the same shape, each a function of itself and those before it; causal=False: of all.

    length    the most vectors that are read together
    cross     each block also looks at a memory, which `remember` makes of the vectors of another network
    rotary    turns queries and keys by their position, the slowest pair by about 1 / base
    relative  adds a learned number for each distance to the scores; without either `position` holds a learned vector for each place
    kv_heads  heads of keys and values; 0: as many as of queries
    inner     units between the two layers; 0: as `between` says
    dropout   of what is read, of attention and of what each half of a block adds; attention=False: not of attention
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
        relative: bool = False,
        qk_norm: bool = True,
        bias: bool = False,
        activation: Activation = "relu2",
        norm: Norm = "layer",
        eps: float = 0.0,
        kv_heads: int = 0,
        inner: int = 0,
        dropout: float = 0.0,
        attention: bool = True,
        causal: bool = True,
        cross: bool = False,
        base: float = 10_000.0,
        stretch: Stretch | None = None,
    ) -> None:
        super().__init__()
        kv_heads = kv_heads or heads
        inner = between(width, activation, inner)
        self.length, self.dropout = length, dropout
        self.cached = (kv_heads, width // heads)  # heads and dimensions of keys and values
        self.blocks = nn.ModuleList(
            Block(width, heads, kv_heads, inner, bias, qk_norm, activation, norm, dropout, attention, causal, cross, eps)
            for _ in range(layers)
        )
        self.norm = normed(norm, width, bias, eps)
        self.heads, self.qk_norm = heads, qk_norm
        self.memory = nn.Linear(width, layers * 2 * width, bias) if cross else None  # keys and values of all layers
        self.relative = Relative(heads, causal) if relative else None
        self.position = None if rotary or relative else nn.Parameter(torch.empty(length, width))
        self.register_buffer("turns", rotations(length, width // heads, base, stretch) if rotary else None, persistent=False)
        self.reset()

    def reset(self) -> None:
        """Normal with deviation 0.02, what is added to the stream less by sqrt(2 layers): Radford et al. 2019 (GPT-2)."""
        for name, p in self.named_parameters():
            if p.ndim > 1:
                last = name.endswith((".out.weight", "down.weight"))
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

    def seeing(self, first: int, stop: int, seen: Tensor | None) -> Tensor | None:
        """What attention of the vectors first .. stop - 1 is told: which are looked at, and with relative positions what is added to scores."""
        if self.relative is None:
            return seen
        added: Tensor = self.relative(first, stop)
        return added if seen is None else added.masked_fill(~seen, -torch.inf)

    def remember(self, h: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Vectors (B, M, width), of which those `seen` (B, M) are to be looked at, as keys and values (B, layers, 2, heads, M, d)."""
        assert self.memory is not None
        keys, values = self.memory(h).view(*h.shape[:2], len(self.blocks), 2, self.heads, -1).unbind(3)
        if self.qk_norm:
            keys = F.layer_norm(keys, (keys.shape[-1],))
        return {"memory": torch.stack([keys, values], 3).permute(0, 2, 3, 4, 1, 5), "seen": seen}

    def looked(self, state: dict[str, Tensor]) -> list[Looked | None]:
        """What each block looks at."""
        if self.memory is None:
            return [None] * len(self.blocks)
        alike = getattr(state, "alike", 1)
        seen = state["seen"][::alike, None, None]
        return [(*layer.unbind(1), seen) for layer in state["memory"][::alike].unbind(1)]  # type: ignore[misc]

    def forward(self, h: Tensor, seen: Tensor | None = None, memory: dict[str, Tensor] | None = None) -> Tensor:
        """seen: True for vectors that are looked at: (B, S), of a network that looks to both sides; (B, S, S), by each."""
        h, turn = self.place(h, 0)
        mask = self.seeing(0, h.shape[1], None if seen is None else seen[:, None] if seen.ndim == 3 else seen[:, None, None])
        for block, looked in zip(self.blocks, self.looked(memory or {}), strict=True):
            h = block(h, turn, mask, looked)
        out: Tensor = self.norm(h)
        return out

    def looks(self, h: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, layers, heads, S, S): how much each vector takes from each that it may look at (B, S, S), in every layer."""
        return looks(self.blocks, *self.place(h, 0), None if seen is None else seen[:, None])

    @torch.no_grad()
    def extend(self, h: Tensor, state: dict[str, Tensor] | None, seen: Tensor | None = None) -> tuple[Tensor, State]:
        """The same for S new vectors behind those that `state` has read; the state that has read them too. Carries no gradient.

        seen    (n, S, read + S), True for those that each new vector looks at; None: all before it
        """
        looked = self.looked(state or {})
        if state is None or "kv" not in state:
            heads, d = self.cached
            cache = Cache(h.new_empty(len(h), len(self.blocks), 2, heads, 0, d), self.length)
        else:
            kv = state["kv"]
            cache = getattr(state, "cache", None) or Cache(kv, self.length)
            if cache.used != kv.shape[-2] or cache.used + h.shape[1] > cache.room:  # another step was taken from this state already
                cache = Cache(kv, self.length)
        if h.shape[1] == 1:
            cache.steps += 1
            if cache.steps == PATIENCE and Packed.able(h):
                cache.apply = Packed([m for m in self.modules() if isinstance(m, nn.Linear)], len(h))
        h, turn = self.place(h, cache.used)
        mask = self.seeing(cache.used, cache.used + h.shape[1], None if seen is None else seen[:, None])
        for block, past, memory in zip(self.blocks, cache.layers, looked, strict=True):
            h = block.extend(h, turn, past, cache.used, cache.apply, memory, mask)  # type: ignore[operator]
        cache.used += h.shape[1]
        beside = {k: v for k, v in (state or {}).items() if k != "kv"}
        return self.norm(h), State(cache, beside, getattr(state, "alike", 1))
