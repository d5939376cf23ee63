"""The contract between a model and the rest of the house. Read this first.

A family knows its Config and a Spec; the loop knows Stages of Players; nobody knows more.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl import catalog, config
from genctl.config import Settings
from genctl.errors import GenctlError

Given = Mapping[str, Tensor]  # what stands beside x, by name; every name has a Spec in `spec.given`


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What one thing is: all that a family may know about its data. Saved in every checkpoint.

    shape   floats: (D,), (C, T), (C, H, W) or (T, C, H, W); tokens: any rank, read in raster order
    vocab   number of symbols; 0 when x is floats
    levels  how many values a float takes: 2 for binary, 256 for 8-bit images; 0 when continuous. Then x lies in [0, 1]
    end     the symbol that ends an example and fills the rest of its row, so that padding needs no mask
    separator  the symbol between texts that share a row; what stands behind it has nothing to do with what stands before
    blocks  the parts of a vector, one after another: 1 is a number, k > 1 a one-hot of k categories; empty: all are numbers
    given   what stands beside x: a class label is Spec(shape=(), vocab=10), tags are Spec(shape=(T,), vocab=9)
    media   how it is shown and written: vector, image, text, ...
    codec   what its medium needs to write it: the characters of a vocabulary, the columns of a table (JSON)
    """

    shape: tuple[int, ...]
    vocab: int = 0
    levels: int = 0
    end: int | None = None
    separator: int | None = None
    blocks: tuple[int, ...] = ()
    given: dict[str, Spec] = field(default_factory=dict)
    media: str = "vector"
    codec: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """tokens, or for floats by rank: vector, signal, image, video."""
        return "tokens" if self.vocab else ("vector", "vector", "signal", "image", "video")[len(self.shape)]

    @property
    def size(self) -> int:
        """How many numbers or symbols one x holds."""
        return int(torch.Size(self.shape).numel())

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"shape": list(self.shape), "media": self.media}
        plain |= {k: v for k in ("vocab", "levels", "codec") if (v := getattr(self, k))}
        plain |= {k: v for k in ("end", "separator") if (v := getattr(self, k)) is not None}
        if self.blocks:
            plain["blocks"] = list(self.blocks)
        return plain | ({"given": {k: v.to_json() for k, v in self.given.items()}} if self.given else {})

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Spec:
        """Raises TypeError or ValueError when `plain` is not what to_json writes."""
        shape = plain["shape"]
        sizes = [*shape, plain.get("vocab", 0), plain.get("levels", 0), *(plain.get(k) or 0 for k in ("end", "separator"))]
        if len(shape) > 4 or not all(type(v) is int and 0 <= v < 2**31 for v in sizes) or not all(shape):
            raise ValueError("a shape, vocabulary or level is out of range")
        if not isinstance(plain.get("media", ""), str) or not isinstance(plain.get("codec", {}), dict):
            raise ValueError("media is text and codec a mapping")
        blocks, plainly = plain.get("blocks", []), not plain.get("vocab") and not plain.get("levels")
        if not isinstance(blocks, list) or not all(type(k) is int and k > 0 for k in blocks):
            raise ValueError("blocks are the sizes of the parts of a vector")
        if blocks and (len(shape) != 1 or sum(blocks) != shape[0] or not plainly):
            raise ValueError("the blocks do not make up the vector")
        given = {k: cls.from_json(v) for k, v in plain.get("given", {}).items()}
        return cls(**{**plain, "shape": tuple(shape), "blocks": tuple(blocks), "given": given})


