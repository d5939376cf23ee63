"""What happens around a step: journal, averages, validation, previews, checkpoints, signals and guards."""

import math
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from genctl import checkpoint, durable
from genctl.contract import Batch, Family, Model, Progress, Stage
from genctl.data import Dataset
from genctl.device import Place
from genctl.errors import GenctlError, Stopped, safe_text
from genctl.maths import noise, sampling
from genctl.media import writer
from genctl.recipe import Recipe
from genctl.training import loop, lora, optim, order, recompute
from genctl.training.distributed import World
from genctl.training.ema import EMA
from genctl.training.journal import Journal
from genctl.training.loop import Seat
from genctl.training.run import Run
from genctl.training.signals import Signals


class Report(Protocol):
    """Where a run tells what it does; the command line gives one, tests another."""

    def say(self, text: str) -> None:
        """One line."""

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        """Progress, at every line of the journal."""


class Trainer:
    """Trains one model in one run."""

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        dataset: Dataset,
        model: Model,
        place: Place,
        report: Report,
        world: World | None = None,
        signals: Signals | None = None,
    ) -> None:
        self.run, self.recipe, self.dataset, self.place, self.report = run, recipe, dataset, place, report
        self.world = world or World()
        self.train = recipe.train
        if self.train.batch % self.world.size:
            raise GenctlError("config", f"train.batch {self.train.batch} does not divide over {self.world.size} ranks")
        lora.prepare(model, self.train)
        self.model = model.to(place.device).train()
        if self.train.recompute:
            recompute.units(self.model)
        self.names = {id(p): k for k, p in self.model.named_parameters()}
        self.ema = EMA(self.model, self.train.ema) if self.train.ema else None
        self.every = self.train.save_every or max(1, self.train.steps // 10)
        self.log_every = self.train.log_every or max(1, min(100, self.train.steps // 100))
        self.step, self.saved, self.failures, self.alike = 0, -1, 0, 0
        self.metrics: dict[str, float] = {}
        self.journal: Journal | None = None
        self.signals = signals or Signals()
        self.started: tuple[float, int] | None = None
        self.pending: dict[str, tuple[Tensor, int]] = {}  # sums since the last line of the journal, and of how many: some are lazy

    # --- data ---

    def data(self, index: int) -> Batch:
        """This rank's share of batch `index`."""
        size = self.train.batch
        share = size // self.world.size
        start = index * size + self.world.rank * share
        rows = order.rows(self.train.seed, len(self.dataset.train), start, start + share)
        with noise.stream(self.train.seed, index, "data", shard=noise.Shard(self.world.rank, self.world.size)):
            return self.to_device(self.dataset.train.get(rows))

    def to_device(self, batch: Batch) -> Batch:
        return batch if self.place.device.type == "cpu" else batch.map(lambda t: t.to(self.place.device, non_blocking=True))

    # --- the whole ---

    def fit(self, resume: durable.Step | None = None) -> None:
        """Trains to the last step. Raises Stopped after a signal, GenctlError when a guard or a save gives up."""
        error: BaseException | None = None
        signals = self.signals
        setting = loop.Setting(self.train, self.world, self.place.device, self.place.dtype, self.recipe.guard.nonfinite == "skip")
        try:
            restored = self.restore(resume) if resume else {}
            self.world.share(self.model)
            self.journal = Journal(self.run.path / "journal.jsonl") if self.world.first else None
            signals.stepping = True
            loop.fit(self.model, self.data, setting, self.on_step, self.step, lambda seats: self.restore_seats(seats, restored))
            signals.stepping = False
        except BaseException as e:
            error = e
            raise
        finally:
            if self.journal:
                self.journal.close()
            self.run.write_exit(self.step, error)

    def on_step(self, stage: Stage, at: Progress, done: int, logs: dict[str, Tensor], seats: list[Seat]) -> bool:
        """Everything after a step; True ends training (never here: a stop is an exception)."""
        self.step = done
        if self.ema:
            self.ema.update(at.step)
            if at.step + 1 == at.total:
                self.ema.ship()
        for k, v in logs.items():
            total, count = self.pending.get(k, (0, 0))
            self.pending[k] = total + v, count + 1
        if self.started is None:
            self.started = (time.monotonic(), done)  # after the first step, which may compile
        stop = self.world.most(self.signals.stop, self.place.device)
        last = done == self.train.steps
        due = last or bool(stop) or self.signals.save or done % self.every == 0
        if due or done % self.log_every == 0 or self.place.device.type == "cpu":
            self.guard(seats, done)
        if last or done % self.log_every == 0:
            self.log(stage, done)
        if last or done % (self.train.valid_every or self.every) == 0:
            self.validate(done)
        if (last or done % (self.train.sample_every or self.every) == 0) and self.world.first:
            self.preview(done)
        if due:
            self.signals.save = False
            self.save(done, seats, final=last or bool(stop))
        if stop:
            self.report.say(f"resume with: genctl train --resume {safe_text(self.run.path)}")
            raise Stopped(stop)
        return False

    def guard(self, seats: list[Seat], done: int) -> None:
        """Raises GenctlError (guard-nonfinite) when a seat refused to move."""
        if self.recipe.guard.nonfinite != "stop":
            return
        for seat in seats:
            if bool(seat.bad):
                size, index = self.train.batch, done - 1
                rows = order.rows(self.train.seed, len(self.dataset.train), index * size, index * size + min(size, 5)).tolist()
                self.step = done - 1
                what = f"step {done}: the loss or gradient of player '{seat.player.name}' is not finite; the update was not applied (its batch begins with examples {rows})"
                raise GenctlError(
                    "guard-nonfinite",
                    what,
                    f"resume from step {max(self.saved, 0)} with a lower train.lr or with train.clip, or set guard.nonfinite=skip",
                )

    # --- telling ---

    def log(self, stage: Stage, done: int) -> None:
        """A line of the journal: means since the last one, rate, time left."""
        logs = {k: float(total) / count for k, (total, count) in self.pending.items()}
        self.pending = {}
        assert self.started
        seconds, steps = time.monotonic() - self.started[0], done - self.started[1]
        rate = steps / seconds if steps and seconds > 0 else 0.0
        if self.journal:
            self.journal.write(step=done, stage=stage.name, rate=round(rate, 3), **{k: round(v, 6) for k, v in logs.items()})
            self.report.step(done, self.train.steps, {**logs, "rate": rate, "eta": (self.train.steps - done) / rate if rate else 0.0})

    def validate(self, done: int) -> None:
        """The loss on held-out data, where the family says it means something."""
        if type(self.model).loss is Model.loss or not self.train.valid_batches:
            return
        split, size = self.dataset.valid, self.train.batch
        total, weight, parts = 0.0, 0.0, 0
        self.model.eval()
        with self.averaged(), torch.no_grad():
            for start in range(0, min(len(split), size * self.train.valid_batches), size):
                batch = self.to_device(split.batch(start, start + size))
                with noise.stream(self.train.seed, "valid", start):
                    loss = self.model.loss(batch, Progress(done, self.train.steps))
                w = float(len(batch) if loss.weight is None else loss.weight)
                total, weight, parts = total + float(loss.total) * w, weight + w, parts + 1
        self.model.train()
        self.metrics["valid_loss"] = total / weight
        if self.journal:
            self.journal.write(step=done, valid_loss=round(total / weight, 6), batches=parts)
            self.report.say(f"step {done}: valid loss {total / weight:.4f}")

    def averaged(self) -> AbstractContextManager[None]:
        """The weights one samples with, for the length of a `with`."""
        return self.ema.applied() if self.ema else nullcontext()

    def preview(self, done: int) -> None:
        """Samples from the same noise every time, given what stands beside the first held-out examples, so that pictures compare."""
        if not isinstance(self.model, Family):
            return
        draw = self.recipe.sample.model_copy(update={"chunk": min(16, self.recipe.sample.chunk)})
        beside = self.dataset.valid.batch(0, draw.chunk).given if self.model.conditions else {}
        given = {k: beside[k] for k in self.model.conditions}
        with self.averaged():
            x = torch.cat(list(sampling.chunks(self.model, draw.chunk, draw, self.train.seed, given)))
        try:
            writer(self.dataset.spec).preview(x, self.dataset.spec, self.run.path / "samples" / f"{done:010d}")
        except OSError as e:
            self.report.say(f"warning[preview]: step {done}: no preview written: {safe_text(e.strerror)}")
        self.watch(x, done)

    def watch(self, x: Tensor, done: int) -> None:
        """Warns when samples are all alike: their mean distance far below that of the data, three times in a row."""
        if self.recipe.guard.collapse == "ignore" or self.dataset.spec.vocab or len(self.dataset.valid) < 2:
            return
        real = self.dataset.valid.batch(0, len(x)).x
        ratio = float(_spread(x) / _spread(real).clamp(min=1e-12))
        self.alike = self.alike + 1 if ratio < 0.2 else 0
        if self.alike == 3:
            said = f"samples are alike: their mean distance is {ratio:.2f} of the data's, for {self.alike} checks"
            if self.recipe.guard.collapse == "stop":
                raise GenctlError("guard-collapse", f"step {done}: {said}", "lower train.lr, or set guard.collapse=warn")
            self.report.say(f"warning[collapse]: step {done}: {said}")

    # --- saving ---

    def save(self, done: int, seats: list[Seat], final: bool) -> None:
        """Writes a checkpoint; a failed one is retried at the next, and given up after three or at the end."""
        files = self.files(done, seats)
        self.world.follow(lambda: self.write(done, files, seats, final))

    def write(self, done: int, files: dict[str, durable.Pieces], seats: list[Seat], final: bool) -> str:
        """Rank 0's part of a save."""
        manifest = {
            "family": self.recipe.family,
            "world_size": self.world.size,
            "threads": torch.get_num_threads(),
            "device": self.place.device.type,
            "precision": self.train.precision,
            "torch": torch.__version__,
            "data": self.dataset.train.fingerprint(),
            **({"valid_loss": loss} if math.isfinite(loss := self.metrics.get("valid_loss", math.nan)) else {}),
            "state": {"alike": self.alike, "scalers": {s.player.name: s.scaler.state_dict() for s in seats if s.scaler.is_enabled()}},
        }
        try:
            durable.save(self.run.checkpoints, done, files, manifest)
        except OSError as e:
            self.failures += 1
            room = (
                f"needs {sum(len(p) for pieces in files.values() for p in pieces) / 1e6:.1f} MB, {_free(self.run.path) / 1e6:.1f} MB free"
            )
            last = f"step {self.saved}" if self.saved >= 0 else "none"
            said = f"step {done} not saved: {safe_text(e.strerror)} ({room}); last good: {last}"
            if final or self.failures >= 3:
                raise GenctlError("save-failed", said, "free some space, then: genctl train --resume " + safe_text(self.run.path)) from None
            self.report.say(f"warning[save-failed]: {said}")
            return ""
        self.saved, self.failures = done, 0
        home, best = self.run.checkpoints, durable.best(self.run.checkpoints)
        for name, step in (("latest", done), ("best", best)):
            if step is not None and (reason := durable.point(home, name, step)):
                self.report.say(f"warning[latest]: {reason}")
        durable.retain(home, self.train.keep, () if best is None else (best,))
        self.report.say(f"saved step {done}")
        return ""

    def files(self, done: int, seats: list[Seat]) -> dict[str, durable.Pieces]:
        """The two files of a checkpoint, in pieces. Under several ranks every rank calls this."""
        raw = {k: v.detach() for k, v in checkpoint.weights(self.model).items()}
        hidden = lora.parts(self.model)
        resume = {f"raw/{k}": raw[k] for k in hidden}
        ships = raw
        if self.ema:
            ships = raw | {k: v.clone() for k, v in self.ema.average.items()}
            resume |= {f"raw/{k}": raw[k] for k in self.ema.average}
            resume |= {f"average/{k}": ships[k] for k in hidden}
        ships = lora.merge(self.model, ships)
        for k in checkpoint.memory_keys(self.model):
            resume[f"memory/{k}"] = self.world.gather(self.model.get_buffer(k))
        for seat in seats:
            resume |= {f"optim/{seat.player.name}/{k}": v for k, v in optim.state(seat.optimizers, self.names).items()}
        bad = [k for k, v in ships.items() if v.is_floating_point() and not torch.isfinite(v).all()]
        if bad:
            raise GenctlError(
                "guard-nonfinite",
                f"step {done}: weight '{bad[0]}' is not finite; no checkpoint was written",
                "resume from the last one with a lower train.lr",
            )
        if not self.world.first:
            return {}
        meta = checkpoint.describe(self.recipe, self.dataset.spec, done, self.metrics)
        state = {"format": meta["format"], "family": meta["family"], "step": done, "tensors": len(resume)}
        return {durable.MODEL: checkpoint.pieces(ships, meta), durable.RESUME: checkpoint.pieces(resume, state, seal=False)}

    # --- resuming ---

    def restore(self, step: durable.Step) -> dict[str, Tensor]:
        """Loads weights, averages and Memories; returns the optimisers' tensors for their seats."""
        sums = {name: info["sha256"] for name, info in step.manifest["files"].items()}
        model, ships = checkpoint.unpack(step.model, sums[durable.MODEL])
        head, resume = checkpoint.unpack(step.resume, sums[durable.RESUME])
        if head.meta.get("tensors") != len(resume) or head.meta.get("step") != step.number:
            raise GenctlError(
                "ckpt-content",
                f"{durable.RESUME}: holds {len(resume)} tensors of step {head.meta.get('step')}, not what was saved",
                "resume from an earlier step",
            )
        own, hidden = checkpoint.weights(self.model), lora.parts(self.model)
        wanted = {k: tuple(v.shape) for k, v in lora.merge(self.model, own).items()}
        checkpoint.match(step.model, {k: tuple(v.shape) for k, v in ships.items()}, wanted)
        averaged = {f"raw/{k}": tuple(own[k].shape) for k in (*hidden, *(self.ema.average if self.ema else ()))}
        averaged |= {f"average/{k}": tuple(own[k].shape) for k in hidden if self.ema}
        memory = {f"memory/{k}": tuple(self.model.get_buffer(k).shape) for k in checkpoint.memory_keys(self.model)}
        rest = {k: v for k, v in resume.items() if k.startswith("optim/")}
        checkpoint.match(step.resume, {k: tuple(v.shape) for k, v in resume.items() if k not in rest}, averaged | memory)
        weights = ships | {k.removeprefix("raw/"): v for k, v in resume.items() if k.startswith("raw/")}
        self.model.load_state_dict(weights | {k.removeprefix("memory/"): resume[k] for k in memory})
        if self.ema:
            for k, v in self.ema.average.items():
                v.copy_(resume[f"average/{k}"] if k in hidden else ships[k])
        self.step = self.saved = step.number
        known = model.meta.get("metrics")
        self.metrics = {k: float(v) for k, v in known.items() if isinstance(v, int | float)} if isinstance(known, dict) else {}
        state = step.manifest["state"]
        self.alike, self.scalers = int(state["alike"]), dict(state["scalers"])
        return rest

    def restore_seats(self, seats: list[Seat], saved: dict[str, Tensor]) -> None:
        used: set[str] = set()
        for seat in seats:
            prefix = f"optim/{seat.player.name}/"
            mine = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
            try:
                used |= {prefix + k for k in optim.restore(seat.optimizers, self.names, mine)}
            except ValueError as e:
                what = f"{durable.RESUME}: optimiser state '{safe_text(e)}' is missing or of another shape"
                raise GenctlError("ckpt-content", what, "resume from an earlier step") from None
            if kept := self.scalers.get(seat.player.name):
                seat.scaler.load_state_dict(kept)
        if extra := saved.keys() - used:
            raise GenctlError("ckpt-content", f"{durable.RESUME}: nothing here uses {safe_text(min(extra))}")


def _free(path: Path) -> int:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def _spread(x: Tensor) -> Tensor:
    flat = x.flatten(1).float()
    return torch.pdist(flat).mean()
