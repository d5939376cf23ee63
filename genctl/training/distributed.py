"""Data-parallel training under torchrun: one process a rank, gradients summed once a turn, Memories held in shares.

Gradients are summed in one flat buffer after the backward pass: exact for weighted means, for players that pass their turn and
for losses that run the network twice, which DistributedDataParallel's hooks are not.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from genctl.contract import Memory
from genctl.errors import GenctlError


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank writes and prints."""
        return self.rank == 0

    def sum(self, t: Tensor) -> Tensor:
        """The sum of `t` over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(t)
        return t

    def most(self, value: int, device: torch.device) -> int:
        """The largest of the ranks' integers, so that all decide alike."""
        if self.size == 1:
            return value
        t = torch.tensor(value, device=device)
        dist.all_reduce(t, dist.ReduceOp.MAX)
        return int(t)

    def text(self, value: str) -> str:
        """Rank 0's text, on every rank."""
        if self.size == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        length = torch.tensor(len(value.encode()), device=device)
        dist.broadcast(length, 0)
        raw = torch.zeros(int(length), dtype=torch.uint8, device=device)
        if self.first:
            raw.copy_(torch.frombuffer(bytearray(value.encode()), dtype=torch.uint8))
        dist.broadcast(raw, 0)
        return bytes(raw.tolist()).decode()

    def follow(self, act: Callable[[], str]) -> str:
        """Rank 0 acts; what it answers, or the GenctlError it raises, reaches every rank."""
        if self.size == 1:
            return act()
        said, error = "", None
        if self.first:
            try:
                said = json.dumps({"answer": act()})
            except GenctlError as e:
                error, said = e, json.dumps({"error": [e.id, e.lines, e.try_]})
        heard = json.loads(self.text(said))
        if error:
            raise error
        if "error" in heard:
            copy = GenctlError(*heard["error"])
            copy.told = True
            raise copy
        return str(heard["answer"])

    def sum_gradients(self, grads: Sequence[Tensor]) -> None:
        """Sums gradients over the ranks, all in one buffer a dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(g.dtype for g in grads):  # in one order on all ranks
            same = [g for g in grads if g.dtype is dtype]
            flat = torch.cat([g.reshape(-1) for g in same])
            dist.all_reduce(flat)
            for g, part in zip(same, torch.split(flat, [g.numel() for g in same]), strict=True):
                g.copy_(part.view_as(g))

    def share(self, model: nn.Module) -> None:
        """Leaves this rank its rows of every Memory."""
        for memory in memories(model) if self.size > 1 else ():
            for name, value in memory.named_buffers():
                if len(value) % self.size:
                    raise GenctlError("config", f"a memory of {len(value)} rows ({name}) does not divide over {self.size} ranks")
                memory.register_buffer(name, value.chunk(self.size)[self.rank].clone())

    def gather(self, value: Tensor) -> Tensor:
        """All ranks' rows of a Memory's buffer, in order."""
        if self.size == 1:
            return value
        rows = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(rows, value.contiguous())
        return torch.cat(rows)


def memories(model: nn.Module) -> list[Memory]:
    return [m for m in model.modules() if isinstance(m, Memory)]


def join(device: torch.device, timeout: float = 300) -> World:
    """The World that torchrun describes in the environment; a World of one without it."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        return World()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout))
    return World(dist.get_rank(), size)


def leave(together: bool = False) -> None:
    """Ends the process group, if there is one. together: all ranks are here, and none hangs up while another still listens."""
    if dist.is_initialized():
        if together:
            dist.barrier()
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process is the one that prints: torchrun's rank 0, or the only one."""
    return int(os.environ.get("RANK", 0)) == 0
