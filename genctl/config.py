"""YAML to typed settings, with every mistake at once and each as `file:line:column: key: what`.

The file is read from the event stream of PyYAML's pure-Python parser, iteratively and under limits, so that no input can
run code, expand, or exhaust the machine. Scalars follow the YAML 1.2 core schema (`1e-4` is a number, `no` is not a boolean);
what readers of YAML disagree on (`yes`, `010`, `1_000`, `12:30`) is refused with advice instead of guessed.
"""

import difflib
import json
import math
import re
import stat
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from genctl.errors import GenctlError, safe_text

MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_SHOWN = 256 * 1024, 32, 15_000, 10

Key = tuple[str | int, ...]
M = TypeVar("M", bound="Settings")


class Settings(BaseModel):
    """The base of every section of a recipe: frozen, no unknown keys, finite numbers, docstrings as descriptions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
        protected_namespaces=(),
    )


def run_key(default: Any, **bounds: Any) -> Any:
    """A field that may change when a run is resumed, because it does not bend the path that training takes."""
    return Field(default, json_schema_extra={"run_key": True}, **bounds)


@dataclass
class Tree:
    """A recipe before it is typed: plain values, where each key stood, and the mistakes met so far."""

    value: Any = field(default_factory=dict)
    marks: dict[Key, str] = field(default_factory=dict)
    mistakes: list[tuple[str, str]] = field(default_factory=list)  # (where, what)
    sources: set[str] = field(default_factory=set)  # marks that stand for the command line, not for the file

    def where(self, key: Key) -> str:
        """The mark of `key`, or of its nearest ancestor that was written down."""
        while key and key not in self.marks:
            key = key[:-1]
        return self.marks.get(key, "")

    def wrong(self, key: Key, what: str) -> None:
        name = ".".join(map(str, key))
        self.mistakes.append((self.where(key), f"{safe_text(name)}: {what}" if name else what))

    def check(self) -> None:
        """Raises all mistakes as one GenctlError (config), in the order of the file."""
        if not self.mistakes:
            return
        ordered = sorted(dict.fromkeys(self.mistakes), key=lambda m: [int(t) if t.isdigit() else 0 for t in m[0].rsplit(":", 2)[1:]])
        lines = [f"{where}: {what}" if where else what for where, what in ordered]
        id = "usage" if all(where in self.sources for where, _ in self.mistakes) else "config"
        more = [f"and {len(lines) - MAX_SHOWN + 1} more"] if len(lines) > MAX_SHOWN else []
        raise GenctlError(id, lines[: MAX_SHOWN - len(more)] + more)


# --- scalars -----------------------------------------------------------------------------------------------------------------

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **{form: value for word, value in (("null", None), ("true", True), ("false", False)) for form in (word, word.title(), word.upper())},
}
_AMBIGUOUS = (
    (re.compile(r"(?i)yes|no|on|off|y|n"), "write true or false, or quote it if it is text"),
    (re.compile(r"[-+]?0[0-9]+(\.[0-9]*)?"), "numbers have no leading zero; quote it if it is text"),
    (re.compile(r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9]*)?"), "write seconds as one number, or quote it if it is text"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_.]*"), "write the number without underscores, or quote it if it is text"),
    (re.compile(r"(?i)[-+]?\.(inf|nan)|nan|[-+]?inf(inity)?"), "only finite numbers are accepted"),
)


def scalar(text: str) -> Any:
    """The value of an unquoted scalar. Raises ValueError with advice for forms that readers of YAML disagree on."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > 30:
            raise ValueError(f"{safe_text(text, 20)} is too large a number")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"{safe_text(text)} is too large: only finite numbers are accepted")
        return number
    for pattern, advice in _AMBIGUOUS:
        if pattern.fullmatch(text):
            raise ValueError(f"'{safe_text(text)}' means different things to different readers: {advice}")
    return text


