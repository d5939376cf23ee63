"""Random numbers as a function of (seed, purpose, position), never of the process that draws them.

Inside `stream(...)` every draw has a leading dimension of rows. A process that holds shard `index` of `count` draws the rows of
all shards and keeps its own, so that N ranks, or N microbatches, see exactly the noise of one process on the joined batch.
Dropout and other users of torch's global generator are seeded per shard. No generator state is ever saved.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Which part of the joined batch this process holds."""

    index: int = 0
    count: int = 1


_shard = Shard()
_generators: dict[torch.device, torch.Generator] = {}
_seed = 0


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything with a stable repr, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def stream(*key: object, shard: Shard = Shard()) -> Iterator[None]:
    """Draws inside are a function of `key` and their order. Streams nest; the outer one goes on where it stood."""
    global _shard, _generators, _seed
    outer = _shard, _generators, _seed
    _shard, _generators, _seed = shard, {}, seed_of(*key)
    _seed_global(seed_of(_seed, shard.index))
    try:
        yield
    finally:
        _shard, _generators, _seed = outer


def again() -> Callable[[], AbstractContextManager[None]]:
    """A context in which what is drawn from here on is drawn again, even when the stream has ended."""
    shard, seed, states = _shard, _seed, {d: g.get_state() for d, g in _generators.items()}

    @contextmanager
    def replay() -> Iterator[None]:
        global _shard, _generators, _seed
        outer = _shard, _generators, _seed
        _shard, _seed, _generators = shard, seed, {}
        for device, state in states.items():
            generator(device).set_state(state)
        try:
            yield
        finally:
            _shard, _generators, _seed = outer

    return replay


def _seed_global(seed: int) -> None:
    """torch.manual_seed without the stack trace that it formats for a CUDA which was never used (a third of a small step)."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def generator(device: torch.device | str = "cpu") -> torch.Generator:
    """The stream's own generator on a device."""
    device = torch.device(device)
    if device not in _generators:
        _generators[device] = torch.Generator(device).manual_seed(_seed)
    return _generators[device]


def _rows(draw: Tensor, n: int) -> Tensor:
    return draw[n * _shard.index : n * (_shard.index + 1)] if _shard.count > 1 else draw


def randn(n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """(n, *shape) standard normal."""
    return _rows(torch.randn(n * _shard.count, *shape, generator=generator(device), device=device), n)


def rand(n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """(n, *shape) uniform on [0, 1)."""
    return _rows(torch.rand(n * _shard.count, *shape, generator=generator(device), device=device), n)


def randint(high: int, n: int, *shape: int, device: torch.device | str = "cpu") -> Tensor:
    """(n, *shape) integers in [0, high)."""
    return _rows(torch.randint(high, (n * _shard.count, *shape), generator=generator(device), device=device), n)


def bernoulli(p: Tensor) -> Tensor:
    """0 or 1 with probability p, in p's shape and dtype; the first dimension is rows."""
    return rand(*p.shape, device=p.device).lt_(p).to(p.dtype)


def categorical(logits: Tensor) -> Tensor:
    """(n, ...) symbols from logits (n, ..., V) by the Gumbel-max trick."""
    u = rand(*logits.shape, device=logits.device).clamp_(min=1e-20)
    return (logits - (-u.log()).log()).argmax(-1)
