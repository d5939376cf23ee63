"""How well and how fast a recipe learns Shakespeare, beside the textbook nanoGPT step, in turns of one process.

    python benchmarks/gpt_quality.py [RECIPE ...] [--peer full]

Prints nats a character over the whole validation split (windows of 64 that do not overlap) and the recipe's wall time over that of
2,000 steps of the peer. goal: <= 1.64 in 1.1 times (gpt-tiny-shakespeare), <= 1.60 in 1.5 times (gpt-tiny-shakespeare-muon);
nanoGPT's own figure is 1.88. `--peer full` trains the peer to its end and prints its nats too; otherwise it takes a fifth of the steps.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import nanogpt
from genctl import recipe
from genctl.contract import Batch
from genctl.maths import noise
from genctl.media import text
from genctl.tasks.train import fresh_model, open_data
from genctl.training import loop, order

STEPS, CONTEXT, BATCH, EVERY = 2000, 64, 12, 25


class Peer:
    """The textbook step: AdamW at 1e-3 falling to 1e-4 by a cosine, warm-up 100, decay 0.1, clip 1."""

    def __init__(self, row):
        torch.manual_seed(0)
        self.model = nanogpt.NanoGPT(65, CONTEXT, 4, 4, 128)
        self.optimizer, self.row, self.done = nanogpt.adamw(self.model, 1e-3), row, 0
        self.draw = torch.Generator().manual_seed(0)
        self.wall = self.cpu = 0.0

    def steps(self, n):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(n):
            x, y = nanogpt.batches(self.row, CONTEXT, BATCH, self.draw)
            nanogpt.step(self.model, self.optimizer, x, y, nanogpt.rate(self.done, 1e-3, STEPS), self.done)
            self.done += 1
        self.wall, self.cpu = self.wall + time.perf_counter() - wall, self.cpu + time.process_time() - cpu


@torch.no_grad()
def nats(model, split):
    """Mean over all but the first symbol of each window."""
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(split), 128):
        found = model.nats(split.batch(start, start + 128))[:, 1:]
        total, count = total + float(found.double().sum()), count + found.numel()
    return total / count


def measure(name, peer_steps):
    plan, _ = recipe.read(name)
    data = open_data(plan)
    model = fresh_model(plan, data, plan.train.seed).train()
    peer, size, seed = Peer(_row(data)), plan.train.batch, plan.train.seed
    turns = plan.train.steps // EVERY
    spent = [0.0, 0.0]
    since = [time.perf_counter(), time.process_time()]

    def batch(i) -> Batch:
        with noise.stream(seed, i, "data"):
            return data.train.get(order.rows(seed, len(data.train), i * size, i * size + size))

    def on_step(stage, at, done, logs, seats):
        if done % EVERY == 0:
            spent[0], spent[1] = spent[0] + time.perf_counter() - since[0], spent[1] + time.process_time() - since[1]
            turn = done // EVERY
            peer.steps(peer_steps * turn // turns - peer.done)
            since[:] = time.perf_counter(), time.process_time()
        return False

    loop.fit(model, batch, loop.Setting(plan.train), on_step)
    wall, cpu = spent[0] / (peer.wall / peer.done * STEPS), spent[1] / (peer.cpu / peer.done * STEPS)
    print(
        f"{name}: {nats(model, data.valid):.4f} nats a character, {plan.train.steps} steps, {spent[0]:.0f} s; wall {wall:.2f}, cpu {cpu:.2f} of the peer's 2000 steps"
    )
    if peer.done == STEPS:
        held = _row(data, "valid")
        peer.model.eval()
        print(f"peer: {nanogpt.validation(peer.model, held, CONTEXT):.4f} nats a character, {peer.wall:.0f} s")
    with torch.no_grad(), noise.stream(0, "sample"):
        x = model.sample(2, plan.sample)
    print("\n---\n".join(text.decode(one, data.spec) for one in x), flush=True)


def _row(data, split="train"):
    """A split's symbols in one row again."""
    part = data.split(split)
    windows = part.get(torch.arange(0, len(part), CONTEXT if split == "train" else 1)).x
    return windows[:, :CONTEXT].flatten()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=["gpt-tiny-shakespeare", "gpt-tiny-shakespeare-muon"])
    parser.add_argument("--peer", choices=["fifth", "full"], default="fifth")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.recipes:
        measure(name, STEPS if args.peer == "full" else STEPS // 5)


if __name__ == "__main__":
    main()
