"""The contract, executable: what every family owes, checked on a few made examples in seconds.

check_family(GPT, {"width": 16}, Spec(shape=(8,), vocab=5))
"""

import copy
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import catalog, checkpoint, durable, powers, recipe
from genctl.config import Tree
from genctl.contract import Batch, Family, Model, Progress, Spec
from genctl.data import Dataset, tensors
from genctl.device import Place
from genctl.maths import blocks, decoding, noise, sampling
from genctl.training import loop
from genctl.training.run import Run
from genctl.training.trainer import Trainer

CPU = Place(torch.device("cpu"), None, "test")


@dataclass
class Quiet:
    """A Report that remembers."""

    lines: list[str] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.lines.append(text)

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        self.losses.append(logs)


def fake(spec: Spec, n: int, seed: int = 0) -> Batch:
    """n made examples of a Spec: few distinct patterns with a little noise, so that there is something to learn."""
    g = torch.Generator().manual_seed(seed)

    def one(s: Spec, kind: Tensor) -> Tensor:
        patterns = torch.Generator().manual_seed(1)
        if s.vocab:
            table = torch.randint(s.vocab, (4, *s.shape), generator=patterns)
            x = table[kind]
            if s.end is not None and s.shape:
                x = torch.where((x == s.end).cumsum(-1) > 0, s.end, x)
            return x
        table = torch.rand((4, *s.shape), generator=patterns)
        if s.levels == 2:
            return (table[kind] > 0.5).float()
        if s.levels:
            return (table[kind] * (s.levels - 1)).round() / (s.levels - 1)
        return blocks.snap(2 * table[kind] - 1 + 0.1 * torch.randn((len(kind), *s.shape), generator=g), s.blocks)

    kind = torch.randint(4, (n,), generator=g)
    return Batch(x=one(spec, kind), given={k: one(v, kind) for k, v in spec.given.items()})


def fake_dataset(spec: Spec, n: int = 40) -> Dataset:
    parts = [fake(spec, n, seed) for seed in range(3)]
    return Dataset(spec, *(tensors(b.x, b.given) for b in parts))


def plan(cls: type[Model], model: dict[str, Any], **train: Any) -> recipe.Recipe:
    """A recipe for a family on made data."""
    tree = {"family": catalog.name_of(cls), "data": {"name": "toy2d"}, "model": model, "train": train}
    return recipe.resolve(Tree(tree))


def build(cls: type[Model], model: dict[str, Any], spec: Spec, seed: int = 0) -> Any:
    with noise.stream(seed, "init"):
        return cls(cls.Config.model_validate(model, strict=False), spec)


def check_family(
    cls: type[Model],
    model: dict[str, Any],
    spec: Spec,
    *,
    steps: int = 40,
    lr: float = 3e-3,
    batch: int = 16,
    descends: bool = True,
    crowds: bool = False,
    certain: bool = False,
    **train: Any,
) -> None:
    """Runs the whole battery. descends=False: the loss is a game or an estimate whose value says nothing (GAN, RBM).

    crowds: the loss compares all examples of a batch, so that two microbatches are not one batch.
    certain: a sample is a function of what is given, whatever the seed.
    """
    check_players(build(cls, model, spec), spec)
    check_learns(cls, model, spec, steps, lr, batch, descends)
    check_evaluation_is_still(build(cls, model, spec), spec)
    if issubclass(cls, Family):
        check_samples(build(cls, model, spec), spec, certain)
    check_powers(build(cls, model, spec), spec)
    if not crowds:
        check_accumulation(cls, model, spec, batch)


def check_players(model: Model, spec: Spec) -> None:
    """Every trainable parameter has a player and gets a finite gradient from it."""
    stages = model.stages()
    loop.check(model, stages)
    touched: set[int] = set()
    model.train()
    for stage in stages:
        with torch.no_grad(), noise.stream(0, "enter"):
            stage.enter()
        for player in stage.players:
            for step in range(20):  # a lazy loss may look at some parameters only now and then
                with noise.stream(0, step):
                    with torch.no_grad():
                        fed = stage.feed(fake(spec, 8, step), Progress(step, 20))
                    loss = player.loss(fed, Progress(step, 20))
                if loss is None or not player.params:
                    continue
                assert loss.total.ndim == 0, "a loss is a scalar"
                grads = torch.autograd.grad(loss.total, [p for p in player.params if p.requires_grad], allow_unused=True)
                for p, g in zip([p for p in player.params if p.requires_grad], grads):
                    if g is not None:
                        assert torch.isfinite(g).all(), "a gradient is not finite"
                        touched.add(id(p))
    idle = [k for k, p in model.named_parameters() if p.requires_grad and id(p) not in touched]
    assert not idle, f"no loss reaches {idle}"


