"""Ranks: two processes compute what one computes on the joined batch, and what they save one can go on with."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from genctl import checkpoint, durable
from genctl.contract import Memory
from genctl.maths import noise
from genctl.training import distributed, loop
from tests.battery import fake
from tests.cases import CASES, case, every_case
from tests.faults import checker, tools
from tests.faults.tools import here, last

PORT = 29_400 + os.getpid() % 1000


def undropped(settings: dict) -> dict:
    """The settings without dropout, whose noise is a function of the shard."""
    return {k: undropped(v) if isinstance(v, dict) else 0.0 if k == "dropout" else v for k, v in settings.items()}


def model_of(name: str):
    one = case(name)
    plan = type(one)(one.family, one.data, undropped(one.model), one.train).plan()
    with noise.stream(0, "init"):
        return checkpoint.build(plan, one.spec()).train()


def gradients(name: str, world: distributed.World, steps: int = 3) -> dict[str, torch.Tensor]:
    """The joined gradient that every player descends at its first step."""
    model, settings = model_of(name), case(name).plan(steps=4).train.model_copy(update={"accumulate": 1, "ema": 0.0})
    world.share(model)
    share = 8 // world.size
    found: dict[str, torch.Tensor] = {}

    def data(i: int):
        return fake(model.spec, 8, i).map(lambda t: t[world.rank * share : (world.rank + 1) * share])

    names = {id(p): k for k, p in model.named_parameters()}
    real_update = loop.Seat.update

    def update(seat, at, loss, scale):
        real_sum = distributed.World.sum_gradients
        norm_scale = 1.0 if scale is None else float(scale)

        def watch(self, grads):
            real_sum(self, grads)
            for p in seat.params:
                if p.grad is not None:
                    found.setdefault(f"{seat.player.name}/{names[id(p)]}", p.grad.clone() * norm_scale)

        distributed.World.sum_gradients = watch
        try:
            return real_update(seat, at, loss, scale)
        finally:
            distributed.World.sum_gradients = real_sum

    loop.Seat.update = update
    try:
        with torch.random.fork_rng():
            loop.fit(model, data, loop.Setting(settings, world), lambda stage, at, done, logs, seats: done >= steps)
    finally:
        loop.Seat.update = real_update
    if not any(p.requires_grad for p in model.parameters()):  # learns without gradients: what it learnt instead
        found |= {f"learnt/{k}": v for k, v in checkpoint.weights(model).items() if v.is_floating_point()}
    return found


def rank(index: int, size: int, port: int, names: list[str], out: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(index), WORLD_SIZE=str(size))
    world = distributed.join(torch.device("cpu"), 120)
    found = {name: gradients(name, world) for name in names}
    if world.first:
        torch.save(found, out)
    distributed.leave(together=True)
    os._exit(0)  # as a rank of the command line ends


@pytest.fixture(scope="module")
def of_two_ranks(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """Every case's gradients, computed by two processes."""
    out = str(tmp_path_factory.mktemp("ranks") / "gradients.pt")
    mp.spawn(rank, (2, PORT, list(CASES), out), nprocs=2)
    return torch.load(out, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", every_case())
def test_two_ranks_have_the_gradient_of_one(name, of_two_ranks, capsys):
    """The largest relative difference, per family, over every parameter of every player.

    Where a gradient's terms cancel (the scales of a flow that starts on standardised data) the rounding of the terms is left: what is
    less than a tenth of the largest is measured by that tenth.
    """
    alone, joined = gradients(name, distributed.World()), of_two_ranks[name]
    assert alone.keys() == joined.keys()
    least = max(1e-9, 0.1 * max((float(v.norm()) for v in alone.values()), default=0.0))
    worst = max((float((alone[k] - joined[k]).norm()) / max(float(alone[k].norm()), least) for k in alone), default=0.0)
    with capsys.disabled():
        print(f"{name}: {worst:.1e}", end=" ")
    assert worst <= 1e-5


def test_chains_are_dealt_out_by_their_global_index():
    model = torch.nn.Module()
    model.chains = Memory(state=torch.arange(12.0).view(6, 2))
    distributed.World(1, 2).share(model)
    assert torch.equal(model.chains.state, torch.arange(6.0, 12.0).view(3, 2))


def torchrun(*args: object, ranks: int = 2, timeout: float = 300, **env: str) -> tools.Result:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        str(ranks),
        "--master-port",
        str(PORT + 1),
        "-m",
        "genctl",
    ]
    done = subprocess.run(
        [*command, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=tools.ROOT,
        env=tools.environment(PYTHONFAULTHANDLER="1", **env),
        timeout=timeout,
        check=False,
    )
    return tools.Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("name", every_case())
def test_torchrun_trains_and_one_process_goes_on(name, tmp_path):
    """What two ranks saved holds all chains, and one process resumes it."""
    recipe, run = case(name).write(tmp_path / "r.yaml", steps=4, save_every=2), tmp_path / "run"
    done = torchrun("train", recipe, "--out", run, "--device", "cpu")
    assert done.rc == 0, done.err
    assert re.findall(r"saved step (\d+)", done.err) == ["2", "4"]
    assert checker.whole(run / "checkpoints") == [4, 2]
    on = here("train", "--resume", run, "--steps", 5)
    assert "world_size 2 -> 1" in on.err
    assert checker.whole(run / "checkpoints")[0] == 5


@pytest.mark.slow
def test_two_ranks_resume_what_two_ranks_saved(tmp_path):
    """Exactly; and the lock, the sweep and the choice of the step are rank 0's."""
    recipe = case("rbm").write(tmp_path / "r.yaml", steps=6, save_every=2)
    for name in ("whole", "parts"):
        assert torchrun("train", recipe, "--out", tmp_path / name, "--device", "cpu").rc == 0
    durable.discard(tmp_path / "parts" / "checkpoints", 6)
    done = torchrun("train", "--resume", tmp_path / "parts", "--device", "cpu")
    assert done.rc == 0, done.err
    assert done.err.count("resumed from step 4") == 1
    assert checker.digest(last(tmp_path / "whole")) == checker.digest(last(tmp_path / "parts"))


@pytest.mark.slow
def test_a_failure_of_rank_0_ends_all_quickly(tmp_path):
    """One message, no hang: a damaged run, a busy folder."""
    blocked = tmp_path / "run"
    blocked.mkdir()
    (blocked / "notes").write_text("mine")
    for args in ((case("vae-mlp").write(tmp_path / "r.yaml", steps=2), "--out", blocked), ("--resume", copy_damaged(tmp_path))):
        done = torchrun("train", *args, "--device", "cpu", timeout=60)
        assert done.rc == 1  # torchrun's own
        assert done.err.count("genctl: error[") == 1, done.err[-3000:]
        assert "error[internal]" not in done.err


def copy_damaged(where: Path) -> Path:
    run = tools.copy_of_run(where / "damaged")
    for folder in (run / "checkpoints").glob("step-*"):
        (folder / durable.MODEL).write_bytes(b"")
    return run
