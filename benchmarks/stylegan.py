"""StyleGAN2 at 64x64, batch 8: our step against that of public PyTorch versions, and what its lazy penalties cost.

    python benchmarks/stylegan.py [--threads 2] [--rounds 5]     goal: 1.3 times the textbook

Layers of 64 channels at most (2,048 over the side), styles of 128, four layers of mapping. Rows: the game alone; with R1 every 16 steps and
path length every 4, as trained; with both at every step, as they would be if they were not lazy.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import plain_stylegan
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.adversarial.stylegan import StyleGAN
from genctl.recipe import Train
from genctl.training import loop

SIDE, STYLE, MAPPING, BASE, WIDTH, BATCH, STEPS = 64, 128, 4, 2048, 64, 8, 16
WIDTHS = [min(WIDTH, BASE // 2**k) for k in range(2, 7)]


def ours(x: torch.Tensor, steps: int = STEPS, **keys):
    config = StyleGAN.Config(latent=STYLE, style=STYLE, mapping=MAPPING, base=BASE, width=WIDTH, mixing=1.0, **keys)
    net = StyleGAN(config, Spec(shape=(3, SIDE, SIDE), levels=256, media="image")).train()
    setting = loop.Setting(Train(steps=steps, batch=BATCH, lr=2e-3, betas=(0.0, 0.99)))

    def work() -> int:
        loop.fit(net, lambda i: Batch(x=x), setting, lambda *step: False)
        return steps * BATCH

    return work


def textbook(x: torch.Tensor, r1: float, path: float):
    trainer = plain_stylegan.Trainer(STYLE, STYLE, MAPPING, WIDTHS, 3, r1, path, 2e-3)

    def work() -> int:
        for i in range(STEPS):
            trainer.step(i, 2 * x - 1)
        return STEPS * BATCH

    return work


def main() -> None:
    args = arguments()
    x = torch.rand(BATCH, 3, SIDE, SIDE)
    works = {
        "genctl, the game alone": ours(x, r1=0, path=0),
        "textbook, the game alone": textbook(x, 0, 0),
        "genctl, lazy penalties": ours(x, r1=1, path=2),
        "textbook, lazy penalties": textbook(x, 1, 2),
        "genctl, penalties at every step": ours(x, 4, r1=1, path=2, r1_every=1, path_every=1),
    }
    rates = interleave(works, args.rounds, args.cpu_clock)
    print(table(f"StyleGAN2, {SIDE}x{SIDE}, batch {BATCH}, training, {args.clock}", "pictures/s", rates, "textbook, lazy penalties"))


if __name__ == "__main__":
    main()
