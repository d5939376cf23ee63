"""What a metric is: a file with `NEEDS`, `EXTRACTOR` and `measure(case) -> Score`. It sees tensors and Specs, nothing else.

A metric names in NEEDS what it must be given, and the task that calls it (tasks/evaluate.py) opens, draws and computes just that:
samples, labels (that they were asked for), pairs (that they were drawn from, with their texts if they are texts), whole (test pictures restored as large as they are), train,
features, predict (class probabilities), fit (a classifier), likelihood (of held-out data), log_prob (of anything), codes (of held-out
data), encode (anything), energy (of anything), predictions (of what stands beside held-out data), training (examples, read when they are asked for), loss (on
held-out data), chains (that it draws by), filled (what is missing of held-out rows, by the model), truth, templates or examples
(sentences; then no data is opened).
EXTRACTOR says whose features: inception, classifier, or best (columns for vectors, Inception where its weights are, else the
classifier).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from genctl import catalog
from genctl.contract import Batch, Spec


class Truth(Protocol):
    """The known distribution behind made data; some also have `modes` (K, D) and `sigma`."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(B,) nats; -inf outside the support."""

    def draw(self, n: int, seed: int) -> Tensor:
        """n fresh draws."""


class Extractor(Protocol):
    """Maps x to the features that a metric compares."""

    @property
    def name(self) -> str:
        """inception, classifier or columns."""

    @property
    def sha256(self) -> str:
        """Of its weights."""

    @property
    def resize(self) -> str:
        """How pictures are brought to its size."""

    @property
    def accuracy(self) -> float | None:
        """Of a classifier, on held-out data."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, D) float32 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """A model's log_prob over held-out data.

    values    (n,) nats of each reference example
    first     (n,) nats of the first symbol alone; None for what is not a row of symbols
    learned   (n, T) not 0 for the symbols that log_prob counts, where the model learns some alone; None: all
    is_       exact, bound, IS-200 or AIS
    error     a standard error that all values share, such as that of an AIS estimate of log Z; 0: none
    above     the estimate of log Z by annealing in reverse less that by annealing, and its standard error; None: there is none
    of        log_prob of any batch of x, (B,) on the CPU
    """

    values: Tensor | None
    first: Tensor | None = None
    learned: Tensor | None = None
    is_: str = "exact"
    error: float = 0.0
    above: tuple[float, float] | None = None
    of: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one metric is given. Everything lies on the CPU; what NEEDS does not name may be None."""

    spec: Spec
    reference: Batch
    samples: Tensor | None = None
    labels: Tensor | None = None  # the classes (n,) that samples were asked for
    pairs: Batch | None = None  # the held-out examples whose `given` the samples were drawn from, one each
    said: Sequence[tuple[str, tuple[str, ...]]] = ()  # of pairs of texts, each as it was written: the source, and what may stand for it
    whole: Callable[[], Iterator[tuple[Tensor, Batch]]] | None = None  # drawn from the source of each test picture, and that picture
    train: Tensor | None = None
    train_given: Mapping[str, Tensor] = field(default_factory=dict)  # what stands beside the training examples
    extractor: Extractor | None = None
    features: Callable[[str], Tensor] | None = None  # of 'samples', 'reference' or 'train': (n, D) float32
    predict: Callable[[Tensor], Tensor] | None = None  # class probabilities (n, K), (n, L, K) of L labels
    fit: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]] | None = None  # trains on x and labels; answers with such a `predict`
    likelihood: Likelihood | None = None
    codes: Tensor | None = None  # of the reference (n, *code.shape)
    encode: Callable[[Batch], Tensor] | None = None  # codes (B, *code.shape)
    energy: Callable[[Batch], Tensor] | None = None  # (B,) nats
    target: str = ""  # what the model tells
    predictions: Tensor | None = None  # logits of the reference's (n, *shape of the target, vocab)
    training: Callable[[], Batch] | None = None
    shown: Batch | None = None  # what was shown of the rows of the reference: those of the training split
    filled: Tensor | None = None  # the mean of x (N, *shape) given that
    chains: Tensor | None = None  # the states (T, n, *shape) of the Markov chains that the model draws by
    loss: tuple[float, float] | None = None  # (mean over the reference, its standard error)
    templates: list[dict[str, str]] | None = None  # sentences to compare, or examples in pieces; None: the metric's own
    truth: Truth | None = None
    seed: int = 0
    folder: Path = Path()  # where pictures go
    memo: dict[Any, Any] = field(default_factory=dict)  # shared by metrics that count the same distances

    def of(self, side: str) -> Tensor:
        """Features of one side."""
        assert self.features is not None
        return self.features(side)

    def floor(self) -> Tensor:
        """Features of as many training examples as there are samples: what real against real is measured on."""
        return self.of("train")[: max(2, len(self.of("samples")))]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A figure and how far it can be trusted.

    value   the figure; None where it could not be computed, and `reason` says why
    se      its standard error
    floor   the same figure for real data in place of the samples
    fields  further figures by name, each a number or a word
    """

    value: float | None
    se: float | None = None
    floor: float | None = None
    reason: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def plain(self, higher: bool | None = None) -> dict[str, Any]:
        """As JSON; `over_floor` is how many times the floor a figure is that should be small."""
        out: dict[str, Any] = {"value": self.value, "se": self.se, "floor": self.floor, **self.fields}
        if self.reason:
            out["reason"] = self.reason
        if higher is False and self.value is not None and self.floor is not None and self.floor > 0:
            out["over_floor"] = self.value / self.floor
        return {k: (v if not isinstance(v, float) or math.isfinite(v) else str(v)) for k, v in out.items()}


class Metric(Protocol):
    """What every file of this room offers. HIGHER: whether more is better; None: neither."""

    NEEDS: frozenset[str]
    EXTRACTOR: str
    HIGHER: bool | None

    def measure(self, case: Case) -> Score:
        """The figure. Raises nothing a user can cause: `Score(value=None, reason=...)` instead."""


def load(name: str) -> Metric:
    """A metric by name. Raises GenctlError (config) with the nearest names."""
    module: ModuleType = catalog.load("metrics", name)
    return cast(Metric, module)


def proportion(hits: Tensor) -> tuple[float, float]:
    """The share of True in (n,) and its standard error."""
    n, share = len(hits), hits.double().mean().item()
    return share, math.sqrt(share * (1 - share) / n) if n else math.nan


def jackknife(leave_out: Callable[[Tensor], float], n: int, groups: int = 10, seed: int = 0) -> float:
    """The standard error of a statistic of n examples, by leaving out one of `groups` random groups at a time.

    leave_out   the statistic of the examples with these indices
    """
    groups = min(groups, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split(groups)
    values = torch.tensor([leave_out(torch.cat([p for j, p in enumerate(parts) if j != i])) for i in range(groups)], dtype=torch.float64)
    return math.sqrt((groups - 1) / groups * (values - values.mean()).square().sum().item())
