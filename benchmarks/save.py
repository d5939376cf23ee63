"""What a checkpoint costs: writing 400 MB durably against a raw write, and saving's share of training at the default interval.

    python benchmarks/save.py [--mb 400] [--repeat 5]

Both writes end in fsync; they are interleaved, and the medians are compared.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # the checkout, when genctl is not installed

from genctl import checkpoint, durable

MANIFEST = {"world_size": 1, "threads": 1, "state": {"alike": 0, "scalers": {}}}


def tensors(mb: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(model, resume): a quarter weights, the rest raw weights and two moments, as AdamW with EMA has them."""
    count = 24
    size = mb * 10**6 // (4 * 4 * count)
    layer = {f"layer{i}": torch.randn(size) for i in range(count)}
    return layer, {f"{kind}/{k}": v.clone() for kind in ("raw", "exp_avg", "exp_avg_sq") for k, v in layer.items()}


def raw_write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)
    os.close(fd)


def saved(mb: int, repeat: int, folder: Path) -> dict[str, object]:
    model, resume = tensors(mb)
    home = folder / "checkpoints"
    durable.make_home(home)
    meta = {"format": 1, "family": "vae", "step": 0}
    noise = os.urandom(mb * 10**6)
    raws, saves = [], []
    for k in range(repeat + 1):
        started = time.perf_counter()
        raw_write(folder / "raw", noise)
        raws.append(time.perf_counter() - started)
        (folder / "raw").unlink()
        started = time.perf_counter()
        files = {durable.MODEL: checkpoint.pieces(model, meta), durable.RESUME: checkpoint.pieces(resume, meta, seal=False)}
        durable.save(home, k + 1, files, MANIFEST)
        durable.point(home, "latest", k + 1)
        saves.append(time.perf_counter() - started)
        durable.retain(home, 1)
    raw, save = statistics.median(raws[1:]), statistics.median(saves[1:])
    return {
        "mb": mb,
        "raw_write_s": round(raw, 3),
        "save_s": round(save, 3),
        "ratio": round(save / raw, 2),
        "all": [[round(v, 2) for v in r] for r in (raws, saves)],
    }


def share_of_training(folder: Path, recipe_name: str, steps: int) -> dict[str, object]:
    """The time inside save() over the time of the whole run, at the default save_every (a tenth of the run)."""
    from genctl.tasks import train
    from genctl.training.trainer import Trainer

    spent, real = [], Trainer.save

    def timed(self, *args, **named):
        started = time.perf_counter()
        real(self, *args, **named)
        spent.append(time.perf_counter() - started)

    class Quiet:
        def say(self, text: str) -> None:
            pass

        def step(self, *rest: object) -> None:
            pass

    Trainer.save = timed
    started = time.perf_counter()
    train.train(train.Request(recipe_name, [(f"train.steps={steps}", None)], folder / "run", device="cpu"), Quiet())
    whole = time.perf_counter() - started
    return {"recipe": recipe_name, "steps": steps, "saves": len(spent), "share": round(sum(spent) / whole, 4), "seconds": round(whole, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mb", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--recipe", default="vae-digits")
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            json.dumps(
                {
                    "durable": saved(args.mb, args.repeat, Path(folder)),
                    "training": share_of_training(Path(folder), args.recipe, args.steps),
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
