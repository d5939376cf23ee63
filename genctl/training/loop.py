"""The training loop of every family: for each stage, step, player and turn: loss, backward, clip, step, after.

It knows no family, no file and no console. Data, noise and learning rates are functions of the step, so that a run that goes on
from step k computes what it would have computed had it never stopped.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from genctl.contract import Batch, Model, Player, Progress, Stage
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import optim
from genctl.training.distributed import World


@dataclass(frozen=True)
class Setting:
    """What all seats of a run share."""

    train: Train
    world: World = field(default_factory=World)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype | None = None
    skip_nonfinite: bool = False


class Seat:
    """A player with its optimisers. While it plays, only its parameters have requires_grad."""

    def __init__(self, player: Player, names: dict[int, str], setting: Setting) -> None:
        self.player, self.setting, self.names = player, setting, names
        self.params = [p for p in player.params if p.requires_grad]
        self.optimizers = optim.build(player, setting.train, names)
        self.loss = torch.compile(player.loss) if setting.train.compile and self.params else player.loss
        self.scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.dtype is torch.float16)
        self.bad = torch.zeros((), device=setting.device)  # 1 once a loss or gradient was not finite; then nothing moves

    @contextmanager
    def turn(self) -> Iterator[None]:
        for p in self.params:
            p.requires_grad_(True)
        try:
            yield
        finally:
            for p in self.params:
                p.requires_grad_(False)
                p.grad = None

    def play(self, batch: Batch, at: Progress, *key: object) -> dict[str, Tensor] | None:
        """One turn on this rank's share of a batch: the mean of each part of the loss, or None for a passed turn."""
        with self.turn():
            logs = self.descend(batch, at, key)
        if logs is not None:
            with torch.no_grad():
                self.player.after()
        return logs

    def descend(self, batch: Batch, at: Progress, key: tuple[object, ...]) -> dict[str, Tensor] | None:
        s, learns = self.setting, bool(self.optimizers)
        parts = batch.split(s.train.accumulate) if learns and s.train.accumulate > 1 else [batch]
        alone = len(parts) * s.world.size == 1
        unit = len(parts[0])  # keeps the scaled loss near its own size in half precision
        weight = torch.zeros(())
        logs: dict[str, Tensor] = {}
        for k, part in enumerate(parts):
            shard = noise.Shard(s.world.rank * len(parts) + k, s.world.size * len(parts))
            with (
                noise.stream(*key, shard=shard),
                torch.set_grad_enabled(learns),
                torch.autocast(s.device.type, s.dtype) if s.dtype else nullcontext(),
            ):
                loss = self.loss(part, at)
            if loss is None:
                return None
            values = {"loss": loss.total.detach(), **loss.parts}
            if alone:
                logs, total = values, loss.total
            else:
                w = torch.as_tensor(len(part) if loss.weight is None else loss.weight, dtype=torch.float32, device=s.device)
                weight = weight + w
                logs = {name: logs.get(name, 0) + value * w for name, value in values.items()}
                total = loss.total * (w / unit)
            if learns:
                self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        if not alone:
            weight = s.world.sum(weight)
            logs = {k: s.world.sum(v) / weight for k, v in logs.items()}
        if learns:
            logs["grad_norm"] = self.update(at, logs["loss"], None if alone else unit / weight)
        return logs

    def update(self, at: Progress, loss: Tensor, scale: Tensor | None) -> Tensor:
        """One step of the optimisers with gradient `grads * scale` (None: 1), clipped; nothing moves if it is not finite."""
        s = self.setting
        grads = [p.grad for p in self.params if p.grad is not None]
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        s.world.sum_gradients(grads)
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        if scale is not None:
            norm = norm * scale
        if s.train.clip:
            shrink = (s.train.clip / (norm + 1e-6)).clamp(max=1.0)
            scale = shrink if scale is None else scale * shrink
        both = norm + loss
        bad = (both - both).ne(0).float()  # the difference is NaN where either was not finite
        self.bad = bad if s.skip_nonfinite else self.bad.maximum(bad)
        optim.set_rate(self.optimizers, optim.rate(s.train, at))
        host = s.device.type == "cpu"  # there a flag is read without waiting; elsewhere the fused step reads it
        if host and self.bad:
            return norm
        if self.scaler.is_enabled():
            if scale is not None:
                torch._foreach_mul_(grads, scale)
            for optimizer in self.optimizers:
                self.scaler.step(optimizer)
            self.scaler.update()
            return norm
        for optimizer in self.optimizers:
            if getattr(optimizer, "_step_supports_amp_scaling", False):
                fused: Any = optimizer
                fused.grad_scale, fused.found_inf = None if scale is None else 1 / scale, None if host else self.bad
                fused.step()
            elif host or not self.bad:
                if scale is not None:
                    torch._foreach_mul_([p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None], scale)
                optimizer.step()
        return norm


