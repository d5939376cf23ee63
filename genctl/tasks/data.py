"""data info and preview: what a dataset holds, as the model sees it."""

from pathlib import Path
from typing import Any

from genctl import catalog, config, recipe
from genctl.config import Tree
from genctl.contract import Spec
from genctl.data import Dataset, told
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.media import writer


def open_source(source: str, spec: Spec | None = None) -> tuple[Any, Dataset]:
    """(settings, dataset) of what `settings_of` reads; text in the symbols of `spec`."""
    settings = settings_of(source)
    settings = told(settings, spec) if spec else settings
    return settings, catalog.load("data", settings.name).open(settings)


def settings_of(source: str) -> Any:
    """The data section of a recipe file or of a shipped recipe, or `name,key=value,...`. Raises GenctlError (usage, config)."""
    if Path(source).suffix in (".yaml", ".yml") or source in catalog.recipes():
        plan, _ = recipe.read(source)
        return plan.data
    name, *keys = source.split(",")
    tree = Tree({"name": name})
    for text in keys:
        config.override(tree, text, f"'{safe_text(text)}'")
    settings = config.validate(tree, catalog.load("data", name).Config)
    if settings is None:
        raise GenctlError("usage", [f"{where}: {what}" for where, what in tree.mistakes])
    return settings


def info(source: str) -> dict[str, Any]:
    """Facts about a dataset by name."""
    settings, dataset = open_source(source)
    with noise.stream(0, "preview"):
        x = dataset.train.batch(0, 1000).x
    spec = dataset.spec
    found: dict[str, Any] = {
        "name": settings.name,
        "kind": spec.kind,
        "shape": list(spec.shape),
        "vocab": spec.vocab,
        "levels": spec.levels,
        "media": spec.media,
    }
    found |= {
        "given": {k: v.to_json() for k, v in spec.given.items()},
        "train": len(dataset.train),
        "valid": len(dataset.valid),
        "test": len(dataset.test),
    }
    found |= {
        "lowest": x.min().item(),
        "highest": x.max().item(),
        "mean": round(x.double().mean().item(), 6),
        "fingerprint": dataset.train.fingerprint(),
        "truth": dataset.truth is not None,
    }
    return found


def preview(source: str, out: Path, n: int) -> Path:
    """Writes the first n training examples in their medium; returns the file."""
    _, dataset = open_source(source)
    with noise.stream(0, "preview"):
        x = dataset.train.batch(0, n).x
    out.parent.mkdir(parents=True, exist_ok=True)
    return writer(dataset.spec).preview(x, dataset.spec, out)
