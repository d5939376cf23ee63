"""train: from a recipe, or from a run that goes on, to a folder of checkpoints."""

import datetime
import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genctl import catalog, checkpoint, config, device, durable, recipe
from genctl.config import Tree
from genctl.contract import Model, Spec
from genctl.data import Dataset, told
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.recipe import Recipe
from genctl.tasks.adopt import adopt, spec_of
from genctl.training import distributed
from genctl.training.distributed import World
from genctl.training.run import Run, rewind, write_recipe
from genctl.training.signals import Signals
from genctl.training.trainer import Report, Trainer


@dataclass(frozen=True)
class Request:
    """What the command line asks for. `overrides`: (text, what said so)."""

    recipe: str | None = None
    overrides: list[tuple[str, str | None]] | None = None
    out: Path | None = None
    resume: Path | None = None
    device: str = "auto"


def runs_home() -> Path:
    return Path(os.environ.get("GENCTL_RUNS") or "runs")


def open_data(plan: Recipe) -> Dataset:
    """The dataset of a recipe."""
    dataset: Dataset = catalog.load("data", plan.data.name).open(plan.data)
    if not len(dataset.train):
        raise GenctlError("data-empty", f"data '{plan.data.name}' has no training examples")
    return dataset


def fresh_model(plan: Recipe, dataset: Dataset, seed: int) -> Model:
    """An untrained model: its first weights are a function of the seed alone."""
    with noise.stream(seed, "init"):
        model = checkpoint.build(plan, dataset.spec)
    with noise.stream(seed, "look"):
        missing = dataset.train.batch(0, 1).mask is not None
    if missing and not model.partial:
        raise GenctlError("config", f"family '{plan.family}' takes examples whole; of this data a part is missing", "family: rbm")
    _copy_parts(model)
    return model


def _copy_parts(model: nn.Module) -> None:
    """Weights of the models inside a model from the checkpoints they come from; what stands inside those came with them."""
    for child in model.children():
        if isinstance(child, Model) and child.weights_from:
            source = checkpoint.load(durable.locate(Path(child.weights_from), lambda text: None))[0]
            child.load_state_dict(source.state_dict())
        else:
            _copy_parts(child)


