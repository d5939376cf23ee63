"""The typed whole of a YAML file: which family, on which data, trained, guarded and sampled how.

A recipe states only what differs from the defaults, which live in the classes here, in the family's file and in the dataset's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, create_model

from genctl import catalog, config
from genctl.config import Settings, Tree, run_key
from genctl.contract import Part
from genctl.errors import GenctlError


class LoRA(Settings):
    """Corrections of low rank, which are trained in place of the matrices that they correct (Hu et al. 2021)."""

    rank: int = Field(8, ge=1, le=4096)
    """Of a correction: rank (in + out) numbers in place of in x out."""
    alpha: float = Field(16.0, gt=0, le=1e4)
    """A correction counts alpha / rank times."""
    targets: list[str] = Field(default_factory=list, max_length=64)
    """Which linear layers, by a part of their dotted names, such as attention.qkv or down; none: all of the repeated blocks."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of what a correction reads."""
    keep: list[str] = Field(default_factory=list, max_length=64)
    """What is trained whole beside them, by a part of its dotted name: a new head, say."""


class Train(Settings):
    """How the parameters are fitted. Keys marked run_key may change when a run is resumed."""

    steps: int = run_key(1000, ge=1, le=10**9)
    """Optimiser steps in all."""
    batch: int = Field(64, ge=1, le=10**6)
    """Examples a step, over all ranks and microbatches."""
    accumulate: int = Field(1, ge=1, le=10**4)
    """Microbatches a step is computed in: less memory, the same gradient."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Everything random in training is a function of it."""
    init_from: str = run_key("")
    """A checkpoint, or a folder of Hugging Face, whose tensors of the same name and shape a new run starts from."""
    freeze: list[str] = Field(default_factory=list, max_length=64)
    """What is not trained, by a part of its dotted name: embed, net.blocks.0."""
    lora: LoRA | None = None
    """Train corrections of low rank in place of matrices."""
    optimizer: Literal["adamw", "muon", "sgd"] = "adamw"
    """muon: orthogonalised momentum for matrices of hidden layers, AdamW for the rest (https://kellerjordan.github.io/posts/muon)."""
    lr: float = Field(1e-3, ge=0, le=100)
    """Learning rate after the warm-up."""
    lr_of: dict[str, float] = Field(default_factory=dict)
    """Learning rates of single players, by name."""
    lr_muon: float = Field(0.02, ge=0, le=100)
    """Learning rate of the matrices that muon trains."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment; for sgd the first is the momentum."""
    eps: float = Field(1e-8, gt=0, le=1)
    """AdamW's epsilon."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    """Decoupled weight decay of the matrices; vectors (biases, gains) never decay."""
    warmup: int = Field(0, ge=0)
    """Steps of linear warm-up."""
    decay: Literal["none", "linear", "cosine", "wsd"] = "none"
    """How the rate falls after the warm-up; wsd: not before the last fifth of the steps, and then in a line (https://arxiv.org/abs/2404.06395)."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """The share of the rate left at the last step of a decay."""
    clip: float = Field(0.0, ge=0)
    """Largest norm of a player's gradient; 0: no limit."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the average of the weights that is sampled from and saved; 0: none."""
    precision: Literal["fp32", "bf16", "fp16"] = run_key("fp32")
    """Arithmetic of the forward pass (autocast); weights stay float32."""
    recompute: bool = run_key(False)
    """Compute what the repeated parts keep for the backward pass again there: less memory, a third more time, the same gradient."""
    compile: bool = run_key(False)
    """Compile the losses with torch.compile."""
    deterministic: bool = run_key(False)
    """Ask torch for deterministic kernels (CUDA)."""
    threads: int = run_key(0, ge=0, le=4096)
    """CPU threads; 0: torch's choice."""
    save_every: int = run_key(0, ge=0)
    """Steps between checkpoints; 0: a tenth of the run. The last step is always saved."""
    keep: int = run_key(3, ge=1)
    """Newest checkpoints to keep, beside the one with the lowest held-out loss."""
    log_every: int = run_key(0, ge=0)
    """Steps between lines of the journal; 0: a hundredth of the run, at most 100."""
    sample_every: int = run_key(0, ge=0)
    """Steps between previews drawn from fixed noise; 0: with each checkpoint."""
    valid_every: int = run_key(0, ge=0)
    """Steps between validations; 0: with each checkpoint."""
    valid_batches: int = run_key(20, ge=0)
    """Batches a validation runs over; 0: no validation."""


class Guard(Settings):
    """What to do when training goes wrong."""

    nonfinite: Literal["stop", "skip"] = run_key("stop")
    """A loss or gradient that is not finite: stop with the last good weights, or leave the step out."""
    collapse: Literal["ignore", "warn", "stop"] = run_key("warn")
    """Previews that are all alike, three checks in a row."""


class Limits(Settings):
    """Resource limits."""

    memory_gb: float = run_key(0.0, ge=0)
    """Address space the process may use on a CPU; 0: no limit."""
    parameters: int = run_key(2_000_000_000, ge=1)
    """Largest number of parameters to build."""


class Expect(Settings):
    """What the recipe is known to reach, and what others report."""

    targets: dict[str, Annotated[str, Field(pattern=r"^(<=|>=|<|>) *-?[0-9.]+(e-?[0-9]+)?$")]] = Field(min_length=1)
    """By metric of `genctl list metrics`, or one field of its result: `nll.nats: "<= 87.5"`."""
    minutes: float = Field(gt=0)
    """Training time on two CPU cores."""
    published: str = ""
    """The figure others report."""
    source: str = ""
    """Where they report it."""
    protocol: str = ""
    """Split, estimator, number of samples."""
    n: int = Field(0, ge=0)
    """Samples or examples to score; 0: the metric's own."""


@dataclass(frozen=True)
class Recipe:
    """A validated recipe."""

    family: str
    data: Any
    model: Any
    train: Train
    sample: Any
    guard: Guard
    limits: Limits
    expect: Expect | None

    def plain(self) -> dict[str, Any]:
        """The resolved whole as a plain tree, which `from_plain` reads back."""
        sections = {k: getattr(self, k).model_dump(mode="json") for k in ("data", "model", "train", "sample", "guard", "limits")}
        return {"family": self.family, **sections} | ({"expect": self.expect.model_dump(mode="json")} if self.expect else {})

    def written(self) -> dict[str, Any]:
        """The same as a file to start anew from: where a tokeniser was trained, it is trained again."""
        plain = self.plain()
        if str(plain["data"].get("tokenizer")).startswith("{"):
            plain["data"]["tokenizer"] = None
        return plain


class _Whole(Settings):
    """The sections together; they have no docstrings of their own to look for in the source."""

    model_config = ConfigDict(use_attribute_docstrings=False)


SECTIONS = ("family", "data", "model", "train", "sample", "guard", "limits", "expect")


def resolve(tree: Tree) -> Recipe:
    """A Tree as a Recipe; every mistake at once as one GenctlError (config)."""
    cls, family = None, tree.value.get("family")
    if not isinstance(family, str):
        tree.wrong(("family",), "this key is needed: a name of `genctl list families`")
    else:
        cls = _entry(tree, "families", ("family",), family)
    data = tree.value.get("data")
    reader = None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        tree.wrong(("data",), "this section needs a name of `genctl list data`, as in {name: digits}")
    else:
        reader = _entry(tree, "data", ("data", "name"), data["name"])
    whole: Any = create_model(
        "Whole",
        __base__=_Whole,
        family=(Any, ...) if not cls else (str, ...),
        data=(reader.Config if reader else Any, ...),
        model=(cls.Config, cls.Config.model_construct())
        if cls and not _needs(cls.Config)
        else (cls.Config if cls else Any, ... if cls else None),
        train=(Train, Train()),
        sample=(getattr(cls, "Draw", Settings), getattr(cls, "Draw", Settings)()) if cls else (Any, None),
        guard=(Guard, Guard()),
        limits=(Limits, Limits()),
        expect=(Expect | None, None),
    )
    found: Any = config.validate(tree, whole)
    tree.check()
    return Recipe(**{k: getattr(found, k) for k in SECTIONS})


def _needs(settings: type[Settings]) -> bool:
    return any(f.is_required() for f in settings.model_fields.values())


def _entry(tree: Tree, room: str, key: config.Key, name: str) -> Any:
    try:
        return catalog.family(name) if room == "families" else catalog.load(room, name)
    except GenctlError as e:
        tree.wrong(key, e.lines[0])
        return None


def find(name: str) -> Path:
    """A recipe file: a path, or the name of a shipped one."""
    path, shipped = Path(name), catalog.recipes()
    return shipped[name] if name in shipped and not path.exists() else path


def read(name: str, overrides: list[tuple[str, str | None]] | None = None) -> tuple[Recipe, Tree]:
    """The recipe at a path or of a shipped name, with overrides (text, what said so) applied before validation."""
    tree = config.read(find(name))
    for text, source in overrides or []:
        config.override(tree, text, source)
    return resolve(tree), tree


def from_plain(plain: dict[str, Any]) -> Recipe:
    """A recipe out of a checkpoint. Raises GenctlError (config)."""
    return resolve(Tree(plain))


def changes(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Keys that differ between two plain recipes: (those that bend the path of training, those that may change on resume)."""
    a, b = config.flat(old), config.flat(new)
    free = {
        f"{s}.{k}" for s, cls in (("train", Train), ("guard", Guard), ("limits", Limits)) for k in cls.model_fields if is_run_key(cls, k)
    }
    differ = [
        k for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k) and not (k.startswith("data.") and k.endswith(("path", "tokenizer")))
    ]
    loose = [k for k in differ if k in free or k.split(".")[0] in ("expect", "sample", "limits")]
    return [k for k in differ if k not in loose], loose


def is_run_key(cls: type[Settings], name: str) -> bool:
    extra = cls.model_fields[name].json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("run_key"))


def parts(settings: Settings) -> dict[str, Part]:
    """The models inside a model, by the key that names them."""
    return {k: v for k in type(settings).model_fields if isinstance(v := getattr(settings, k), Part)}


def fill(plan: Recipe, look: Callable[[str], tuple[str, dict[str, Any], dict[str, Any]]]) -> Recipe:
    """The recipe with every Part that is only a path written out: look(path) answers its family, settings and spec."""
    found = {}
    for key, part in parts(plan.model).items():
        if not part.path or part.spec:
            continue
        family, settings, spec = look(part.path)
        if part.model or part.family not in ("", family):
            raise GenctlError(
                "config",
                f"model.{key}: family and settings come from the checkpoint, a {family}: give its path alone",
                f"model.{key}={{path: ...}}",
            )
        found[key] = Part(family=family, model=settings, spec=spec, path=part.path)
    return replace(plan, model=plan.model.model_copy(update=found)) if found else plan
