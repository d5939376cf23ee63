"""RBM 784x500, batch 100: our training step through the loop against scikit-learn's BernoulliRBM and plain torch CD-1.

    python benchmarks/rbm.py [--threads 2] [--rounds 5]     goal: 3 times scikit-learn in float64, as shipped; 1.3 times plain torch

scikit-learn takes persistent chains, the others CD-1: five matrix products a step each. Ours includes the loop: clipping norm, guards, logs.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers.plain_cd import PlainCD
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.energy.rbm import RBM
from genctl.recipe import Train
from genctl.training import loop

VISIBLE, HIDDEN, BATCH, COUNT, STEPS = 784, 500, 100, 4_000, 40


def ours(x: torch.Tensor, **model: object):
    net = RBM(RBM.Config.model_validate({"hidden": HIDDEN, **model}, strict=False), Spec(shape=(VISIBLE,), levels=2)).train()
    setting = loop.Setting(Train(steps=STEPS, batch=BATCH, optimizer="sgd", betas=(0.0, 0.999), lr=0.05))

    def work() -> int:
        loop.fit(net, lambda i: Batch(x=x[i * BATCH : (i + 1) * BATCH]), setting, lambda *step: False)
        return STEPS * BATCH

    return work


def scikit(x: torch.Tensor, dtype: str):
    try:
        from sklearn.neural_network import BernoulliRBM
    except ImportError:
        return None
    data = x.numpy().astype(dtype)
    net = BernoulliRBM(HIDDEN, learning_rate=0.05, batch_size=BATCH, random_state=0)

    def work() -> int:
        for i in range(STEPS):
            net.partial_fit(data[i * BATCH : (i + 1) * BATCH])
        return STEPS * BATCH

    return work


def plain(x: torch.Tensor):
    net = PlainCD(VISIBLE, HIDDEN)

    def work() -> int:
        for i in range(STEPS):
            net.step(x[i * BATCH : (i + 1) * BATCH])
        return STEPS * BATCH

    return work


def main() -> None:
    args = arguments()
    x = (torch.rand(COUNT, VISIBLE) < 0.2).float()
    systems = {
        "plain torch CD-1": plain(x),
        "genctl CD-1": ours(x, negative="cd", centre=False),
        "genctl CD-1, centred": ours(x, negative="cd"),
        "genctl PCD-1, centred": ours(x),
    }
    for dtype in ("float64", "float32"):
        if (peer := scikit(x, dtype)) is not None:
            systems[f"scikit-learn BernoulliRBM {dtype}"] = peer
    title = f"RBM {VISIBLE}x{HIDDEN}, batch {BATCH}, {args.clock}"
    rates = interleave(systems, args.rounds, args.cpu_clock)
    for peer in ("plain torch CD-1", "scikit-learn BernoulliRBM float64"):
        if peer in rates:
            print(table(title, "samples/s", rates, peer))


if __name__ == "__main__":
    main()
