"""One step of training, batch to update: ours against the textbook nanoGPT step and Hugging Face's GPT-2, at an equal network.

    python benchmarks/gpt_train.py [--large] [--threads 2] [--rounds 5] [--cpu-clock] [--compile]
goal: 1.5 times Hugging Face eager and 1.25 times nanoGPT compiled (small), 1.5 and 1.08 times (large)

small: 4 layers, 4 heads, 128 wide, context 64, batch 12; large: 6, 6, 384, 256, 8. 65 symbols, float32, clip 1, AdamW. Learned
positions, LayerNorm, GELU, tied embedding. Ours also reads the learned first vector: 65 positions for the peers' 64.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import nanogpt
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.autoregressive.gpt import GPT
from genctl.recipe import Train
from genctl.training import loop

SIZES = {"small": (4, 4, 128, 64, 12), "large": (6, 6, 384, 256, 8)}
VOCAB, STEPS = 65, 20


def ours(row, size, steps, model, **train):
    layers, heads, width, context, batch = size
    spec = Spec(shape=(context + 1,), vocab=VOCAB)
    net = GPT(GPT.Config.model_validate({"layers": layers, "heads": heads, "width": width, **model}), spec).train()
    setting = loop.Setting(Train(steps=10**6, batch=batch, lr=1e-3, weight_decay=0.1, clip=1.0, betas=(0.9, 0.99), **train))
    windows, draw = row.unfold(0, context + 1, 1), torch.Generator().manual_seed(0)

    def work() -> int:
        done = []

        def on_step(*_):
            done.append(1)
            return len(done) == steps

        at = torch.randint(len(windows), (steps, batch), generator=draw)
        loop.fit(net, lambda i: Batch(x=windows[at[i]].long()), setting, on_step)
        return steps * batch * context

    return work


def textbook(row, size, steps, compiled):
    layers, heads, width, context, batch = size
    net = nanogpt.NanoGPT(VOCAB, context, layers, heads, width)
    optimizer, draw = nanogpt.adamw(net, 1e-3), torch.Generator().manual_seed(0)
    run = torch.compile(net) if compiled else net

    def work() -> int:
        for i in range(steps):
            x, y = nanogpt.batches(row, context, batch, draw)
            nanogpt.step(run, optimizer, x, y, 1e-3, i)
        return steps * batch * context

    return work


def hugging_face(row, size, steps):
    from transformers import GPT2Config, GPT2LMHeadModel

    layers, heads, width, context, batch = size
    drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    net = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=context, n_embd=width, n_layer=layers, n_head=heads, **drop)).train()
    optimizer, draw = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.1, betas=(0.9, 0.99)), torch.Generator().manual_seed(0)

    def work() -> int:
        for i in range(steps):
            x, y = nanogpt.batches(row, context, batch, draw)
            logits = net(x).logits
            loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCAB), y.view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if i % 10 == 0:
                loss.item()
        return steps * batch * context

    return work


def main() -> None:
    args = arguments(large="6 layers, 384 wide, context 256, batch 8", compile="also the compiled peer, and ours with train.compile")
    size, row = SIZES["large" if args.large else "small"], torch.randint(VOCAB, (100_000,), dtype=torch.uint8)
    plain = {"positions": "learned", "qk_norm": False, "activation": "gelu"}
    systems = {
        "genctl, equal network": ours(row, size, STEPS, plain),
        "genctl, rotary, QK-norm, ReLU^2": ours(row, size, STEPS, {}),
        "genctl, the same with muon": ours(row, size, STEPS, {}, optimizer="muon"),
        "textbook nanoGPT": textbook(row, size, STEPS, False),
    }
    if args.compile:
        systems["genctl, equal network, compiled"] = ours(row, size, STEPS, plain, compile=True)
        systems["textbook nanoGPT, compiled"] = textbook(row, size, STEPS, True)
    try:
        systems["Hugging Face GPT-2"] = hugging_face(row, size, STEPS)
    except ImportError:
        print("transformers is not installed: Hugging Face is left out")
    rates = interleave(systems, args.rounds, args.cpu_clock)
    print(table(f"{'large' if args.large else 'small'}, {args.clock}", "symbols/s", rates, "textbook nanoGPT"))


if __name__ == "__main__":
    main()
