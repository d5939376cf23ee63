"""sample: from a checkpoint alone to files of the model's medium, or to tensors in Python."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

import genctl
from genctl import checkpoint, config, device, durable
from genctl.config import Tree
from genctl.contract import Draw, Family, Given, Model, Spec
from genctl.errors import GenctlError, safe_text
from genctl.header import Header
from genctl.maths import decoding, sampling, speculative
from genctl.media import text as letters
from genctl.media import writer
from genctl.nets.symbols import rule
from genctl.powers import Causal
from genctl.recipe import Recipe

LISTING = "samples.json"


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class Sampler:
    """A trained model, ready to sample if it can be sampled from."""

    model: Model
    recipe: Recipe
    spec: Spec
    header: Header

    @classmethod
    def load(cls, path: str | Path, place: str = "cpu", say: Any = _silent) -> "Sampler":
        """From a run, a checkpoint folder or a lone safetensors file. Raises GenctlError (no-input, ckpt-*, device)."""
        where = device.resolve(place).device
        file = durable.locate(Path(path), say)
        model, plan, spec, head = checkpoint.load(file)
        say(f"checkpoint {safe_text(file)}: {plan.family}, step {head.meta.get('step')}")
        return cls(model.to(where), plan, spec, head)

    @property
    def family(self) -> Family:
        """The model as one that can be sampled from. Raises GenctlError (power)."""
        if not isinstance(self.model, Family):
            raise GenctlError("power", f"family '{self.recipe.family}' cannot be sampled from")
        return self.model

    def draw(self, overrides: list[str] | None = None) -> Draw:
        """The recipe's `sample` section with overrides such as `temperature=0.8`. Raises GenctlError (power, usage)."""
        assert self.family
        tree = Tree({"sample": self.recipe.sample.model_dump(mode="json")})
        for change in overrides or []:
            config.override(tree, change if change.startswith("sample.") else f"sample.{change}", f"override '{safe_text(change)}'")
        inner = Tree(tree.value["sample"], {k[1:]: v for k, v in tree.marks.items()})
        found = config.validate(inner, type(self.recipe.sample))
        if found is None:
            raise GenctlError("usage", [f"{where}: sample.{what}" if where else f"sample.{what}" for where, what in inner.mistakes])
        return found  # type: ignore[no-any-return]

    def stream(self, n: int, seed: int = 0, given: Mapping[str, Tensor] | None = None, draw: Draw | None = None) -> Iterator[Tensor]:
        """Pieces (m, *shape) of n samples; sample i depends on the seed, i and draw.chunk alone."""
        return sampling.chunks(self.family, n, draw or self.recipe.sample, seed, self.given(n, given))

    def sample(self, n: int = 1, seed: int = 0, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """(n, *shape) samples on the CPU, in the data's scale."""
        return torch.cat(list(self.stream(n, seed, given)))

    def guessed(
        self,
        draft: "Sampler",
        guesses: int,
        n: int,
        seed: int,
        given: Mapping[str, Tensor] | None = None,
        draw: Draw | None = None,
        prompt: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """Pieces of n samples drawn by the guesses of a quicker model, as likely as without. Raises GenctlError (power, usage, prompt-token)."""
        how: Any = (draw or self.recipe.sample).model_copy(update={"chunk": 1})
        for one in (self, draft):
            if not isinstance(one.model, Causal) or not hasattr(how, "beams"):
                raise GenctlError("power", f"family '{one.recipe.family}' does not draw symbol by symbol", "genctl list powers")
        if (self.spec.vocab, self.spec.codec) != (draft.spec.vocab, draft.spec.codec):
            raise GenctlError("usage", "--draft: that model has another vocabulary", "a draft trained on the same data")
        if missing := set(draft.model.conditions) - set(self.model.conditions):
            raise GenctlError("usage", f"--draft: that model is conditional on '{min(missing)}', this one is not", "another draft")
        length = how.length or self.spec.size
        for one in (self, draft):
            if (room := one.window(length)) < length:
                raise GenctlError(
                    "usage", f"{length} symbols are more than family '{one.recipe.family}' reads at once, {room}", f"length={room}"
                )

        def drawn(m: int, how: Any, given: Given | None) -> Tensor:
            start = None if prompt is None else prompt[None].to(self.model.device)
            model, quick = cast(Causal, self.model), cast(Causal, draft.model)
            x = speculative.rows(model, quick, m, length, how, guesses, end=self.spec.end, given=given, prompt=start)
            return x.view(m, *self.spec.shape) if length == self.spec.size else x

        draft.model.eval()
        return sampling.chunks(self.family, n, how, seed, self.given(n, given), drawn)

    def window(self, length: int) -> int:
        """How many symbols the model reads at once when rows of `length` are drawn."""
        model: Any = self.model
        return int(model.window(length)) if hasattr(model, "window") else self.spec.size

    def given(self, n: int, given: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """What to condition on, for n samples: as asked, and class labels in turn where the model needs one that was not."""
        out = dict(given or {})
        for name in out:
            if name not in self.model.conditions:
                able = ", ".join(self.model.conditions) or "nothing"
                raise GenctlError("power", f"this model is not conditional on '{safe_text(name)}'; it is conditional on {able}")
        for name in self.model.conditions:
            spec = self.spec.given[name]
            if name not in out and not spec.shape and spec.vocab:
                out[name] = torch.arange(n) % spec.vocab
            elif name not in out:
                raise GenctlError(
                    "usage",
                    f"this model needs '{name}' to sample",
                    f"--given FILE.npz with an array '{name}'" + (", or genctl translate" if spec.media in ("image", "text") else ""),
                )
        return out

    def text(self, row: Tensor, draw: Draw | None = None, behind: int = 0) -> str:
        """What a row of symbols says, as far as it was asked for; the first `behind` symbols are a prompt."""
        how = draw or self.recipe.sample
        if not isinstance(how, decoding.Draw):
            return letters.decode(row, self.spec)
        row, asked = row.flatten(), rule(how, self.spec)
        return letters.shown(row[: behind + asked.count(row[behind:])] if asked else row, self.spec, behind, how.stop)

    def label(self, value: str) -> dict[str, Tensor]:
        """--label as `given`: a class number or name."""
        spec = self.spec.given.get("label")
        if spec is None or "label" not in self.model.conditions:
            raise GenctlError("power", "this model is not conditional on a class label")
        names = [str(c) for c in spec.codec.get("names", [])]
        index = names.index(value) if value in names else int(value) if value.isdecimal() and len(value) < 10 else -1
        if not 0 <= index < spec.vocab:
            raise GenctlError(
                "usage",
                f"--label {safe_text(value)}: expected 0 to {spec.vocab - 1}" + (f" or one of {', '.join(names[:20])}" if names else ""),
            )
        return {"label": torch.tensor([index])}

    def note(self, seed: int) -> dict[str, Any]:
        """What every generated file says of itself."""
        return {
            "generated": True,
            "by": f"genctl {genctl.__version__}",
            "family": self.recipe.family,
            "step": self.header.meta.get("step"),
            "checkpoint": self.header.digest,
            "seed": seed,
        }


def read_given(path: Path, sampler: Sampler) -> dict[str, Tensor]:
    """The arrays of an .npz, each as the Spec of its name promises. Raises GenctlError (no-input, data-format, data-mismatch)."""
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {k: torch.from_numpy(arrays[k]) for k in arrays.files}
    except FileNotFoundError:
        raise GenctlError("no-input", f"no such file: {safe_text(path)}") from None
    except Exception as e:  # whatever numpy says of a damaged file is the file's fault
        raise GenctlError("data-format", f"{safe_text(path)}: not an npz of plain arrays: {safe_text(e)}") from None
    for name, value in found.items():
        spec = sampler.spec.given.get(name)
        if spec is None or tuple(value.shape[1:]) != spec.shape:
            wanted = f"(n, {', '.join(map(str, spec.shape))})" if spec else "nothing of that name"
            raise GenctlError(
                "data-mismatch", f"{safe_text(path)}: '{safe_text(name)}' has shape {tuple(value.shape)}, this model takes {wanted}"
            )
        if spec.vocab and not ((value >= 0) & (value < spec.vocab)).all():
            raise GenctlError("data-mismatch", f"{safe_text(path)}: '{safe_text(name)}' must lie in 0 to {spec.vocab - 1}")
        found[name] = value.long() if spec.vocab else value.float()
    return found


def default_out(ckpt: Path, sampler: Sampler, seed: int, what: str = "") -> Path:
    """Beside the run's previews; in ./samples for a checkpoint that lies elsewhere. `what`: the command, where it is not sample."""
    name = f"step-{sampler.header.meta.get('step', 0):010d}-seed-{seed}" + (f"-{what}" if what else "")
    return ckpt / "samples" / name if (ckpt / "checkpoints").is_dir() else Path("samples") / name


def sample_to_files(
    sampler: Sampler, pieces: Iterator[Tensor], n: int, out: Path, seed: int, text: Callable[[int, Tensor], str]
) -> list[Path]:
    """Streams n samples into a folder and returns the files, the one to look at first; the last is samples.json.

    `out` ending in .npz writes one compressed array instead. text: what sample i says, for models of text. Raises GenctlError
    (out-exists, out-unwritable).
    """
    note = sampler.note(seed)
    if out.suffix != ".npz":
        vacant(out)
    pieces = itertools.chain([next(pieces)], pieces)  # what cannot be drawn leaves no files
    if out.suffix == ".npz":
        with writable(out):
            return [npz(out, note, x=torch.cat(list(pieces)))]

    def files(folder: Path) -> list[Path]:
        target: Any = writer(sampler.spec).open_writer(folder, sampler.spec, note)
        done = 0
        for piece in pieces:
            if sampler.spec.media == "text":
                for i, row in enumerate(piece, done):
                    target.write(text(i, row))
            else:
                target.add(piece)
            done += len(piece)
        paths: list[Path] = target.close()
        return paths

    return fill(out, {**note, "n": n}, files)


@contextlib.contextmanager
def writable(out: Path) -> Iterator[None]:
    """What the system says of a place that cannot be written, in the house's words. Raises GenctlError (out-unwritable)."""
    try:
        yield
    except OSError as e:
        raise GenctlError("out-unwritable", f"{safe_text(out)} cannot be written: {safe_text(e.strerror)}", "give another --out") from None


def vacant(out: Path) -> None:
    """Raises GenctlError (out-exists, out-unwritable) for what holds other things than samples."""
    with writable(out):
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / LISTING).exists())):
            raise GenctlError("out-exists", f"{safe_text(out)} is a file, or holds other things than samples", "give another --out")


def fill(out: Path, note: dict[str, Any], files: Callable[[Path], list[Path]]) -> list[Path]:
    """Calls `files` on an empty folder and lists what it wrote, the file to look at first in front; the last is samples.json.

    Files of an earlier call are replaced; a folder with anything else is left alone. Raises GenctlError (out-exists, out-unwritable).
    """
    vacant(out)
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        for old in _listed(out):
            old.unlink(missing_ok=True)
        paths = files(out)
        listing = out / LISTING
        listing.write_text(json.dumps({**note, "files": [p.relative_to(out).as_posix() for p in paths]}, indent=1) + "\n", encoding="utf-8")
        return [*paths, listing]


def _listed(folder: Path) -> list[Path]:
    """The files of an earlier call, by its own listing."""
    try:
        names = json.loads((folder / LISTING).read_text(encoding="utf-8"))["files"]
        return [folder / name for name in names if isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def npz(out: Path, note: dict[str, Any], **arrays: Tensor) -> Path:
    """One compressed file of arrays that says what made it."""
    import numpy as np

    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, genctl=np.array(json.dumps(note)), **{k: v.numpy() for k, v in arrays.items()})  # type: ignore[arg-type]
    return out