def _part(path: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Family, settings and spec of the checkpoint at a path."""
    plan, spec = checkpoint.understand(checkpoint.look(durable.locate(Path(path), lambda text: None)))
    return plan.family, plan.plain()["model"], spec.to_json()


def _plan(request: Request) -> tuple[Recipe, Tree]:
    """The recipe with its parts written out; text is read in the symbols of what it starts from."""
    assert request.recipe
    plan, tree = recipe.read(request.recipe, request.overrides)
    plan = recipe.fill(plan, _part)
    known = [Spec.from_json(part.spec) for part in recipe.parts(plan.model).values() if part.spec]
    if plan.train.init_from and not getattr(plan.data, "tokenizer", None):
        known.append(spec_of(Path(plan.train.init_from)))
    for spec in known:
        plan = replace(plan, data=told(plan.data, spec))
    return plan, tree


def dry_run(request: Request) -> dict[str, Any]:
    """Resolves everything that training would, without writing: the recipe as YAML, parameters, memory."""
    if not request.recipe:
        raise GenctlError("usage", "--dry-run needs a recipe")
    plan, tree = _plan(request)
    place = device.resolve(request.device, plan.train.precision)
    dataset = open_data(plan)
    model = fresh_model(plan, dataset, plan.train.seed)
    count = sum(p.numel() for p in model.parameters())
    copies = 4 + bool(plan.train.ema)  # weights, gradients, two moments, average
    sources = {k: v for k, v in tree.marks.items() if v.startswith(("override", "--"))}
    return {
        "recipe": plan.plain(),
        "yaml": config.dump(plan.plain(), sources),  # type: ignore[arg-type]
        "parameters": count,
        "memory_mb": round(count * 4 * copies / 1e6, 1),
        "device": str(place.device),
        "train_examples": len(dataset.train),
        "spec": dataset.spec.to_json(),
    }


def train(request: Request, report: Report) -> dict[str, Any]:
    """Trains and returns {run, step, checkpoint, metrics}. Raises GenctlError or Stopped."""
    if request.resume and request.out:
        raise GenctlError("usage", "--resume goes on in the run's own folder: leave out --out")
    if not request.resume and not request.recipe:
        raise GenctlError("usage", "train needs a recipe, or --resume RUN", "genctl list recipes")
    try:
        with Signals() as signals:
            done = _resume(request, report, signals) if request.resume else _start(request, report, signals)
        distributed.leave(together=True)
        return done
    finally:
        distributed.leave()


def _place(plan: Recipe, request: Request, report: Report) -> tuple[device.Place, World]:
    _limit_memory(plan.limits.memory_gb)
    device.set_threads(plan.train.threads)
    place = device.resolve(request.device, plan.train.precision)
    if plan.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    world = distributed.join(place.device)
    if world.first:
        report.say(f"device {place.why}")
    return place, world


def _start(request: Request, report: Report, signals: Signals) -> dict[str, Any]:
    assert request.recipe
    plan, _ = _plan(request)
    place, world = _place(plan, request, report)
    name = Path(request.recipe).stem
    path = request.out or Path(world.text(str(runs_home() / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}")))
    run = Run(path, world)
    world.follow(run.look)
    dataset = open_data(plan)
    plan = replace(plan, data=told(plan.data, dataset.spec))
    model = fresh_model(plan, dataset, plan.train.seed)
    for note in dataset.notes if world.first else ():
        report.say(note)
    report = _quiet(report, world)
    if plan.train.init_from:
        adopt(model, Path(plan.train.init_from), report.say)
    elif plan.train.lora:
        report.say("warning[lora]: without train.init_from the matrices that are corrected are random ones")
    trainer = Trainer(run, plan, dataset, model, place, report, world, signals)
    run.claim(fresh=True)
    try:
        write_recipe(run, plan)
        _point_latest(run, request)
        if len(dataset.train) < plan.train.batch:
            report.say(f"warning[data-few]: {len(dataset.train)} training examples fill a batch of {plan.train.batch} by repetition")
        report.say(
            f"run {safe_text(path)}: {plan.family} on {plan.data.name}, {sum(p.numel() for p in model.parameters()):,} parameters, {plan.train.steps} steps"
        )
        trainer.fit()
    finally:
        run.release()
    return _result(run, trainer)


def _resume(request: Request, report: Report, signals: Signals) -> dict[str, Any]:
    assert request.resume
    named = durable.STEP.fullmatch(request.resume.name)
    path = request.resume.parent.parent if named else request.resume
    if not (path / "checkpoints").is_dir():
        raise GenctlError(
            "no-input", f"{safe_text(request.resume)} is not a run: it has no checkpoints folder", "genctl runs lists the runs here"
        )
    world = distributed.join(device.resolve(request.device).device)  # before the claim: rank 0 alone locks and sweeps
    report = _quiet(report, world)
    run = Run(path, world)
    run.claim(fresh=False)
    try:
        number = world.follow(lambda: str(_newest(run, named, report)))
        found = durable.verify(run.checkpoints, int(number))
        old, spec = checkpoint.understand(checkpoint.look(found.model))
        plan, changed = _amended(old, request, found)
        if not request.overrides or not any("train.threads" in t for t, _ in request.overrides):
            device.set_threads(plan.train.threads or int(found.manifest.get("threads", 0)))
        place, _ = _place(plan, request, report)
        if found.number >= plan.train.steps:
            report.say(f"finished: step {found.number} of {plan.train.steps} is done; more steps: --steps N")
            return {"run": str(path), "step": found.number, "checkpoint": str(found.path), "metrics": {}}
        dataset = open_data(plan)
        if dataset.spec.to_json() != spec.to_json() or found.manifest.get("data", "") != dataset.train.fingerprint():
            raise GenctlError(
                "ckpt-mismatch",
                f"the data is not what step {found.number} was trained on",
                "restore the data, or start a new run with --init-from",
            )
        for line in _inexact(found.manifest, plan, place, world, changed):
            report.say(line)
        trainer = Trainer(run, plan, dataset, checkpoint.build(plan, dataset.spec), place, report, world, signals)
        rewind(run, found.number)
        write_recipe(run, plan)
        report.say(f"resumed from step {found.number}")
        trainer.fit(found)
        return _result(run, trainer)
    finally:
        run.release()


def _newest(run: Run, named: re.Match[str] | None, report: Report) -> int:
    """The step to go on from: the one that was named, or the newest that is whole."""
    if named:
        return durable.verify(run.checkpoints, int(named[1])).number
    found = durable.newest(run.checkpoints, report.say)
    if found is None:
        shown = safe_text(run.path)
        raise GenctlError(
            "no-input", f"{shown} has no checkpoint to go on from", f"start again: genctl train {shown}/recipe.yaml --out OTHER"
        )
    return found.number


def _amended(old: Recipe, request: Request, found: durable.Step) -> tuple[Recipe, list[str]]:
    """The checkpoint's recipe with the changes asked for. Raises GenctlError (ckpt-mismatch) where they bend the path."""
    if request.recipe:
        known = {p.path: (p.family, p.model, p.spec or {}) for p in recipe.parts(old.model).values()}
        new = recipe.fill(recipe.read(request.recipe, request.overrides)[0], lambda path: known.get(path) or _part(path))
    else:
        tree = Tree(old.plain())
        for text, source in request.overrides or []:
            config.override(tree, text, source)
        new = recipe.resolve(tree)
    if new.family != old.family:
        raise GenctlError("ckpt-mismatch", f"checkpoint is family '{old.family}', the recipe says '{new.family}'", "start a new run")
    if getattr(old.data, "tokenizer", None):
        new = replace(new, data=new.data.model_copy(update={"tokenizer": old.data.tokenizer}))
    path, free = recipe.changes(old.plain(), new.plain())
    if path:
        raise GenctlError(
            "ckpt-mismatch",
            f"these keys may not change on resume: {', '.join(path[:10])}",
            "start a new run; --init-from takes over the weights",
        )
    return new, free


def _inexact(manifest: dict[str, Any], plan: Recipe, place: device.Place, world: World, changed: list[str]) -> list[str]:
    """What is no longer bit for bit what an uninterrupted run would compute."""
    now = {
        "world_size": world.size,
        "threads": torch.get_num_threads(),
        "device": place.device.type,
        "precision": plan.train.precision,
        "torch": torch.__version__,
    }
    differ = [f"{k} {manifest[k]} -> {v}" for k, v in now.items() if k in manifest and manifest[k] != v]
    if "train.steps" in changed and plan.train.decay != "none":
        differ.append("train.steps (the learning rate decays over it)")
    return [f"not bit for bit: {', '.join(differ)}; the order of the data is the same"] if differ else []


def _quiet(report: Report, world: World) -> Report:
    return report if world.first else _Silent()


class _Silent:
    def say(self, text: str) -> None:
        pass

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        pass


def _point_latest(run: Run, request: Request) -> None:
    """runs/latest -> the newest run, for runs that were named by genctl."""
    if run.world.first and not request.out:
        try:
            durable.FS().link(run.path.name, run.path.parent / "latest")
        except OSError:
            pass  # a convenience only


def _limit_memory(gigabytes: float) -> None:
    if gigabytes:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 2**30),) * 2)


def _result(run: Run, trainer: Trainer) -> dict[str, Any]:
    last = run.checkpoints / f"step-{trainer.step:010d}"
    return {"run": str(run.path), "step": trainer.step, "checkpoint": str(last), "metrics": trainer.metrics}
