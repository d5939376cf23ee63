"""eval: opens the data, draws the samples once, and gives each metric what it asks for; every figure leaves with a stamp."""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from genctl import catalog, checkpoint, device, metrics
from genctl.contract import Batch, Model, Progress, Spec
from genctl.data import Dataset, Split, fingerprint, tensors
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.metrics import Case, Extractor, Likelihood, Score, _inception
from genctl.powers import Causal, LogProb
from genctl.tasks import audit, examples, judge, readback, stamp
from genctl.tasks.sample import Sampler

SAMPLES, REFERENCE, TRAIN = 10_000, 50_000, 100_000
CHAINS, STEPS = 50, 2000  # whose mixing is measured
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for. `folder`: where pictures go."""

    metrics: list[str]
    ckpt: Path | None = None
    samples: Path | None = None
    data: str | None = None
    n: int | None = None
    weights: Path | None = None
    resize: str = "pytorch-fid"
    seed: int = 0
    split: str = "test"
    fail_if: list[str] = field(default_factory=list)
    draw: list[str] = field(default_factory=list)
    templates: Path | None = None
    examples: Path | None = None
    form: str = ""
    device: str = "auto"
    folder: Path | None = None


class Columns:
    """An Extractor for rows of numbers: the rows themselves."""

    name, sha256, resize, accuracy = "columns", "", "none", None

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1).float()


@dataclass
class Desk:
    """Everything that metrics may ask for, each made when first asked."""

    ask: Request
    say: Say
    memo: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def place(self) -> torch.device:
        return device.resolve(self.ask.device).device

    @cached_property
    def sampler(self) -> Sampler | None:
        return Sampler.load(self.ask.ckpt, self.ask.device, self.say) if self.ask.ckpt else None

    @cached_property
    def source(self) -> tuple[Any, Dataset]:
        """(settings, dataset); the checkpoint's own unless --data names another."""
        if not self.ask.data and not self.sampler:
            raise GenctlError("usage", "--samples needs --data: what they are to be compared with", "for example --data mnist")
        return examples.open_data(self.sampler, self.ask.data)

    @property
    def dataset(self) -> Dataset:
        return self.source[1]

    @cached_property
    def split(self) -> Split:
        return self.dataset.split(self.ask.split)

    @cached_property
    def drawn(self) -> tuple[Tensor, dict[str, Any]]:
        """The samples, and what is known of them."""
        n = self.ask.n
        if self.ask.samples:
            x, note = readback.read(self.ask.samples, self.dataset.spec, n)
            return x, {"checkpoint": note.get("checkpoint"), "family": note.get("family")}
        assert self.sampler
        pairs = self.pairs(n or SAMPLES)
        given = {k: pairs.given[k] for k in self.sampler.model.conditions} if pairs else None
        n, start = len(pairs) if pairs else n or SAMPLES, time.monotonic()
        self.say(f"drawing {n:,} samples ...")
        draw = self.sampler.draw(self.ask.draw)
        pieces, said = [], start
        for piece in self.sampler.stream(n, self.ask.seed, given, draw):
            pieces.append(piece)
            if time.monotonic() - said > 15:
                said = time.monotonic()
                self.say(f"drawn {sum(map(len, pieces)):,} of {n:,}, {said - start:.0f} s")
        self.say(f"drew {n:,} samples in {time.monotonic() - start:.0f} s")
        return torch.cat(pieces), {"draw": draw.model_dump(mode="json")}

    def pairs(self, n: int) -> Batch | None:
        """For a model that needs more than a class to draw from: n examples of the split, or all there are, to draw from."""
        conditions = self.sampler.model.conditions if self.sampler else ()
        kinds = [self.dataset.spec.given[k] for k in conditions]
        return None if all(s.vocab and not s.shape for s in kinds) else self.some(self.split, n)

    def whole(self) -> Callable[[], Iterator[tuple[Tensor, Batch]]] | str:
        """Each test picture as large as it is, and what the model makes of its source; or the reason why not."""
        sampler, pictures = self.sampler, self.dataset.whole
        if sampler is None:
            return "needs the model that restores the pictures: give --ckpt"
        if pictures is None or tuple(sampler.model.conditions) != ("source",):
            return "needs a model that restores pictures, and whole ones to restore: data such as spoiled, of photos"

        def each() -> Iterator[tuple[Tensor, Batch]]:
            draw = sampler.draw([*self.ask.draw, "chunk=1"])
            for k, batch in enumerate(pictures()):
                yield torch.cat(list(sampler.stream(1, noise.seed_of(self.ask.seed, k), {"source": batch.given["source"]}, draw))), batch

        return each

    def some(self, split: Split, n: int) -> Batch:
        """n examples of a split: all in their order, or n of them by a fixed permutation."""
        with noise.stream(self.ask.seed, "reference"):
            return split.get(chosen(split, n))

    @cached_property
    def reference(self) -> Batch:
        return self.some(self.split, REFERENCE)

    @cached_property
    def train_batch(self) -> Batch:
        """Training examples in an order of their own, so that the first n are like any n."""
        split = self.dataset.train
        rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))[:TRAIN]
        with noise.stream(self.ask.seed, "train"):
            return split.get(rows)

    @property
    def train(self) -> Tensor:
        return self.train_batch.x

    # --- classes ---

    def labels(self) -> Tensor | str:
        """The classes that the samples were asked for, or the reason why there are none."""
        if self.sampler is None:
            return "samples alone do not say what they were asked for: give --ckpt"
        if "label" not in self.sampler.model.conditions:
            return "this model cannot be asked for a class: train it with model.conditional=true"
        n = self.ask.n or SAMPLES
        return self.sampler.given(n, None)["label"]

    def fit(self, x: Tensor, label: Tensor) -> Callable[[Tensor], Tensor]:
        """A classifier of these examples, trained as the data set's own is; of as many kinds as there are where the set has no labels."""
        spec = self.dataset.spec
        if judge.TARGET not in spec.given:
            spec = replace(spec, given={judge.TARGET: Spec(shape=(), vocab=int(label.max()) + 1)})
        data = replace(self.dataset, spec=spec, train=tensors(x, {judge.TARGET: label}))
        self.say(f"training a classifier on {len(x):,} examples ...")
        return judge.Judge(judge.fit(judge.plan_for(self.source[0], data), data, self.place), self.place).predict

    # --- extractors ---

    @cached_property
    def inception(self) -> _inception.Inception | str:
        """Inception, or the reason why not."""
        if why := _inception.reason_not(self.dataset.spec):
            return why
        named, home = self.ask.weights or os.environ.get("GENCTL_INCEPTION_WEIGHTS"), catalog.cache_home() / "inception.safetensors"
        if not named and not home.exists():
            return "no Inception weights here: give --weights FILE.safetensors or set $GENCTL_INCEPTION_WEIGHTS (genctl data prepare inception)"
        return _inception.read(Path(named or home), self.ask.resize, self.place)

    @cached_property
    def classifier(self) -> judge.Judge | str:
        """The classifier of the data set, or the reason why not."""
        return judge.reason_not(self.dataset) or judge.judge(self.source[0], self.dataset, self.place, self.say)

    def extractor(self, kind: str) -> Extractor | str:
        if kind == "inception":
            return self.inception
        if kind == "classifier":
            return self.classifier
        if self.dataset.spec.kind == "vector":
            return Columns()
        return self.inception if not isinstance(self.inception, str) else self.classifier

    def features(self, extractor: Extractor, side: str) -> Tensor:
        """Features of one side, computed once; those of data are kept in the cache under a name made of their contents."""
        key = (side, extractor.name, extractor.sha256)
        if key not in self.memo:
            x = {"samples": lambda: self.drawn[0], "reference": lambda: self.reference.x, "train": lambda: self.train[: self.most]}[side]()
            self.memo[key] = extractor(x) if side == "samples" else self.cached(extractor, side, x)
        out: Tensor = self.memo[key]
        return out

    @property
    def most(self) -> int:
        """How many training examples the floor is measured on: as many as there are samples."""
        return max(2, len(self.drawn[0]))

    def cached(self, extractor: Extractor, side: str, x: Tensor) -> Tensor:
        if extractor.name == "columns":
            return extractor(x)
        name = stamp.short([extractor.name, extractor.sha256, extractor.resize, fingerprint(x)])
        file = catalog.cache_home() / "features" / f"{name}.safetensors"
        try:
            found = safetensors.torch.load(file.read_bytes())["features"]
            if len(found) == len(x):
                return found
        except Exception:  # absent, or damaged: computed again
            pass
        self.say(f"{extractor.name} features of {len(x):,} {side} examples ...")
        found = extractor(x)
        judge.write(file, safetensors.torch.save({"features": found.contiguous()}), self.say)
        return found

    # --- likelihood ---

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) nats on the CPU."""
        assert self.sampler
        model: Any = self.sampler.model
        return examples.blocks(model, batch, self.ask.seed, "log_prob", model.log_prob)

    def likelihood(self, values: bool) -> Likelihood | str:
        """The model's log_prob, over held-out data if `values`; or the reason why not."""
        if self.sampler is None:
            return "samples alone have no likelihood: give --ckpt"
        model = self.sampler.model
        if not isinstance(model, LogProb):
            return f"family '{self.sampler.recipe.family}' has no log_prob"
        known, first, learned, error, above = None, None, None, 0.0, None
        if values:
            batch = self.some(self.split, self.ask.n or len(self.split))
            self.say(f"log likelihood of {len(batch):,} {self.ask.split} examples ...")
            known = self.log_prob(batch)
            partition, reverse = (getattr(model, name, None) for name in ("log_partition", "log_partition_above"))
            log_z, error = partition() if partition else (0.0, 0.0)
            if error and reverse:
                self.say("log Z by annealing in reverse ...")
                most, spread = reverse()
                above = (most - log_z, math.hypot(error, spread))
            if isinstance(model, Causal) and self.dataset.spec.vocab and self.dataset.spec.end is None:
                first = self.first(model, batch)
            learned = batch.given.get(getattr(model, "learn", ""))
            self.memo["likelihood"] = batch
        label = str(model.log_prob_is).replace("-k", f"-{getattr(model.config, 'importance', 'k')}")
        return Likelihood(
            values=known, first=first, learned=learned, is_=label, error=error, above=above, of=lambda x: self.log_prob(Batch(x=x))
        )

    def first(self, model: Any, batch: Batch) -> Tensor:
        """(B,) nats of the first symbol, before which the model has seen nothing."""
        given = {k: batch.given[k].to(model.device) for k in model.conditions}
        with torch.no_grad(), noise.stream(self.ask.seed, "first"):
            logits, _ = model.start(len(batch) if given else 1, given or None)
        nats: Tensor = logits.float().log_softmax(-1).cpu().expand(len(batch), -1)
        return nats.gather(1, batch.x.flatten(1)[:, :1])[:, 0]

    # --- what a model tells ---

    def told(self) -> dict[str, Any]:
        """The model's word on what stands beside the reference. Raises GenctlError (power)."""
        assert self.sampler
        examples.need(self.sampler, "predict")
        model: Any = self.sampler.model
        if model.target not in self.reference.given:
            raise GenctlError("power", f"this model tells '{model.target}', which does not stand beside this data")
        if "told" not in self.memo:
            self.memo["told"] = examples.blocks(model, self.reference, self.ask.seed, "predict", model.predict).float()
        return {"target": model.target, "predictions": self.memo["told"]}

    def loss(self) -> tuple[float, float]:
        """The mean of the model's loss over the reference, and its standard error. Raises GenctlError (power)."""
        assert self.sampler
        model = self.sampler.model
        if type(model).loss is Model.loss:
            raise GenctlError("power", f"family '{self.sampler.recipe.family}' has no loss that means something on held-out data")
        pairs = []
        for i, part in enumerate(self.reference.split(-(-len(self.reference) // examples.BLOCK))):
            with torch.no_grad(), noise.stream(self.ask.seed, "loss", i):
                found = model.loss(part.map(lambda t: t.to(model.device)), Progress(1, 1))
            pairs.append((float(found.total), float(len(part) if found.weight is None else found.weight)))
        value, weight = torch.tensor(pairs, dtype=torch.float64).unbind(1)
        mean = (value * weight).sum() / weight.sum()
        spread = ((value - mean) * weight / weight.mean()).std() / len(value) ** 0.5 if len(value) > 1 else torch.tensor(math.nan)
        return float(mean), float(spread)

    def encoder(self) -> Callable[[Batch], Tensor]:
        """Raises GenctlError (power)."""
        assert self.sampler
        sampler = self.sampler
        examples.need(sampler, "encode")
        return lambda batch: examples.encode(sampler, batch, self.ask.seed)

    def chains(self) -> Tensor:
        """(STEPS, CHAINS, *shape) states of the chains that the model draws by. Raises GenctlError (power)."""
        assert self.sampler
        examples.need(self.sampler, "walk")
        model: Any = self.sampler.model
        model.eval()
        self.say(f"{CHAINS} chains of {STEPS} steps ...")
        with torch.no_grad(), noise.stream(self.ask.seed, "chains"):
            walk = model.walk(CHAINS, self.sampler.draw(self.ask.draw))
            return torch.stack([x.cpu() for x in itertools.islice(walk, STEPS)])

    def filled(self) -> dict[str, Any]:
        """What the training split shows of the rows of this one, and the mean of x given that. Raises GenctlError (power)."""
        assert self.sampler
        examples.need(self.sampler, "encode", "decode")
        train, rows = self.dataset.train, len(self.dataset.train)
        if rows != len(self.split):
            raise GenctlError("power", "the splits of this data are not parts of the same rows")
        shown = train.batch(0, rows)
        code = examples.encode(self.sampler, shown, self.ask.seed)
        return {"reference": self.split.batch(0, rows), "shown": shown, "filled": examples.decode(self.sampler, code, {}, self.ask.seed)}

    def energy(self) -> Callable[[Batch], Tensor]:
        """Raises GenctlError (power)."""
        assert self.sampler
        examples.need(self.sampler, "energy")
        model: Any = self.sampler.model
        return lambda batch: examples.blocks(model, batch, self.ask.seed, "energy", model.energy)

    # --- one metric ---

    def measure(self, name: str) -> dict[str, Any]:
        """A metric's figures with their stamp, or the reason why there are none."""
        try:
            return self.figures(name)
        except GenctlError as e:
            if e.id != "power":
                raise
            return Score(value=None, reason=e.lines[0]).plain()

    def figures(self, name: str) -> dict[str, Any]:
        metric = metrics.load(name)
        if {"templates", "examples"} & metric.NEEDS:
            return audit.measured(name, metric, self.sampler, self.likelihood(values=False), self.ask)
        needs, facts = metric.NEEDS, {"metric": name, "n_reference": len(self.reference)}
        made: dict[str, Any] = {"spec": self.dataset.spec, "reference": self.reference, "seed": self.ask.seed, "memo": self.memo}
        made |= {"truth": self.dataset.truth, "folder": self.ask.folder or Path()}
        if "truth" in needs and self.dataset.truth is None:
            return Score(value=None, reason="the truth behind this data is not known").plain()
        if "features" in needs or "predict" in needs:
            extractor = self.extractor(metric.EXTRACTOR)
            if isinstance(extractor, str):
                return Score(value=None, reason=extractor).plain()
            made |= {"extractor": extractor, "features": lambda side: self.features(extractor, side)}
            made |= {"predict": extractor.predict} if isinstance(extractor, judge.Judge) else {}
            facts["extractor"] = {k: getattr(extractor, k) for k in ("name", "sha256", "accuracy", "resize")}
        if "likelihood" in needs or "log_prob" in needs:
            found = self.likelihood("likelihood" in needs)
            if isinstance(found, Likelihood):
                made["likelihood"] = found
                facts["is"] = found.is_
            elif "likelihood" in needs:
                return Score(value=None, reason=found).plain()
        if "likelihood" in needs:
            made["reference"] = self.memo["likelihood"]
            facts |= {"n": len(made["reference"]), "n_reference": len(made["reference"])}
        if "labels" in needs:
            made["labels"] = self.labels()
            if isinstance(made["labels"], str):
                return Score(value=None, reason=made["labels"]).plain()
        if "fit" in needs:
            made["fit"] = self.fit
        if "pairs" in needs:
            made["pairs"] = self.pairs(self.ask.n or SAMPLES)
            if made["pairs"] is None:
                return Score(value=None, reason="these samples are not drawn from the sources of held-out pairs").plain()
            if self.split.said:
                made["said"] = [self.split.said[i] for i in chosen(self.split, self.ask.n or SAMPLES).tolist()]
        if "whole" in needs:
            made["whole"] = self.whole()
            if isinstance(made["whole"], str):
                return Score(value=None, reason=made["whole"]).plain()
            facts |= {"n": sum(1 for _ in self.dataset.whole()), "n_reference": 0, "whole": True} if self.dataset.whole else {}
        if "codes" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone have no codes: give --ckpt").plain()
            examples.need(self.sampler, "encode")
            made["codes"] = examples.encode(self.sampler, self.reference, self.ask.seed)
            facts["n"] = len(self.reference)
        if "predictions" in needs or "encode" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone tell nothing: give --ckpt").plain()
            made |= self.told() if "predictions" in needs else {"encode": self.encoder()}
            facts["n"] = len(self.reference)
        if "loss" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone have no loss: give --ckpt").plain()
            made["loss"] = self.loss()
            facts["n"] = len(self.reference)
        if "energy" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone have no energy: give --ckpt").plain()
            made["energy"] = self.energy()
            facts["n"] = len(self.reference)
        if "filled" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone fill nothing in: give --ckpt").plain()
            made |= self.filled()
            facts["n"] = len(made["reference"])
        if "chains" in needs:
            if self.sampler is None:
                return Score(value=None, reason="samples alone come from no chain: give --ckpt").plain()
            made["chains"] = self.chains()
            facts |= {"n": CHAINS * STEPS, "draw": self.sampler.draw(self.ask.draw).model_dump(mode="json")}
        if "training" in needs:
            made["training"] = lambda: self.train_batch
        if "samples" in needs:
            made["samples"], own = self.drawn
            facts |= {"n": len(made["samples"]), "samples": fingerprint(made["samples"]), **own}
        if "train" in needs:
            made |= {"train": self.train, "train_given": self.train_batch.given}
        if {"train", "samples"} <= needs:
            facts["n_floor"] = min(self.most, len(self.train))
        score = metric.measure(Case(**made))
        return {**score.plain(metric.HIGHER), "n": facts["n"], "stamp": self.stamp(facts)}

    def stamp(self, facts: dict[str, Any]) -> dict[str, Any]:
        settings, dataset = self.source
        about = {
            "data": settings.name,
            "settings": checkpoint.fold({k: v for k, v in settings.model_dump(mode="json").items() if k not in ("path", "name")})[0],
        }
        about |= {"split": self.ask.split, "fingerprint": self.split.fingerprint(), "train_fingerprint": dataset.train.fingerprint()}
        if self.sampler:
            about |= {"checkpoint": self.sampler.header.digest, "family": self.sampler.recipe.family}
        return stamp.seal({**about, **facts, "seed": self.ask.seed, "versions": stamp.versions()})


def chosen(split: Split, n: int) -> Tensor:
    """The rows of n examples of a split: all, or n of them by a fixed permutation."""
    return torch.arange(len(split)) if n >= len(split) else torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:n]


def names(wanted: list[str]) -> list[str]:
    """Metric names out of `--metric a,b --metric c`. Raises GenctlError (usage)."""
    found = [name.strip() for text in wanted for name in text.split(",") if name.strip()]
    if not found:
        raise GenctlError("usage", "--metric: name at least one", "genctl list metrics")
    for name in found:
        try:
            catalog.entry("metrics", name)
        except GenctlError as e:
            raise GenctlError("usage", e.lines, e.try_) from None
    return list(dict.fromkeys(found))


def evaluate(ask: Request, say: Say) -> dict[str, Any]:
    """{metric: figure or None, ..., reason, results: {metric: {value, se, floor, ..., stamp}}, failed: [...]}.

    Raises GenctlError: usage (unknown metrics, gates on what is not computed), power, no-input, ckpt-*, data-*.
    """
    if (ask.ckpt is None) == (ask.samples is None):
        raise GenctlError("usage", "give one of --ckpt and --samples")
    examples.check_split(ask.split)
    if ask.resize not in _inception.RESIZE:
        raise GenctlError("usage", f"--resize {safe_text(ask.resize)}: expected one of {', '.join(_inception.RESIZE)}")
    wanted, gates = names(ask.metrics), [stamp.target(text) for text in ask.fail_if]
    desk = Desk(ask, say)
    if "fid" in wanted and isinstance(desk.inception, str):
        say(f"no FID: {desk.inception}")
        if "fd_classifier" not in wanted:
            wanted.insert(wanted.index("fid") + 1, "fd_classifier")
            say("measured instead: fd_classifier, a Frechet distance in the features of a small classifier of this data; it is not FID")
    for gate in gates:
        if gate.metric not in wanted or (gate.metric == "fid" and isinstance(desk.inception, str)):
            why = "it has no Inception weights" if gate.metric == "fid" and "fid" in wanted else f"computed are {', '.join(wanted)}"
            raise GenctlError("usage", f"--fail-if '{gate.text}': '{gate.metric}' is not computed: {why}", "gate on a metric that is")
    results = {name: desk.measure(name) for name in wanted}
    failed = [gate.text for gate in gates if not math.isfinite(gate.figure(results)) or gate.holds(results)]
    reasons = {name: r["reason"] for name, r in results.items() if r["value"] is None}
    document: dict[str, Any] = {name: r["value"] for name, r in results.items()}
    if reasons:
        document["reason"] = "; ".join(f"{k}: {v}" for k, v in reasons.items())
    return {**document, "results": results, "failed": failed}


def write(document: dict[str, Any], path: Path) -> None:
    """The document as JSON. Raises GenctlError (out-unwritable)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as e:
        raise GenctlError("out-unwritable", f"{safe_text(path)}: {safe_text(e.strerror)}", "give another --out") from None


# --- for eyes ----------------------------------------------------------------------------------------------------------------


def lines(results: dict[str, Any]) -> list[str]:
    """A result as text: figure, error, floor, then the stamp it stands under."""
    out = []
    width = max(map(len, results))
    for name, r in results.items():
        if r["value"] is None:
            out.append(f"{name:{width}}  not computed: {r['reason']}")
            continue
        error = f" +- {r['se']:.2g}" if isinstance(r["se"], float) else ""
        floor = f"   real against real {figure(r['floor'])}" if r["floor"] is not None else ""
        floor += f" ({r['over_floor']:.1f}x)" if isinstance(r.get("over_floor"), float) else ""
        out.append(f"{name:{width}}  {figure(r['value'])}{error}{floor}   n {r['n']:,}" + (f"   {r['reason']}" if r.get("reason") else ""))
        rest = {k: v for k, v in r.items() if k not in ("value", "se", "floor", "over_floor", "reason", "n", "stamp")}
        if rest:
            out.append("  " + "  ".join(f"{k} {figure(v)}" for k, v in rest.items()))
        out.append("  " + stamped(r["stamp"]))
    return out


def figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else safe_text(value)


def stamped(s: dict[str, Any]) -> str:
    """A stamp in one line."""
    floor = f"; floor of {s['n_floor']:,}" if "n_floor" in s else ""
    parts = [f"stamp {s['id']}: {s['data']} {s['split']} ({s['n_reference']:,} examples, {s['fingerprint']}){floor}"]
    if found := s.get("extractor"):
        right = f", {100 * found['accuracy']:.1f} % right" if found["accuracy"] is not None else ""
        parts.append(f"{found['name']} {found['sha256'][:12]}{right}, resize {found['resize']}")
    if s.get("checkpoint"):
        parts.append(f"checkpoint {s['checkpoint'][:12]}")
    return "; ".join([*parts, f"seed {s['seed']}", f"genctl {s['versions']['genctl']}, torch {s['versions']['torch']}"])
