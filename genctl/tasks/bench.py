"""bench: how fast a recipe trains, samples or scores here, in units a second and as a share of the machine's matrix product."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from genctl import device, recipe
from genctl.contract import Family, Progress
from genctl.errors import GenctlError
from genctl.maths import noise, sampling
from genctl.powers import LogProb
from genctl.tasks.sample import Sampler
from genctl.tasks.train import fresh_model, open_data
from genctl.training import loop
from genctl.training.run import Run
from genctl.training.trainer import Trainer

KINDS = ("train", "sample", "log_prob")


class _Silent:
    def say(self, text: str) -> None:
        pass

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        pass


def bench(
    source: str, what: str = "train", seconds: float = 5.0, threads: int = 0, place_name: str = "auto", overrides: Any = None
) -> dict[str, Any]:
    """Measures one kind of work of a recipe (or of a checkpoint's recipe) for about `seconds`.

    Units are symbols for tokens and examples otherwise. Raises GenctlError (usage, power).
    """
    if what not in KINDS:
        raise GenctlError("usage", f"--what {what}: expected one of {', '.join(KINDS)}")
    device.set_threads(threads)
    plan = recipe.read(source, overrides)[0] if _is_recipe(source) else Sampler.load(source).recipe
    place = device.resolve(place_name, plan.train.precision)
    dataset = open_data(plan)
    trainer = Trainer(Run(Path()), plan, dataset, fresh_model(plan, dataset, plan.train.seed), place, _Silent())
    spec, size = dataset.spec, plan.train.batch
    per = spec.size if spec.vocab else 1
    unit = "symbols/s" if spec.vocab else "examples/s"
    model = trainer.model
    if what == "train":
        rate, cpu = _train(trainer, seconds)
        flops = _flops(lambda: _one_step(trainer)) / (size * per)
        rate, cpu = rate * size * per, cpu / (size * per)
    elif what == "sample":
        if not isinstance(model, Family):
            raise GenctlError("power", f"family '{plan.family}' cannot be sampled from")
        draw = plan.sample

        def work() -> None:
            list(sampling.chunks(model, draw.chunk, draw, 0))

        rate, cpu = _repeat(work, seconds, place.device)
        flops = _flops(work) / (draw.chunk * per)
        rate, cpu = rate * draw.chunk * per, cpu / (draw.chunk * per)
    else:
        if not isinstance(model, LogProb):
            raise GenctlError("power", f"family '{plan.family}' has no log_prob")
        model.eval()
        batch = trainer.data(0)

        def score() -> None:
            with torch.no_grad(), noise.stream(0):
                model.log_prob(batch)

        rate, cpu = _repeat(score, seconds, place.device)
        flops = _flops(score) / (size * per)
        rate, cpu = rate * size * per, cpu / (size * per)
    peak = gemm_gflops(place.device)
    return {
        "family": plan.family,
        "workload": f"{source} {what}, batch {size if what != 'sample' else plan.sample.chunk}",
        "device": str(place.device),
        "threads": torch.get_num_threads(),
        "clock": {"wall_seconds_per_unit": 1 / rate, "cpu_seconds_per_unit": cpu},
        what: {"figure": round(rate, 2), "unit": unit},
        "figure": round(rate, 2),
        "unit": unit,
        "peak_memory_mb": round(_peak_memory(place.device), 1),
        "flops_per_unit": int(flops),
        "gemm_peak_gflops": round(peak, 1),
        "fraction_of_peak": round(rate * flops / (peak * 1e9), 4),
    }


def _is_recipe(source: str) -> bool:
    from genctl import catalog

    return Path(source).suffix in (".yaml", ".yml") or source in catalog.recipes()


def _sync(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize(where)
    elif where.type == "mps":
        torch.mps.synchronize()


def _train(trainer: Trainer, seconds: float) -> tuple[float, float]:
    """(steps a second, CPU seconds a step) of the shipped loop, after five steps to warm up."""
    clock: dict[str, float] = {}
    where = trainer.place.device

    def on_step(stage: Any, at: Progress, done: int, logs: Any, seats: Any) -> bool:
        if done == 5:
            _sync(where)
            clock.update(wall=time.perf_counter(), cpu=time.process_time())
        if done > 5 and time.perf_counter() - clock["wall"] > seconds:
            _sync(where)
            clock["steps"] = done - 5
            return True
        return False

    settings = trainer.train.model_copy(update={"steps": 10**8})
    loop.fit(trainer.model, trainer.data, loop.Setting(settings, device=where, dtype=trainer.place.dtype), on_step)
    wall, cpu = time.perf_counter() - clock["wall"], time.process_time() - clock["cpu"]
    return clock["steps"] / wall, cpu / clock["steps"]


def _one_step(trainer: Trainer) -> None:
    settings = trainer.train.model_copy(update={"steps": 1, "compile": False})
    loop.fit(trainer.model, trainer.data, loop.Setting(settings, device=trainer.place.device), lambda *a: True)


def _repeat(work: Callable[[], None], seconds: float, where: torch.device) -> tuple[float, float]:
    """(calls a second, CPU seconds a call)."""
    work()
    _sync(where)
    wall, cpu, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        work()
        _sync(where)
        calls += 1
    return calls / (time.perf_counter() - wall), (time.process_time() - cpu) / calls


def _flops(work: Callable[[], None]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def gemm_gflops(where: torch.device, n: int = 1024) -> float:
    """The machine's limit: the best of five float32 matrix products, in 10^9 operations a second."""
    a = torch.randn(n, n, device=where)
    best = 0.0
    for _ in range(6):
        _sync(where)
        start = time.perf_counter()
        a @ a
        _sync(where)
        best = max(best, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def _peak_memory(where: torch.device) -> float:
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
