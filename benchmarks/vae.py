"""VAE 784-512-16, batch 100, one epoch of 10,000: our loop against pythae's trainer and a textbook one.

    python benchmarks/vae.py [--threads 2] [--rounds 5]     goal: 1.8 times pythae

The network is the same (pythae: where it is installed). Ours includes the loop: order of the data, noise by position, clipping
norm, guards, logs; pythae's includes what its trainer does around an epoch, without writing.
"""

import logging
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import plain_vae
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.data import tensors
from genctl.families.autoencoder.vae import VAE
from genctl.recipe import Train
from genctl.training import loop, order

SIZE, HIDDEN, LATENT, BATCH, COUNT = 784, 512, 16, 100, 10_000


def ours(x: torch.Tensor):
    net = VAE(VAE.Config(hidden=[HIDDEN], latent=LATENT), Spec(shape=(1, 28, 28), levels=256, media="image")).train()
    split = tensors(x.view(-1, 1, 28, 28))
    steps = COUNT // BATCH
    setting = loop.Setting(Train(steps=steps, batch=BATCH))

    def data(i: int) -> Batch:
        return split.get(order.rows(0, COUNT, i * BATCH, (i + 1) * BATCH))

    def work() -> int:
        loop.fit(net, data, setting, lambda *step: False)
        return COUNT

    return work


def textbook(x: torch.Tensor):
    model = plain_vae.PlainVAE(SIZE, HIDDEN, LATENT)
    optimizer, loader = torch.optim.Adam(model.parameters(), 1e-3), plain_vae.loader(x, BATCH)

    def work() -> int:
        plain_vae.epoch(model, optimizer, loader)
        return COUNT

    return work


def pythae(x: torch.Tensor, folder: str):
    try:
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE as Peer
        from pythae.models import VAEConfig
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
    except ImportError:
        return None
    logging.disable(logging.INFO)
    model = Peer(VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce"))
    config = BaseTrainerConfig(output_dir=folder, num_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-3, no_cuda=True)
    trainer = BaseTrainer(model, BaseDataset(x.view(-1, 1, 28, 28), torch.zeros(len(x))), None, config)
    trainer.prepare_training()

    def work() -> int:
        trainer.train_step(1)
        return COUNT

    return work


def main() -> None:
    args = arguments()
    x = torch.rand(COUNT, SIZE) ** 4
    with tempfile.TemporaryDirectory() as folder:
        systems = {"genctl": ours(x), "textbook": textbook(x)}
        if (peer := pythae(x, folder)) is not None:
            systems["pythae BaseTrainer"] = peer
        title = f"VAE {SIZE}-{HIDDEN}-{LATENT}, batch {BATCH}, {args.clock}"
        rates = interleave(systems, args.rounds, args.cpu_clock)
    for name in ("pythae BaseTrainer", "textbook"):
        if name in rates:
            print(table(title, "samples/s", rates, name))


if __name__ == "__main__":
    main()