OnStep = Callable[[Stage, Progress, int, dict[str, Tensor], list[Seat]], bool]


def fit(
    model: Model,
    data: Callable[[int], Batch],
    setting: Setting,
    on_step: OnStep,
    start: int = 0,
    restore: Callable[[list[Seat]], None] = lambda seats: None,
) -> None:
    """Trains `model` from step `start` to the end of its last stage, or until `on_step` answers True.

    data(i)    this rank's share of batch i; a pure function
    on_step    (stage, progress in it, steps done in all, logs, seats) after every step
    restore    called with the seats of a stage that is entered in its middle
    """
    train = setting.train
    names = {id(p): k for k, p in model.named_parameters()}
    stages = model.stages()
    check(model, stages)
    trainable = [p for p in model.parameters() if p.requires_grad]
    turns = max(p.repeat for s in stages for p in s.players)
    first = 0
    try:
        for stage, total in zip(stages, lengths(stages, train.steps), strict=True):
            for p in trainable:
                p.requires_grad_(True)
            seats = [Seat(p, names, setting) for p in stage.players]
            for p in trainable:
                p.requires_grad_(False)
            if first <= start < first + total:
                if start == first:
                    with torch.no_grad(), noise.stream(train.seed, "enter", stage.name):
                        stage.enter()
                else:
                    restore(seats)
                for step in range(start - first, total):
                    at, now = Progress(step, total), first + step
                    logs: dict[str, Tensor] = {}
                    fed: dict[int, Batch] = {}
                    for seat in seats:
                        for turn in range(seat.player.repeat):
                            if turn not in fed:
                                shard = noise.Shard(setting.world.rank, setting.world.size)
                                with torch.no_grad(), noise.stream(train.seed, now, "feed", turn, shard=shard):
                                    fed[turn] = stage.feed(data(now * turns + turn), at)
                            played = seat.play(fed[turn], at, train.seed, now, seat.player.name, turn)
                            logs |= {f"{seat.player.name}/{k}": v for k, v in (played or {}).items()}
                    if on_step(stage, at, now + 1, logs, seats):
                        return
                start = first + total
            first += total
    finally:
        for p in trainable:
            p.requires_grad_(True)


def lengths(stages: list[Stage], steps: int) -> list[int]:
    """Steps of each stage in proportion to its share, `steps` in all."""
    shares = sum(s.share for s in stages)
    cuts = [round(steps * sum(s.share for s in stages[:i]) / shares) for i in range(len(stages) + 1)]
    return [b - a for a, b in itertools.pairwise(cuts)]


def check(model: nn.Module, stages: list[Stage]) -> None:
    """Players of one stage own disjoint parameters; over all stages every trainable parameter has a player."""
    owned: set[int] = set()
    for stage in stages:
        mine = [id(p) for player in stage.players for p in player.params]
        if len(mine) != len(set(mine)):
            raise AssertionError(f"two players of stage '{stage.name}' own one parameter")
        owned |= set(mine)
    idle = [k for k, p in model.named_parameters() if p.requires_grad and id(p) not in owned]
    if idle:
        raise AssertionError(f"no player trains {', '.join(idle[:3])}")