def fit(cls: type[Model], model: dict[str, Any], spec: Spec, steps: int, path: Path | None = None, **train: Any) -> tuple[Any, Quiet]:
    """Trains on made data with the loop alone."""
    report, net = Quiet(), build(cls, model, spec)
    net.train()
    settings = recipe.Train(steps=steps, **train)
    one = fake(spec, settings.batch)

    def on_step(stage: Any, at: Progress, done: int, logs: dict[str, Tensor], seats: Any) -> bool:
        assert not any(bool(s.bad) for s in seats), "a loss is not finite"
        report.step(done, steps, {k: float(v) for k, v in logs.items()})
        return False

    loop.fit(net, lambda i: one, loop.Setting(settings), on_step)
    return net, report


def check_learns(cls: type[Model], model: dict[str, Any], spec: Spec, steps: int, lr: float, batch: int, descends: bool) -> None:
    """The loss falls on one batch, and every parameter moved."""
    before = {k: v.clone() for k, v in build(cls, model, spec).named_parameters()}
    net, report = fit(cls, model, spec, steps, lr=lr, batch=batch)
    moved = [k for k, p in net.named_parameters() if p.requires_grad and not torch.equal(p, before[k])]
    still = [k for k, p in net.named_parameters() if p.requires_grad and k not in moved]
    assert not still, f"training did not move {still}"
    if descends:
        for name in {k for logs in report.losses for k in logs if k.endswith("/loss")}:
            losses = [logs[name] for logs in report.losses if name in logs]
            quarter = max(1, len(losses) // 4)
            first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
            assert last < first, f"{name} did not fall: {first} -> {last}"


def check_evaluation_is_still(model: Model, spec: Spec) -> None:
    """Validation and sampling move no tensor, and validation works under no_grad."""
    model.eval()
    before = copy.deepcopy(model.state_dict())
    if type(model).loss is not Model.loss:
        with torch.no_grad(), noise.stream(0):
            loss = model.loss(fake(spec, 8), Progress(0, 1))
        assert torch.isfinite(loss.total)
    if isinstance(model, Family):
        draw(model, 3)
    for k, v in model.state_dict().items():
        assert torch.equal(v, before[k]), f"evaluation changed {k}"


def draw(model: Family, n: int, seed: int = 0, chunk: int = 8) -> Tensor:
    given = {k: fake(model.spec, n).given[k] for k in model.conditions}
    return torch.cat(list(sampling.chunks(model, n, type(model).Draw(chunk=chunk), seed, given)))


def check_scale(x: Tensor, spec: Spec, n: int) -> None:
    """Shape, dtype and range as the Spec promises."""
    assert x.shape == (n, *spec.shape), f"{tuple(x.shape)} is not {(n, *spec.shape)}"
    if spec.vocab:
        assert x.dtype == torch.long
        assert x.min() >= 0 and x.max() < spec.vocab
        if spec.end is not None:
            after = (x == spec.end).cumsum(-1) > 0
            assert (x[after] == spec.end).all(), "symbols after the end"
    else:
        assert x.dtype == torch.float32
        assert torch.isfinite(x).all()
        if spec.levels:
            assert x.min() >= 0 and x.max() <= 1
        assert torch.equal(blocks.snap(x, spec.blocks), x), "a category is no one-hot"
        if spec.levels == 2:
            assert set(x.unique().tolist()) <= {0.0, 1.0}


def check_samples(model: Family, spec: Spec, certain: bool = False) -> None:
    """Samples keep the Spec's promise, repeat under a seed, differ under another, and do not depend on how many are drawn."""
    model.eval()
    x = draw(model, 11)
    check_scale(x, spec, 11)
    assert torch.equal(x, draw(model, 11)), "the same seed gave other samples"
    assert torch.equal(x[:5], draw(model, 5)), "sample i depends on how many are drawn"
    assert certain == torch.equal(x, draw(model, 11, seed=1)), "another seed gave the same samples"


def check_powers(model: Any, spec: Spec) -> None:
    """Each power's shape and meaning."""
    model.eval()
    batch, has = fake(spec, 6), powers.of(type(model))
    with torch.no_grad(), noise.stream(0):
        for name in ("log_prob", "energy"):
            if name in has:
                value = getattr(model, name)(batch)
                assert value.shape == (6,) and torch.isfinite(value).all(), name
        if "log_prob" in has:
            assert model.log_prob_is in ("exact", "bound", "IS-k", "AIS")
        if "encode" in has:
            code = model.encode(batch)
            assert code.shape == (6, *model.code.shape)
            if "decode" in has:
                assert model.decode(code, batch.given).shape == batch.x.shape
        if "prior" in has:
            assert model.prior(6, batch.given).shape == (6, *model.code.shape)
        if "predict" in has and model.target:
            target = spec.given[model.target]
            assert model.predict(batch).shape == (6, *target.shape, target.vocab)
        if "filters" in has:
            assert model.filters().shape[1:] == spec.shape
        if "walk" in has:
            for state in itertools.islice(model.walk(3, few(type(model))), 3):
                check_scale(state, spec, 3)
        if "impute" in has:
            check_impute(model, batch)
        if "causal" in has:
            check_causal(model, batch)


def few(cls: Any) -> Any:
    """How samples are drawn, with chains as short as they may be: here their form is checked, not where they end."""
    return cls.Draw(**({"sweeps": 2} if "sweeps" in cls.Draw.model_fields else {}))


def check_impute(model: Any, batch: Batch) -> None:
    seen = torch.zeros_like(batch.x, dtype=torch.bool)
    seen.flatten(1)[:, : seen.flatten(1).shape[1] // 2] = True
    x = model.impute(Batch(x=batch.x, given=batch.given, mask=seen), few(type(model)))
    assert x.shape == batch.x.shape
    assert torch.equal(x[seen], batch.x[seen]), "imputing changed what was observed"


def check_causal(model: Any, batch: Batch) -> None:
    """Steps of one symbol, of many, and the parallel log_prob agree; later symbols do not change earlier logits."""
    x = decoding.symbols(batch.x, model.spec)
    given = {k: batch.given[k] for k in model.conditions}
    first, state = model.start(len(x), given)
    many, _ = model.step(x[:, :-1], state)
    logits = torch.cat([first[:, None], many], 1)
    one_by_one, state = [first], model.start(len(x), given)[1]
    for i in range(x.shape[1] - 1):
        out, state = model.step(x[:, i : i + 1], state)
        one_by_one.append(out[:, -1])
    torch.testing.assert_close(torch.stack(one_by_one, 1), logits, atol=2e-4, rtol=1e-4)
    changed = x.clone()
    changed[:, -1] = (changed[:, -1] + 1) % decoding.alphabet(model.spec)
    again = model.step(changed[:, :-1], model.start(len(x), given)[1])[0]
    torch.testing.assert_close(again[:, :-1], many[:, :-1], atol=1e-5, rtol=1e-5)
    if "log_prob" in powers.of(type(model)):
        nats = logits.log_softmax(-1).gather(-1, x[..., None]).squeeze(-1)
        if model.spec.end is not None:
            live = ((x == model.spec.end).cumsum(-1) - (x == model.spec.end).long()) == 0
            nats = nats * live
        torch.testing.assert_close(nats.sum(1), model.log_prob(Batch(x=batch.x, given=given)), atol=2e-3, rtol=1e-4)


def check_accumulation(cls: type[Model], model: dict[str, Any], spec: Spec, batch: int) -> None:
    """Two microbatches see the noise of one batch: where no layer mixes examples, the first step's logs agree."""
    if any("Norm" in type(m).__name__ and "Batch" in type(m).__name__ for m in build(cls, model, spec).modules()):
        return
    whole = fit(cls, model, spec, 1, batch=batch)[1].losses[0]
    halves = fit(cls, model, spec, 1, batch=batch, accumulate=2)[1].losses[0]
    for k in whole:
        if k.endswith("/loss"):
            assert math.isclose(whole[k], halves[k], rel_tol=1e-3, abs_tol=1e-4), f"{k}: {whole[k]} in one, {halves[k]} in two microbatches"


def run_training(
    cls: type[Model], model: dict[str, Any], spec: Spec, path: Path, steps: int, resume: bool = False, **train: Any
) -> durable.Step:
    """Trains a run on made data through the shipped machinery, fresh or on from its newest checkpoint."""
    settings = plan(cls, model, steps=steps, **train)
    run, dataset = Run(path), fake_dataset(spec)
    with noise.stream(settings.train.seed, "init"):
        net = checkpoint.build(settings, spec)
    trainer = Trainer(run, settings, dataset, net, CPU, Quiet())
    run.claim(fresh=not resume)
    try:
        trainer.fit(durable.newest(run.checkpoints, print) if resume else None)
    finally:
        run.release()
    step = durable.newest(run.checkpoints, print)
    assert step
    return step


def check_resume(
    cls: type[Model], model: dict[str, Any], spec: Spec, tmp_path: Path, *, cut: int = 3, steps: int = 6, **train: Any
) -> None:
    """N steps = cut + resume + the rest, bit for bit, in both files; and the saved model loads and draws the same samples."""
    keys = {"batch": 16, "ema": 0.9, "sample_every": 1000, "valid_every": 1000, "keep": 100, **train}
    whole = run_training(cls, model, spec, tmp_path / "whole", steps, save_every=steps, **keys)
    run_training(cls, model, spec, tmp_path / "parts", steps, save_every=cut, **keys)
    for number in durable.steps(tmp_path / "parts" / "checkpoints"):
        if number > cut:
            durable.FS().remove(tmp_path / "parts" / "checkpoints" / f"step-{number:010d}")
    parts = run_training(cls, model, spec, tmp_path / "parts", steps, resume=True, save_every=cut, **keys)
    assert whole.number == parts.number == steps
    for a, b in ((whole.model, parts.model), (whole.resume, parts.resume)):
        left, right = checkpoint.unpack(a)[1], checkpoint.unpack(b)[1]
        assert left.keys() == right.keys()
        for k in left:
            assert torch.equal(left[k], right[k]), f"{a.name}: {k} differs after a resume"
    if issubclass(cls, Family):
        first, second = checkpoint.load(whole.model)[0], checkpoint.load(parts.model)[0]
        assert torch.equal(draw(first, 5), draw(second, 5))
