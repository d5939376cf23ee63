"""From sentences to sentences, 3 + 3 layers, 4 heads, 256 wide, 8,192 symbols: a step of training, and drawing by beams of five.

    python benchmarks/seq2seq.py [--threads 2] [--rounds 5] [--cpu-clock]     goal: 1.3 times Hugging Face in training, 2 times in drawing

Peers: Hugging Face MarianMTModel and T5ForConditionalGeneration of equal size, rows padded to the longest of their batch as its collator
does. Sentences are made, as long as captions are (5 to 40 symbols, 15 in the mean), batch 64; a rate counts the symbols of targets, without
padding. Training: dropout 0.1, label smoothing 0.1, AdamW, clip 1. Drawing: 16 sources, 32 symbols each, none of which ends a row.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Spec
from genctl.families.translation.seq2seq import Seq2Seq
from genctl.maths import decoding
from genctl.recipe import Train
from genctl.training import loop

LAYERS, HEADS, WIDTH, VOCAB, LONGEST, BATCH, STEPS = 3, 4, 256, 8192, 40, 64, 4
SOURCES, COUNT, BEAMS = 16, 32, 5
END = 0


def sentences(n: int, draw: torch.Generator) -> torch.Tensor:
    """(n, LONGEST) symbols that end."""
    lengths = (5 + 10 * torch.empty(n, 1).exponential_(generator=draw)).clamp(max=LONGEST - 1)
    return torch.randint(1, VOCAB, (n, LONGEST), generator=draw) * (torch.arange(LONGEST) < lengths)


def pairs(draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, int]:
    source, x = sentences(BATCH, draw), sentences(BATCH, draw)
    return source, x, int(decoding.live(x, END).sum())


def ours(**model):
    rows = {"shape": (LONGEST,), "vocab": VOCAB, "end": END}
    settings = {"layers": LAYERS, "heads": HEADS, "width": WIDTH, "dropout": 0.1, **model}
    return Seq2Seq(Seq2Seq.Config.model_validate(settings), Spec(**rows, given={"source": Spec(**rows)}))


def trains_ours(**model):
    net, draw = ours(**model).train(), torch.Generator().manual_seed(0)
    setting = loop.Setting(Train(steps=10**6, batch=BATCH, lr=1e-3, clip=1.0))

    def work() -> int:
        made, done = [pairs(draw) for _ in range(STEPS)], []

        def on_step(*_):
            done.append(1)
            return len(done) == STEPS

        loop.fit(net, lambda i: Batch(x=made[i][1], given={"source": made[i][0]}), setting, on_step)
        return sum(count for *_, count in made)

    return work


def hugging_face(kind):
    import transformers as hf

    if kind == "marian":
        sizes = {f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in (("layers", LAYERS), ("attention_heads", HEADS))}
        more = {"encoder_ffn_dim": 4 * WIDTH, "decoder_ffn_dim": 4 * WIDTH, "activation_function": "gelu", "max_position_embeddings": 64}
        marks = {"pad_token_id": END, "eos_token_id": END, "decoder_start_token_id": END, "forced_eos_token_id": None, "bos_token_id": None}
        return hf.MarianMTModel(hf.MarianConfig(vocab_size=VOCAB, d_model=WIDTH, dropout=0.1, **sizes, **more, **marks))
    sizes = {"d_model": WIDTH, "d_kv": WIDTH // HEADS, "d_ff": 4 * WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
    marks = {"pad_token_id": END, "eos_token_id": END, "decoder_start_token_id": END}
    return hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=VOCAB, dropout_rate=0.1, **sizes, **marks))


def collated(rows):
    """Cut to the longest, and which of it are symbols."""
    live = decoding.live(rows, END)
    longest = int(live.sum(1).max())
    return rows[:, :longest], live[:, :longest]


def trains_hugging_face(kind):
    net, draw = hugging_face(kind).train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def work() -> int:
        total = 0
        for _ in range(STEPS):
            source, x, count = pairs(draw)
            (source, seen), (x, live) = collated(source), collated(x)
            before = torch.cat([torch.full((len(x), 1), END), x[:, :-1]], 1)
            logits = net(input_ids=source, attention_mask=seen.long(), decoder_input_ids=before).logits
            labels = x.masked_fill(~live, -100)
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += count
        return total

    return work


def draws_ours(source, **model):
    net = ours(**model).eval()
    how = decoding.Draw(beams=BEAMS)

    def work() -> int:
        with torch.no_grad():
            decoding.rows(net, len(source), COUNT, how, window=LONGEST, given={"source": source})
        return source.shape[0] * COUNT

    return work


def draws_hugging_face(kind, source):
    net = hugging_face(kind).eval()
    source, seen = collated(source)
    keys = {"num_beams": BEAMS, "max_new_tokens": COUNT, "min_new_tokens": COUNT, "do_sample": False, "use_cache": True}

    def work() -> int:
        with torch.no_grad():
            net.generate(source, attention_mask=seen.long(), **keys)
        return source.shape[0] * COUNT

    return work


def main() -> None:
    args = arguments()
    plain = {"positions": "learned", "qk_norm": False, "activation": "gelu"}
    source = sentences(SOURCES, torch.Generator().manual_seed(1))
    trains = {"genctl, equal network": trains_ours(**plain), "genctl, rotary, QK-norm, ReLU^2": trains_ours()}
    draws = {"genctl, equal network": draws_ours(source, **plain), "genctl, rotary, QK-norm, ReLU^2": draws_ours(source)}
    peer = "genctl, equal network"
    try:
        for kind, name in (("marian", "Hugging Face MarianMT"), ("t5", "Hugging Face T5")):
            trains[name], draws[name] = trains_hugging_face(kind), draws_hugging_face(kind, source)
        peer = "Hugging Face MarianMT"
    except ImportError:
        print("transformers is not installed: Hugging Face is left out")
    for title, systems in (("training", trains), (f"drawing by {BEAMS} beams", draws)):
        print(table(f"{title}, {args.clock}", "symbols/s", interleave(systems, args.rounds, args.cpu_clock), peer))


if __name__ == "__main__":
    main()
