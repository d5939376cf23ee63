"""The house rules, enforced: imports point downwards, every family has a recipe and a test, the command line starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from genctl import catalog

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"errors"},
    {"config", "catalog", "header"},
    {"contract", "durable"},
    {"powers"},
    {"device", "maths", "media"},
    {"nets"},
    {"rewards"},
    {"families", "data", "metrics"},
    {"recipe"},
    {"checkpoint"},
    {"training"},
    {"tasks"},
    {"cli"},
]
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(p for p in (ROOT / "genctl").rglob("*.py") if p.name not in ("__main__.py",) and p != ROOT / "genctl" / "__init__.py")


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "genctl":
            found += [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == "genctl"]
    return found


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "genctl").with_suffix("").parts[0]


def test_every_file_stands_in_a_room():
    assert {room_of(p) for p in FILES} <= FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "genctl")))
def test_imports_point_downwards(path):
    mine = room_of(path)
    for name in imports(path):
        room = name.split(".")[1] if "." in name else ""
        if room in FLOOR:
            assert FLOOR[room] < FLOOR[mine] or room == mine, f"{path.name} ({mine}) imports {name}"


def test_no_family_is_named_outside_its_room():
    """The loop and the tasks know no family."""
    names = set(catalog.entries("families"))
    for path in FILES:
        if room_of(path) in ("training", "checkpoint", "recipe", "contract", "powers"):
            words = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            assert not words & names, f"{path.name} names a family"


@pytest.mark.parametrize("name", catalog.entries("families"))
def test_every_family_has_a_recipe_and_a_test(name):
    group = catalog.entry("families", name).group
    assert (ROOT / "tests" / "families" / f"test_{name}.py").exists(), f"tests/families/test_{name}.py is missing"
    if group != "helper":
        from genctl import config

        assert any(config.read(p).value.get("family") == name for p in catalog.recipes().values()), f"no recipe for {name}"


@pytest.mark.parametrize("name", catalog.entries("families"))
def test_every_family_file_holds_its_class(name):
    assert catalog.name_of(catalog.family(name)) == name


@pytest.mark.parametrize("name", catalog.recipes())
def test_every_recipe_is_valid(name):
    from genctl import recipe

    plan, _ = recipe.read(name)
    assert recipe.from_plain(plan.plain()) == plan


LIGHT = """
import sys
from genctl.cli import main
try: main({args!r})
except SystemExit: pass
heavy = sorted({{"torch", "numpy", "pydantic", "safetensors", "PIL", "rich.markdown"}} & set(sys.modules))
print("HEAVY", heavy)
"""


@pytest.mark.parametrize("args", [["--help"], ["--version"], []], ids=str)
def test_the_command_line_starts_light(args):
    out = subprocess.run([sys.executable, "-c", LIGHT.format(args=args)], capture_output=True, text=True, check=True).stdout
    assert out.rstrip().endswith("HEAVY []"), out[-300:]


@pytest.mark.parametrize("args", [["train", "--help"], ["sample", "--help"], ["list", "families"], ["list", "recipes"], ["runs"]], ids=str)
def test_light_commands_do_without_torch(args):
    out = subprocess.run([sys.executable, "-c", LIGHT.format(args=args)], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in out.rstrip().rsplit("HEAVY", 1)[1], out[-300:]


def test_no_code_runs_what_a_file_says():
    """No pickle, no eval, no torch.load: nothing a checkpoint, recipe or archive holds can become code."""
    banned = {"eval", "exec", "pickle", "extractall", "full_load", "unsafe_load"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                f = node.func
                name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
                owner = f.value.id if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) else ""
                assert not (isinstance(f, ast.Name) and name in banned), f"{path}: {name}"
                assert (owner, name) not in {("torch", "load"), ("yaml", "load"), ("pickle", "load"), ("pickle", "loads")}, (
                    f"{path}: {owner}.{name}"
                )
                assert not any(k.arg == "shell" for k in node.keywords), f"{path}: shell="
                assert not any(k.arg == "allow_pickle" and getattr(k.value, "value", None) for k in node.keywords), path