@dataclass(kw_only=True)
class Batch:
    """x (B, *spec.shape); given: name -> (B, ...); mask: True where x was observed (missing data only, never padding)."""

    x: Tensor
    given: dict[str, Tensor] = field(default_factory=dict)
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def map(self, f: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(x=f(self.x), given={k: f(v) for k, v in self.given.items()}, mask=None if self.mask is None else f(self.mask))

    def split(self, parts: int) -> list[Batch]:
        """Consecutive parts, equal but for the remainder."""
        n = len(self)
        cuts = [n * i // parts for i in range(parts + 1)]
        return [self.map(lambda t, a=a, b=b: t[a:b]) for a, b in itertools.pairwise(cuts) if b > a]  # type: ignore[misc]


@dataclass(frozen=True)
class Progress:
    """Where training stands in its stage, for annealing and lazy regularisers."""

    step: int = 0
    total: int = 1

    @property
    def fraction(self) -> float:
        return self.step / max(self.total, 1)


class Loss:
    """A mean, and the number of things it is a mean of, so that microbatches, ranks and validation batches average exactly.

    total   scalar; nats where it is a likelihood
    weight  what the mean runs over (tokens, ...); None: the examples of the batch
    parts   named terms with their unit in the name, for the journal
    """

    def __init__(self, total: Tensor, weight: Tensor | float | None = None, **parts: Tensor) -> None:
        self.total, self.weight = total, weight
        self.parts = {k: v.detach() for k, v in parts.items()}


def _nothing() -> None:
    pass


def _identity(batch: Batch, at: Progress) -> Batch:
    return batch


@dataclass(frozen=True, kw_only=True)
class Player:
    """A loss and the parameters that descend it. `loss` answers None to pass its turn; params=[] moves buffers only (EM)."""

    name: str
    params: list[nn.Parameter]
    loss: Callable[[Batch, Progress], Loss | None]
    repeat: int = 1
    after: Callable[[], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Players that train together for a `share` of the steps.

    feed   (Batch, Progress) -> Batch under no_grad, once a turn: rollouts, latents, replay
    enter  once before the stage's first step, never on resume; makes no parameter
    """

    name: str
    players: list[Player]
    share: float = 1.0
    feed: Callable[[Batch, Progress], Batch] = _identity
    enter: Callable[[], None] = _nothing


class Memory(nn.Module):
    """Buffers that training needs and sampling does not: chains, replay, image pools, rollouts.

    Saved in resume.safetensors only. The first dimension is global: under several ranks each holds its own rows, and a
    checkpoint holds all of them, so that it does not depend on the number of ranks.
    """

    def __init__(self, **buffers: Tensor) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)


class Part(Settings):
    """A model inside a model: `{family, model}` written out, or `{path}` to a checkpoint, which the recipe reader resolves."""

    family: str = ""
    """The family of the inner model; empty: taken from `path`."""
    model: dict[str, Any] = Field(default_factory=dict)
    """The inner model's settings."""
    spec: dict[str, Any] | None = None
    """What the inner model was trained on, when that is not what the outer model is trained on."""
    path: str | None = None
    """A checkpoint whose weights are copied in on a fresh start."""

    def build(self, spec: Spec) -> Model:
        """The inner model; its weights come from `path` on a fresh start, and from the outer checkpoint later."""
        cls = catalog.family(self.family)
        settings = config.inner(cls.Config, self.model, f"model inside the model, {self.family}")
        model: Model = cls(settings, Spec.from_json(self.spec) if self.spec else spec)
        model.weights_from = self.path
        return model


class Draw(Settings):
    """How samples are drawn; a family adds its own keys."""

    chunk: int = Field(64, ge=1, le=65_536)
    """Samples computed at once. Sample i depends on the seed, i and this number alone, never on how many are asked for."""


class Model(nn.Module, ABC):
    """What the loop can train. Built from (Config, Spec); names a loss; may name stages, and `powers`."""

    Config: ClassVar[type[Settings]] = Settings
    kinds: ClassVar[frozenset[str]] = frozenset({"vector", "signal", "image", "video", "tokens"})
    partial: ClassVar[bool] = False  # learns from examples of which a part is missing (Batch.mask)
    weights_from: str | None = None
    conditions: tuple[str, ...] = ()  # the names in `given` that this model, as configured, is conditional on

    def __init__(self, config: Any, spec: Spec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        if spec.kind not in self.kinds:
            name = catalog.name_of(type(self))
            raise GenctlError(
                "config", f"family '{name}' models {' or '.join(sorted(self.kinds))}; this data is {spec.kind} {list(spec.shape)}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """A submodule named like a method would be registered and never found: nn.Module lets it pass, we do not."""
        if isinstance(value, nn.Module | nn.Parameter) and hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__}.{name} is a method; name the module otherwise")
        super().__setattr__(name, value)

    @property
    def device(self) -> torch.device:
        """Where the model's tensors are."""
        first = next(itertools.chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The mean over `weight`. Overridden only where a held-out value means something: validation calls it then."""
        raise NotImplementedError

    def stages(self) -> list[Stage]:
        return [Stage(name="train", players=[Player(name="model", params=list(self.parameters()), loss=self.loss)])]

    def labelled(self, wanted: bool) -> int:
        """The classes that x is to be conditional on, noted in `conditions`; 0 unless wanted. Raises GenctlError (config)."""
        if not wanted:
            return 0
        label = self.spec.given.get("label")
        if label is None or label.shape or not label.vocab:
            raise GenctlError("config", "model.conditional: this data has no class label", "model.conditional=false")
        self.conditions = ("label",)
        return label.vocab

    def units(self) -> list[nn.Module]:
        """The repeated parts: what is compiled, sharded and recomputed one by one. Empty: the whole."""
        return []


class Family(Model):
    """A Model that can be sampled from."""

    Draw: ClassVar[type[Draw]] = Draw

    @abstractmethod
    def sample(self, n: int, draw: Any, given: Given | None = None) -> Tensor:
        """n draws of x given `given` (first dimension n each): (n, *spec.shape) in the data's scale. Eval mode, no_grad."""
