"""DCGAN on 64x64 pictures in colour, batch 64: our step against the one that tutorials teach, at an equal network.

    python benchmarks/dcgan.py [--threads 2] [--rounds 5]     goal: 1.27 times the textbook

100 dimensions of noise, 64 channels, batch norms in both players, Adam. Ours draws pictures anew for the generator's turn; the textbook
keeps the graph of the critic's, and computes gradients of the critic that nobody uses.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import plain_dcgan
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.adversarial.dcgan import DCGAN
from genctl.recipe import Train
from genctl.training import loop

LATENT, WIDTH, BATCH, STEPS = 100, 64, 64, 3


def ours(x: torch.Tensor):
    net = DCGAN(DCGAN.Config(latent=LATENT, width=WIDTH), Spec(shape=(3, 64, 64), levels=256, media="image")).train()
    setting = loop.Setting(Train(steps=STEPS, batch=BATCH, lr=2e-4, betas=(0.5, 0.999)))

    def work() -> int:
        loop.fit(net, lambda i: Batch(x=x), setting, lambda *step: False)
        return STEPS * BATCH

    return work


def textbook(x: torch.Tensor):
    trainer = plain_dcgan.Trainer(LATENT, WIDTH, 2e-4)

    def work() -> int:
        for _ in range(STEPS):
            trainer.step(2 * x - 1)
        return STEPS * BATCH

    return work


def main() -> None:
    args = arguments()
    x = torch.rand(BATCH, 3, 64, 64)
    works = {"genctl": ours(x), "textbook": textbook(x)}
    print(
        table(f"DCGAN, 64x64, batch 64, training, {args.clock}", "pictures/s", interleave(works, args.rounds, args.cpu_clock), "textbook")
    )


if __name__ == "__main__":
    main()
