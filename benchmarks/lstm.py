"""One step of training a word LSTM, batch to update: ours against the step of PyTorch's word_language_model example, at an equal network.

    python benchmarks/lstm.py [--small] [--threads 2] [--rounds 5] [--cpu-clock]
goal: 1.3 times the example with 33,278 words, 1.15 times with 65 characters

2 layers of 200, embedding of 200, untied, batch 20, rows of 35, float32, dropout 0.2, clip 0.25, plain SGD. The example carries its state
from batch to batch, which costs nothing; ours begins each row with an empty one and reads a learned first vector.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.autoregressive.lstm import LSTM
from genctl.recipe import Train
from genctl.training import loop

WIDTH, LAYERS, BATCH, LENGTH, DROP = 200, 2, 20, 35, 0.2


class Example(nn.Module):
    """Embedding, LSTM, linear layer, with dropout between, as the example's RNNModel; rows are columns there."""

    def __init__(self, vocab):
        super().__init__()
        self.embed, self.net = nn.Embedding(vocab, WIDTH), nn.LSTM(WIDTH, WIDTH, LAYERS, dropout=DROP)
        self.drop, self.head = nn.Dropout(DROP), nn.Linear(WIDTH, vocab)

    def forward(self, x, state):
        h, state = self.net(self.drop(self.embed(x)), state)
        return F.log_softmax(self.head(self.drop(h)).view(-1, self.head.out_features), 1), state


def example(row, vocab, steps):
    net, rate = Example(vocab).train(), 1.0
    columns = row[: len(row) // BATCH * BATCH].view(BATCH, -1).t().contiguous().long()

    def work() -> int:
        state = tuple(torch.zeros(LAYERS, BATCH, WIDTH) for _ in range(2))
        for i in range(steps):
            at = i * LENGTH % (len(columns) - LENGTH - 1)
            net.zero_grad()
            out, state = net(columns[at : at + LENGTH], tuple(s.detach() for s in state))
            F.nll_loss(out, columns[at + 1 : at + 1 + LENGTH].reshape(-1)).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.25)
            for p in net.parameters():
                p.data.add_(p.grad, alpha=-rate)
        return steps * BATCH * LENGTH

    return work


def ours(row, vocab, steps):
    settings = {"layers": LAYERS, "width": WIDTH, "dropout": DROP, "tied": False}
    net = LSTM(LSTM.Config.model_validate(settings), Spec(shape=(LENGTH,), vocab=vocab)).train()
    setting = loop.Setting(Train(steps=10**6, batch=BATCH, optimizer="sgd", lr=1.0, betas=(0.0, 0.999), clip=0.25))
    windows, draw = row.unfold(0, LENGTH, 1), torch.Generator().manual_seed(0)

    def work() -> int:
        done = []

        def on_step(*_):
            done.append(1)
            return len(done) == steps

        at = torch.randint(len(windows), (steps, BATCH), generator=draw)
        loop.fit(net, lambda i: Batch(x=windows[at[i]].long()), setting, on_step)
        return steps * BATCH * LENGTH

    return work


def main() -> None:
    args = arguments(small="65 symbols in place of 33,278")
    vocab, steps = (65, 20) if args.small else (33_278, 3)
    row = torch.randint(vocab, (200_000,), dtype=torch.int32)
    systems = {"genctl": ours(row, vocab, steps), "PyTorch's example": example(row, vocab, steps)}
    rates = interleave(systems, args.rounds, args.cpu_clock)
    print(table(f"{vocab:,} symbols, {args.clock}", "symbols/s", rates, "PyTorch's example"))


if __name__ == "__main__":
    main()
