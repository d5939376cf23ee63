"""The classifier that stands in for Inception: trained once on a data set's labels by the ordinary loop, and cached by content."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import catalog, checkpoint, header, recipe
from genctl.config import Tree
from genctl.contract import Batch, Progress, Stage
from genctl.data import Dataset
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.recipe import Recipe
from genctl.tasks.stamp import short
from genctl.training import loop, order

FAMILY, TARGET = "classifier", "label"
GROUPS = ("features", "texture")
SPREAD, BATCH, LEAST, MOST, EPOCHS = 5000, 128, 400, 1500, 3
BLOCK = 500


class Judge:
    """An Extractor, and a predictor of class probabilities.

    Features are the last layer's, and beside them the first layer's averages, each group scaled to a total variance of 1 on training
    data. The last layer alone is nearly blind to noise: a good classifier has learned not to see it.
    """

    name, resize = "classifier", "none"

    def __init__(self, model: Any, device: torch.device, facts: dict[str, float] | None = None, sha256: str = "") -> None:
        self.model, self.device, self.sha256 = model.to(device), device, sha256
        self.facts = facts or {}

    @property
    def accuracy(self) -> float:
        return self.facts["test_accuracy"]

    def __call__(self, x: Tensor) -> Tensor:
        """(n, D) features."""
        return torch.cat([self.group(name, x) / self.facts[f"spread_{name}"] for name in GROUPS], 1)

    def group(self, name: str, x: Tensor) -> Tensor:
        return self._over(x, lambda batch: getattr(self.model, name)(batch.x))

    def predict(self, x: Tensor) -> Tensor:
        """(n, K) class probabilities, (n, L, K) of L labels."""
        return self._over(x, lambda batch: self.model.predict(batch).softmax(-1))

    def _over(self, x: Tensor, f: Callable[[Batch], Tensor]) -> Tensor:
        with torch.no_grad(), noise.stream("judge"):
            return torch.cat([f(Batch(x=part.to(self.device))).float().cpu() for part in torch.split(x, BLOCK)])


def reason_not(dataset: Dataset) -> str:
    """Why no classifier can be trained; empty if one can."""
    label = dataset.spec.given.get(TARGET)
    if FAMILY not in catalog.entries("families"):
        return f"there is no family '{FAMILY}'"
    return "" if label is not None and label.vocab and len(label.shape) < 2 else "this data has no labels to train a classifier on"


def plan_for(settings: Any, dataset: Dataset) -> Recipe:
    """How the classifier of a dataset is trained: a few passes, more steps than few for small data."""
    steps = min(MOST, max(LEAST, EPOCHS * len(dataset.train) // BATCH))
    train = {"steps": steps, "batch": min(BATCH, len(dataset.train)), "lr": 2e-3, "decay": "cosine", "warmup": 20}
    tree = {"family": FAMILY, "data": settings.model_dump(mode="json"), "model": {"target": TARGET}, "train": train}
    return recipe.resolve(Tree(tree))


def judge(settings: Any, dataset: Dataset, device: torch.device, say: Callable[[str], None]) -> Judge:
    """The cached classifier of a dataset, or a fresh one. Raises GenctlError (power) where there are no labels."""
    if why := reason_not(dataset):
        raise GenctlError("power", why)
    plan = plan_for(settings, dataset)
    plain = plan.plain()
    plain["data"].pop("path", None)
    key = short([plain, dataset.train.fingerprint(), dataset.test.fingerprint()])
    file = catalog.cache_home() / "classifier" / f"{settings.name}-{key}.safetensors"
    if dataset.train.fingerprint() and file.exists():
        try:
            model, _, _, head = checkpoint.load(file)
            facts = {k: float(head.meta["metrics"][k]) for k in ("test_accuracy", *(f"spread_{name}" for name in GROUPS))}
            return Judge(model, device, facts, head.digest)
        except (GenctlError, KeyError, TypeError, ValueError) as e:
            say(f"warning[cache]: {safe_text(file.name)} is not usable ({safe_text(e)}); training the classifier again")
    start = time.monotonic()
    say(f"training a classifier of {settings.name} for {plan.train.steps} steps, once ...")
    model = fit(plan, dataset, device)
    facts = measured(Judge(model, device), dataset)
    say(f"classifier: {100 * facts['test_accuracy']:.1f} % right on {len(dataset.test):,} test examples, {time.monotonic() - start:.0f} s")
    data = checkpoint.pack(checkpoint.weights(model), checkpoint.describe(plan, dataset.spec, plan.train.steps, facts))
    write(file, data, say)
    return Judge(model, device, facts, header.from_bytes(file, data).digest)


def fit(plan: Recipe, dataset: Dataset, device: torch.device) -> Any:
    """Trains by the loop of every family."""
    train = plan.train
    with noise.stream(train.seed, "init"):
        model = checkpoint.build(plan, dataset.spec).to(device).train()

    def data(index: int) -> Batch:
        rows = order.rows(train.seed, len(dataset.train), index * train.batch, (index + 1) * train.batch)
        with noise.stream(train.seed, index, "data"):
            return dataset.train.get(rows).map(lambda t: t.to(device))

    def on_step(stage: Stage, at: Progress, done: int, logs: dict[str, Tensor], seats: list[loop.Seat]) -> bool:
        return False

    loop.fit(model, data, loop.Setting(train, device=device), on_step)
    return model.eval().requires_grad_(False)


def measured(judge: Judge, dataset: Dataset) -> dict[str, float]:
    """Its accuracy on the test split, and the spread of each group of features over training examples."""
    test = dataset.test.batch(0, len(dataset.test))
    with noise.stream("judge"):
        x = dataset.train.batch(0, SPREAD).x
    right = (judge.predict(test.x).argmax(-1) == test.given[TARGET]).double().mean().item()
    spread = {f"spread_{name}": float(judge.group(name, x).var(0).sum().sqrt()) or 1.0 for name in GROUPS}
    return {"test_accuracy": right, **spread}


def write(file: Path, data: bytes, say: Callable[[str], None]) -> None:
    """Into the cache in one step; a cache that cannot be written costs time only."""
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, file)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        say(f"warning[cache]: {safe_text(file.parent)} cannot be written: {safe_text(e.strerror)}; this will be computed again")