# --- reading -----------------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """The text of a recipe; GenctlError no-input, permission or config when it cannot be one."""
    shown = safe_text(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise GenctlError("config", f"{shown}: not a regular file", "give the path of a YAML file")
        with path.open("rb") as f:
            raw = f.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise GenctlError("no-input", f"no recipe at {shown}", "genctl list recipes shows the shipped ones") from None
    except PermissionError:
        raise GenctlError("permission", f"{shown} may not be read", f"chmod +r {shown}") from None
    except (OSError, ValueError) as e:
        raise GenctlError("no-input", f"{shown}: {safe_text(e)}") from None
    if len(raw) > MAX_BYTES:
        raise GenctlError("config", f"{shown}: larger than {MAX_BYTES // 1024} KB", "a recipe states only what differs from the defaults")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise GenctlError(
            "config", f"{shown}: byte 0x{raw[e.start]:02x} at offset {e.start} is not UTF-8", "save the file as UTF-8"
        ) from None


def read(path: Path) -> Tree:
    """A recipe file as a Tree. Mistakes of form raise at once, mistakes of content are collected."""
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "recipe") -> Tree:
    """YAML text as a Tree whose root is a mapping."""
    tree = Tree()
    shown = safe_text(name)

    def at(mark: Any) -> str:
        return f"{shown}:{mark.line + 1}:{mark.column + 1}"

    def fatal(mark: Any, what: str) -> GenctlError:
        return GenctlError("config", f"{at(mark)}: {what}")

    root: list[Any] = []
    stack: list[tuple[Any, Key]] = [(root, ())]  # open containers
    pending: str | None = None  # a mapping key that waits for its value
    duplicate = False
    nodes = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            mark = event.start_mark
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise fatal(mark, "a recipe is one document; remove the second '---'")
                if event.tags or event.version:
                    raise fatal(mark, "directives (%YAML, %TAG) are not accepted")
                continue
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise fatal(mark, "anchors and aliases are not accepted; write the value out")
            if tag := getattr(event, "tag", None):
                raise fatal(mark, f"the tag '{safe_text(tag)}' is not accepted; a recipe holds plain values only")
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
                pending, duplicate = None, False
                continue
            if not isinstance(event, yaml.NodeEvent):
                continue
            nodes += 1
            if nodes > MAX_NODES:
                raise fatal(mark, f"more than {MAX_NODES} values")
            box, base = stack[-1]
            if isinstance(box, dict) and pending is None:  # this node is a key
                if not isinstance(event, yaml.ScalarEvent):
                    raise fatal(mark, "a key must be a plain word")
                if event.value == "<<" and event.style is None:
                    raise fatal(mark, "merge keys are not accepted; write the values out")
                pending, duplicate = event.value, event.value in box
                if duplicate:
                    tree.mistakes.append((at(mark), f"key '{safe_text(event.value)}' appears twice"))
                else:
                    tree.marks[(*base, event.value)] = at(mark)
                continue
            slot: str | int = pending if pending is not None else len(box)
            here: Key = (*base, slot) if box is not root else ()
            if isinstance(box, list):
                tree.marks[here] = at(mark)
            value: Any
            if isinstance(event, yaml.ScalarEvent):
                value = event.value
                if event.style is None:
                    try:
                        value = scalar(event.value)
                    except ValueError as e:
                        tree.mistakes.append((at(mark), f"{safe_text('.'.join(map(str, here)))}: {e}"))
                        pending, duplicate = None, False
                        continue
            else:
                value = {} if isinstance(event, yaml.MappingStartEvent) else []
            if isinstance(box, dict):
                if not duplicate:
                    box[pending] = value
            else:
                box.append(value)
            if isinstance(event, yaml.ScalarEvent):
                pending, duplicate = None, False
            else:
                if len(stack) > MAX_DEPTH:
                    raise fatal(mark, f"nested deeper than {MAX_DEPTH}")
                stack.append((value, here))
                pending, duplicate = None, False
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        raise GenctlError("config", f"{at(mark) if mark else shown}: {safe_text(e.problem or e.context or 'not YAML')}") from None
    except yaml.reader.ReaderError as e:
        raise GenctlError("config", f"{shown}: character {e.position}: {safe_text(e.reason)}") from None
    if root and isinstance(root[0], dict):
        tree.value = root[0]
    elif root and root[0] is not None:
        raise GenctlError("config", f"{shown}:1:1: a recipe is a mapping of sections (family, data, model, train, ...)")
    return tree


def override(tree: Tree, text: str, source: str | None = None) -> None:
    """Applies `a.b=value` to the tree; the value is read by the same rules as the file."""
    source = source or f"override '{safe_text(text)}'"
    path, equals, raw = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise GenctlError("usage", f"{source}: expected section.key=value", "for example train.steps=1000")
    try:
        value = parse(f"x: {raw}", source)
    except GenctlError as e:
        raise GenctlError("usage", f"{source}: the value is not YAML: {e.lines[0].rsplit(': ', 1)[-1]}") from None
    if value.mistakes:
        raise GenctlError("usage", f"{source}: {value.mistakes[0][1].removeprefix('x: ')}")
    put(tree, tuple(keys), value.value.get("x"), source)


