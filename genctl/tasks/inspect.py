"""list, inspect, init, runs: read what is there without torch wherever that can be."""

import ast
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genctl import catalog, config
from genctl.errors import GenctlError, safe_text


def listing(room: str) -> list[dict[str, object]]:
    """One object an entry, each with at least `name`."""
    if room == "recipes":
        return [_recipe(name, path) for name, path in catalog.recipes().items()]
    if room == "powers":
        tree = ast.parse((catalog.HOME / "powers.py").read_text(encoding="utf-8"))
        docs = {n.name: (ast.get_docstring(n) or "").split("\n")[0] for n in tree.body if isinstance(n, ast.ClassDef)}
        table = next(n.value for n in tree.body if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "POWERS")
        assert isinstance(table, ast.Dict)
        return [
            {"name": k.value, "summary": docs[v.id]}
            for k, v in zip(table.keys, table.values, strict=True)
            if isinstance(k, ast.Constant) and isinstance(v, ast.Name)
        ]
    return [{"name": e.name, "group": e.group, "summary": e.summary} for e in catalog.entries(room).values()]


def _recipe(name: str, path: Path) -> dict[str, object]:
    tree = config.read(path).value
    expect = tree.get("expect") or {}
    return {
        "name": name,
        "path": str(path),
        "family": tree.get("family"),
        "data": _inside(tree, "data", "name"),
        "minutes": expect.get("minutes"),
        "expect": expect,
    }


def _inside(tree: dict[str, Any], section: str, key: str) -> Any:
    box = tree.get(section)
    return box.get(key) if isinstance(box, dict) else None


def inspect(what: str, say: Callable[[str], None]) -> tuple[dict[str, Any], list[str]]:
    """(object, lines) about a recipe (resolved), or a run, checkpoint folder or file (its header)."""
    path = Path(what)
    if path.suffix in (".yaml", ".yml") or (what in catalog.recipes() and not path.exists()):
        from genctl import recipe

        plan, _tree = recipe.read(what)
        return plan.plain(), [config.dump(plan.plain()).rstrip()]
    from genctl import header

    head = header.read(_model_file(path, say))
    meta = head.meta
    size = sum(_count(shape) for _, shape in head.tensors.values())
    facts = {**meta, "path": head.path, "sha256": head.digest, "tensors": len(head.tensors), "parameters": size, "bytes": head.size}
    lines = [
        f"{safe_text(k)}: {safe_text(facts[k], 200)}"
        for k in ("path", "family", "step", "tensors", "parameters", "bytes", "sha256", "versions", "metrics")
        if k in facts
    ]
    if isinstance(meta.get("recipe"), dict):
        lines += ["recipe:", *("  " + safe_text(line) for line in config.dump(meta["recipe"]).rstrip().split("\n"))]
    return facts, lines


def _count(shape: tuple[int, ...]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n


def _model_file(path: Path, say: Callable[[str], None]) -> Path:
    """Like durable.locate, by names alone: no torch, no checksums."""
    if not path.is_dir():
        return path
    if (path / "model.safetensors").exists():
        return path / "model.safetensors"
    found = sorted((path / "checkpoints").glob("step-" + "[0-9]" * 10))
    if not found:
        raise GenctlError("no-input", f"{safe_text(path)} is neither a run with a checkpoint nor a checkpoint")
    say(f"newest of {len(found)} checkpoints")
    return found[-1] / "model.safetensors"


def init(name: str, file: Path | None) -> str:
    """Copies a shipped recipe; returns where. Raises GenctlError (config, out-exists)."""
    shipped = catalog.recipes()
    if name not in shipped:
        raise GenctlError("usage", f"there is no recipe '{safe_text(name)}'", "genctl list recipes")
    target = file or Path(f"{name}.yaml")
    try:
        with target.open("x", encoding="utf-8") as out, shipped[name].open(encoding="utf-8") as source:
            shutil.copyfileobj(source, out)
    except FileExistsError:
        raise GenctlError("out-exists", f"{safe_text(target)} exists", "give another name") from None
    except OSError as e:
        raise GenctlError("out-unwritable", f"{safe_text(target)}: {safe_text(e.strerror)}") from None
    return str(target)


def runs(folder: Path | None) -> list[dict[str, object]]:
    """What is in a folder of runs, newest first."""
    home = folder or Path(os.environ.get("GENCTL_RUNS") or "runs")
    rows: list[tuple[float, dict[str, object]]] = []
    for path in home.iterdir() if home.is_dir() else ():
        if path.is_symlink() or not (path / "recipe.yaml").is_file():
            continue
        try:
            tree = config.read(path / "recipe.yaml").value
        except GenctlError:
            tree = {}
        steps = sorted((path / "checkpoints").glob("step-" + "[0-9]" * 10))
        state = "running or killed"
        try:
            state = str(json.loads((path / "exit.json").read_text())["id"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        row = {
            "name": path.name,
            "path": str(path),
            "family": tree.get("family"),
            "data": _inside(tree, "data", "name"),
            "step": int(steps[-1].name[5:]) if steps else 0,
            "steps": _inside(tree, "train", "steps"),
            "state": state,
        }
        rows.append(((path / "recipe.yaml").stat().st_mtime, row))
    return [row for _, row in sorted(rows, key=lambda r: -r[0])]
