"""Which games lose modes: a GAN of points with each pay-off and remedy, five seeds each, on 8 and on 25 Gaussians.

    python benchmarks/collapse.py [--steps 6000] [--seeds 5] [--out docs/collapse.md]

The networks, the optimiser, the batch and the steps of the generator are the same in every row; only the game differs. Modes are found
when 20 of 10,000 samples lie within three sigma of them; high quality is the share of samples within three sigma of any (98.9 % for the
truth). The table is written between the markers of the page.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from genctl.tasks import evaluate
from genctl.tasks import train as training

BEGIN, END = "<!-- begin: written by benchmarks/collapse.py; do not edit -->", "<!-- end -->"
SHAPES = {"ring8": 8, "grid25": 25}
GAMES = {
    "minimax": ["model.loss=minimax"],
    "non-saturating": ["model.loss=non-saturating"],
    "least squares": ["model.loss=least-squares"],
    "Wasserstein, clipped weights": ["model.loss=wasserstein", "model.clip_weights=0.1", "model.n_critic=5"],
    "Wasserstein, gradient penalty": ["model.loss=wasserstein", "model.gradient_penalty=0.1", "model.n_critic=5"],
    "hinge, spectral norm": ["model.loss=hinge", "model.spectral=true", "model.n_critic=5"],
    "non-saturating, R1": ["model.loss=non-saturating", "model.r1=0.1"],
    "relativistic": ["model.loss=relativistic"],
    "relativistic, R1 and R2": ["model.loss=relativistic", "model.r1=0.1", "model.r2=0.1"],
}
COMMON = ["model.r1=0", "model.r2=0"]  # the recipe's own remedies off


class Quiet:
    """A Report that says nothing."""

    def say(self, text: str) -> None:
        pass

    def step(self, step: int, total: int, logs: dict[str, float]) -> None:
        pass


def one(shape: str, game: list[str], steps: int, seed: int, threads: int) -> tuple[int, float] | None:
    """Modes found and the share of high quality, or None where training ended in numbers that are not finite."""
    sets = [f"data.shape={shape}", f"train.steps={steps}", f"train.seed={seed}", "train.sample_every=1000000", f"train.threads={threads}"]
    with tempfile.TemporaryDirectory() as home:
        run = Path(home) / "run"
        ask = training.Request(recipe="gan-ring8", overrides=[(s, None) for s in [*COMMON, *game, *sets]], out=run, device="cpu")
        try:
            training.train(ask, Quiet())
        except evaluate.GenctlError as e:
            if e.id != "guard-nonfinite":
                raise
            return None
        found = evaluate.evaluate(evaluate.Request(metrics=["truth"], ckpt=run, device="cpu"), lambda text: None)["results"]["truth"]
        return found["modes"], found["high_quality"]


def row(name: str, shape: str, runs: list[tuple[int, float] | None]) -> str:
    kept = [r for r in runs if r]
    modes = [r[0] for r in kept] + [0] * (len(runs) - len(kept))
    quality = [100 * r[1] for r in kept] or [0.0]
    every = ", ".join(map(str, sorted(modes)))
    return f"| {shape} | {name} | {statistics.mean(modes):.1f} of {SHAPES[shape]} | {every} | {statistics.mean(quality):.1f} % |"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=6000)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", type=Path)
    ask = p.parse_args()
    torch.set_num_threads(ask.threads)
    rows = ["| data | game | modes, mean | modes of each seed | high quality, mean |", "| --- | --- | --- | --- | --- |"]
    for shape in SHAPES:
        for name, game in GAMES.items():
            rows.append(row(name, shape, [one(shape, game, ask.steps, seed, ask.threads) for seed in range(ask.seeds)]))
            print(rows[-1], flush=True)
    if ask.out:
        head, rest = ask.out.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join(rows)
        ask.out.write_text(
            f"{head}{BEGIN}\n\n{ask.seeds} seeds, {ask.steps:,} steps.\n\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