def put(tree: Tree, keys: tuple[str, ...], value: Any, source: str) -> None:
    """Sets one value of the tree and remembers who said so."""
    box = tree.value
    for key in keys[:-1]:
        box = box.setdefault(key, {})
        if not isinstance(box, dict):
            raise GenctlError("usage", f"{source}: '{safe_text(key)}' is a value, not a section")
    for known in [k for k in tree.marks if k[: len(keys)] == keys]:
        del tree.marks[known]
    box[keys[-1]] = value
    tree.marks[keys] = source
    tree.sources.add(source)


# --- typing ------------------------------------------------------------------------------------------------------------------


def validate(tree: Tree, cls: type[M]) -> M | None:
    """The tree as `cls`; mistakes are added to the tree, and None returned if there are any."""
    try:
        return cls.model_validate_json(json.dumps(tree.value))
    except ValidationError as e:
        for error in e.errors(include_url=False):
            key = tuple(error["loc"])
            while key and key not in tree.marks and not _written(tree.value, key):
                key = key[:-1]
            tree.wrong(key if error["type"] != "missing" else tuple(error["loc"]), _say(error, cls))
        return None


def inner(cls: type[M], plain: Any, what: str) -> M:
    """A tree inside a section, whose own class is known only by its name. Raises GenctlError (config) that begins each line with `what`."""
    try:
        return cls.model_validate(plain, strict=False)
    except ValidationError as e:
        said = [f"{what}: {'.'.join(map(str, m['loc']))}: {m['msg']}" for m in e.errors(include_url=False)]
        raise GenctlError("config", [safe_text(line) for line in said]) from None


def _written(value: Any, key: Key) -> bool:
    for part in key:
        inside = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not inside:
            return False
        value = value[part]
    return True


def _say(error: Any, cls: type[BaseModel]) -> str:
    """One mistake in the house's words."""
    if error["type"] == "extra_forbidden":
        name = str(error["loc"][-1])
        known = list(_fields_at(cls, error["loc"][:-1]))
        near = difflib.get_close_matches(name, known, 1, 0.5)
        return "unknown key; " + (f"did you mean '{near[0]}'?" if near else "the keys here are: " + ", ".join(known))
    if error["type"] == "missing":
        return "this key is needed"
    said = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected", 1)
    got = error["input"]
    return said if isinstance(got, dict) else f"{said}, got {safe_text(json.dumps(got, ensure_ascii=False, default=str), 60)}"


def _fields_at(cls: Any, loc: Iterable[str | int]) -> Iterable[str]:
    for part in loc:
        found = cls.model_fields.get(str(part)) if isinstance(cls, type) and issubclass(cls, BaseModel) else None
        cls = next((t for t in _leaves(found.annotation) if isinstance(t, type) and issubclass(t, BaseModel)), None) if found else None
    return cls.model_fields if isinstance(cls, type) and issubclass(cls, BaseModel) else ()


def _leaves(annotation: Any) -> Iterable[Any]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for arg in typing.get_args(annotation):
            yield from _leaves(arg)
    else:
        yield annotation


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'train': {'lr': 1}} as {'train.lr': 1}."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {prefix + key: value}
    return out


def dump(tree: Mapping[str, Any], sources: Mapping[Key, str] | None = None) -> str:
    """A plain tree as YAML; `sources` adds `# from: ...` behind the values it names."""
    lines: list[str] = []

    def write(box: Mapping[str, Any], base: Key) -> None:
        for key, value in box.items():
            here = (*base, key)
            pad = "  " * len(base)
            if isinstance(value, Mapping) and value:
                lines.append(f"{pad}{key}:")
                write(value, here)
            else:
                said = _scalar_yaml(value)
                source = (sources or {}).get(here)
                lines.append(f"{pad}{key}: {said}" + (f"  # from: {source}" if source else ""))

    write(tree, ())
    return "\n".join(lines) + "\n"


def _scalar_yaml(value: Any) -> str:
    """One value in flow style, so that `parse` reads back exactly what was written: strings are quoted unless plainly words."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./@+-]*", value):
        try:
            if scalar(value) == value:
                return value
        except ValueError:
            pass
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar_yaml(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar_yaml(k)}: {_scalar_yaml(v)}" for k, v in value.items()) + "}"
    pair = r"\\u(d[89ab]..)\\u(d[c-f]..)"  # JSON spells what lies beyond 16 bits as two halves, YAML as one number
    return re.sub(pair, lambda m: f"\\U{ord(bytes.fromhex(m[1] + m[2]).decode('utf-16-be')):08x}", json.dumps(value))
