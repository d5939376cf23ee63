"""What a family may do beyond `loss` and `sample`. A power is declared by existing; commands ask for powers, never for families."""

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from genctl.contract import Batch, Given, Spec

State = dict[str, Tensor]  # every tensor batch-first, so that beams and batches reorder with one index


@runtime_checkable
class LogProb(Protocol):
    """Says how likely an example is."""

    log_prob_is: str
    """exact, bound, IS-k or AIS: what kind of number `log_prob` returns."""

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) nats of density (floats) or probability (tokens) of each x, in the data's scale."""


@runtime_checkable
class Energy(Protocol):
    """Gives every x an energy whose exponential is an unnormalised density."""

    def energy(self, batch: Batch) -> Tensor:
        """(B,) nats: log p(x) = -energy(x) - log Z."""


@runtime_checkable
class Encode(Protocol):
    """Maps x to a code."""

    code: Spec
    """What one code is, so that another family can model the codes."""

    def encode(self, batch: Batch) -> Tensor:
        """(B, *code.shape): the mean code where codes are random."""


@runtime_checkable
class Decode(Protocol):
    """Maps a code back to x."""

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """(B, *spec.shape): the mean x where x is random."""


@runtime_checkable
class Prior(Protocol):
    """Draws codes as `sample` does: sample = decode(prior), but for the noise of x given its code."""

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """(n, *code.shape)."""


@runtime_checkable
class Impute(Protocol):
    """Fills in what was not observed; a prompt is an observed beginning."""

    def impute(self, batch: Batch, draw: Any) -> Tensor:
        """(B, *spec.shape) equal to batch.x where batch.mask is True, drawn elsewhere."""


@runtime_checkable
class Revise(Protocol):
    """Draws something like x."""

    def revise(self, batch: Batch, strength: float, draw: Any) -> Tensor:
        """(B, *spec.shape): x with a share `strength` in (0, 1] of the way to noise gone, and come back."""


@runtime_checkable
class Walk(Protocol):
    """Draws by Markov chains, whose states can be looked at one after another."""

    def walk(self, n: int, draw: Any) -> Iterator[Tensor]:
        """The states (n, *spec.shape) of n chains, a step after another without an end, from where `draw` has let them cool."""


@runtime_checkable
class Filters(Protocol):
    """Has hidden units that look straight at x."""

    def filters(self) -> Tensor:
        """(units, *spec.shape): what each of them looks for, by its weights."""


@runtime_checkable
class Translate(Protocol):
    """Maps x to its counterpart in another world."""

    def translate(self, batch: Batch, to: str, draw: Any) -> Tensor:
        """The counterpart of x in `spec.given[to]`: the way that `sample(given=)` does not go."""


@runtime_checkable
class Predict(Protocol):
    """Predicts what stands beside x."""

    target: str
    """Which entry of `spec.given`."""

    def predict(self, batch: Batch) -> Tensor:
        """Logits (B, *target's shape, target's vocab)."""


@runtime_checkable
class Context(Protocol):
    """Reads a row of symbols as a row of vectors, which other models build on."""

    width: int
    """Of the vectors."""

    def context(self, batch: Batch, seen: Tensor | None = None) -> Tensor:
        """(B, T, width): a vector for each symbol, of those around it; where `seen` (B, T) is False a symbol is not looked at."""

    def idle(self) -> list[Any]:
        """The parameters that `context` does not use."""


@runtime_checkable
class Causal(Protocol):
    """Draws x as a row of symbols, one after another; grids in raster order."""

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        """Logits (n, V) of the first symbol, and the state before it."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Consumes tokens (n, S), S >= 1; logits (n, S, V) of the symbol after each, and the state after them."""


@runtime_checkable
class Attend(Protocol):
    """Shows which symbols it looks at."""

    def attention(self, batch: Batch) -> Tensor:
        """(B, layers, heads, S, S): how much each vector that the network reads takes from each; rows sum to one.

        The last vectors are symbols of x. A Causal model reads all but the last symbol, and row i from the end predicts symbol i from the end.
        """


POWERS: dict[str, Any] = {
    "log_prob": LogProb,
    "energy": Energy,
    "encode": Encode,
    "decode": Decode,
    "prior": Prior,
    "impute": Impute,
    "revise": Revise,
    "walk": Walk,
    "filters": Filters,
    "translate": Translate,
    "predict": Predict,
    "context": Context,
    "causal": Causal,
    "attend": Attend,
}


def of(cls: type) -> list[str]:
    """The names of a family's powers: all methods of the Protocol exist on the class."""
    return [name for name, power in POWERS.items() if all(callable(getattr(cls, m, None)) for m in methods(power))]


def methods(power: type) -> list[str]:
    return [m for m, v in vars(power).items() if callable(v) and not m.startswith("_")]
