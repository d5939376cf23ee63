"""The loop itself: a run with EMA, journal, guards and checkpoints every 500 steps against the bare step of the same network.

python benchmarks/loop.py            goal: at most 1.05 times the bare step's time
"""

import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.timing import interleave, table
from genctl import checkpoint
from genctl.config import Tree
from genctl.contract import Progress, Spec
from genctl.data import Dataset, tensors
from genctl.device import Place
from genctl.maths import noise
from genctl.recipe import resolve
from genctl.tasks.bench import _Silent
from genctl.training.run import Run
from genctl.training.trainer import Trainer

STEPS, BATCH = 1000, 100


def dataset() -> Dataset:
    x = (torch.rand(10_000, 1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    return Dataset(Spec(shape=(1, 28, 28), levels=2, media="image"), tensors(x), tensors(x[:100]), tensors(x[:100]))


def recipe(ema: float):
    tree = {
        "family": "vae",
        "data": {"name": "toy2d"},
        "model": {"hidden": [512], "latent": 16},
        "train": {"steps": STEPS, "batch": BATCH, "ema": ema, "save_every": 500, "sample_every": 10**6, "valid_every": 10**6},
    }
    return resolve(Tree(tree))


def shipped(data: Dataset) -> int:
    plan = recipe(0.999)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        run.claim(fresh=True)
        Trainer(run, plan, data, checkpoint.build(plan, data.spec), Place(torch.device("cpu"), None, ""), _Silent()).fit()
        run.release()
    return STEPS


def bare(data: Dataset) -> int:
    plan = recipe(0)
    model = checkpoint.build(plan, data.spec)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0, fused=True)
    order = torch.randperm(len(data.train))
    for step in range(STEPS):
        start = step * BATCH % len(order)
        with noise.stream(step):
            loss = model.loss(data.train.get(order[start : start + BATCH]), Progress(step, STEPS))
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
    return STEPS


if __name__ == "__main__":
    data = dataset()
    print(
        table(
            "The loop: VAE 784-512-16, batch 100",
            "steps/s",
            interleave({"shipped run": lambda: shipped(data), "bare step": lambda: bare(data)}),
            "bare step",
        )
    )
