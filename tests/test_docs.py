"""The generated parts of the docs are fresh. `make docs` (python -m tests.test_docs) writes them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SCHEMA = ROOT / "docs" / "recipe.schema.json"


def families() -> str:
    """The table of families, from their files and recipes alone."""
    from genctl import catalog
    from genctl.tasks.inspect import listing

    recipes: dict[str, list[str]] = {}
    for row in listing("recipes"):
        path = Path(str(row["path"])).relative_to(catalog.recipes_home().parent)
        recipes.setdefault(str(row["family"]), []).append(f"[{row['name']}]({path})")
    lines = ["| family | what it is | recipes |", "| --- | --- | --- |"]
    for e in catalog.entries("families").values():
        lines.append(f"| `{e.name}` | {e.summary.rstrip('.')} | {', '.join(recipes.get(e.name, [])) or '-'} |")
    return "\n".join(lines)


def commands() -> str:
    """The table of commands, from the program's own help."""
    import typer

    from genctl.cli.app import app

    lines = ["| command | what it does |", "| --- | --- |"]
    for name, command in typer.main.get_command(app).commands.items():
        lines.append(f"| `genctl {name}` | {(command.help or '').split(chr(10))[0].rstrip('.')} |")
    return "\n".join(lines)


def schema() -> str:
    """A JSON schema of recipes for editors: the closed sections in full, `model` and `sample` by family, `data` by set."""
    from genctl import catalog
    from genctl.recipe import Expect, Guard, Limits, Train

    def of(cls) -> dict:
        out = cls.model_json_schema(ref_template="#/$defs/{model}")
        defs.update(out.pop("$defs", {}))
        return {k: v for k, v in out.items() if k not in ("title", "description")}

    defs: dict = {}
    data = {e: of(catalog.load("data", e).Config) for e in catalog.entries("data")}
    fixed = {"train": of(Train), "guard": of(Guard), "limits": of(Limits), "expect": of(Expect)}
    choices = []
    for e in catalog.entries("families").values():
        cls = catalog.family(e.name)
        props = {"family": {"const": e.name, "description": e.summary}, "model": of(cls.Config)}
        if hasattr(cls, "Draw"):
            props["sample"] = of(cls.Draw)
        choices.append({"properties": props})
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "genctl recipe",
        "type": "object",
        "required": ["family", "data"],
        "properties": {
            "family": {"enum": list(catalog.entries("families"))},
            "data": {"anyOf": list(data.values())},
            "model": {},
            "sample": {},
            **fixed,
        },
        "additionalProperties": False,
        "oneOf": choices,
        "$defs": defs,
    }
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


PARTS = {"families": families, "commands": commands}


def filled(text: str) -> str:
    for name, make in PARTS.items():
        text = re.sub(f"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m, make=make: m[1] + make() + "\n" + m[2], text, flags=re.S)
    return text


@pytest.mark.parametrize("name", PARTS)
def test_readme_tables_are_fresh(name):
    assert PARTS[name]() in README.read_text(encoding="utf-8"), "run `make docs`"


def test_schema_is_fresh():
    assert SCHEMA.read_text(encoding="utf-8") == schema(), "run `make docs`"


def test_links_of_the_docs_lead_somewhere():
    for page in [README, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_tree_of_the_readme_is_true():
    text = README.read_text(encoding="utf-8")
    tree = text.split("<!-- tree -->")[1].split("<!-- end tree -->")[0]
    for name in re.findall(r"^ {4}(\w+(?:\.py|/))", tree, re.M):
        assert (ROOT / "genctl" / name).exists(), f"the tree names genctl/{name}"


def test_every_command_has_an_example():
    import typer

    from genctl.cli.app import app

    for name, command in typer.main.get_command(app).commands.items():
        for sub, inner in getattr(command, "commands", {name: command}).items():
            assert "Example: genctl" in (inner.help or ""), f"{sub} has no example"


def test_make_help_lists_the_targets():
    out = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in out.splitlines()} >= {"demo", "test", "install", "slow", "lint"}


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")
    print("wrote README.md and docs/recipe.schema.json", file=sys.stderr)
