"""Drawing 256 symbols from 6 layers, 6 heads, 384 wide, greedily after 16: ours against generate with a cache.

    python benchmarks/gpt_generate.py [--threads 2] [--rounds 5]     goal: 2.2 times the peer at batch 1, 2.5 times at batch 16

Peers: Hugging Face GPT2LMHeadModel.generate (where transformers is installed), a textbook generate with a cache that grows by
concatenation, and nanoGPT's without a cache (32 symbols only). All are the same network: learned positions, GELU, 65 symbols.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers import dynamic_cache, nanogpt
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Spec
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import decoding

LAYERS, HEADS, WIDTH, VOCAB, PROMPT, COUNT = 6, 6, 384, 65, 16, 256


def ours():
    settings = {"layers": LAYERS, "heads": HEADS, "width": WIDTH, "positions": "learned", "qk_norm": False, "activation": "gelu"}
    model = GPT(GPT.Config.model_validate(settings), Spec(shape=(PROMPT + COUNT + 1,), vocab=VOCAB)).eval()
    return lambda prompt: decoding.rows(
        model, len(prompt), PROMPT + COUNT, decoding.Draw(temperature=0), window=PROMPT + COUNT + 1, prompt=prompt
    )


def hugging_face():
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        return None
    config = GPT2Config(vocab_size=VOCAB, n_positions=512, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, bos_token_id=0, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    keys = {"max_new_tokens": COUNT, "min_new_tokens": COUNT, "do_sample": False, "pad_token_id": 0, "use_cache": True}
    return lambda prompt: model.generate(prompt, attention_mask=torch.ones_like(prompt), **keys)


def main() -> None:
    args = arguments()
    plain = nanogpt.NanoGPT(VOCAB, 512, LAYERS, HEADS, WIDTH).eval()
    systems = {"genctl": ours(), "textbook with a growing cache": lambda p: dynamic_cache.generate(plain, p, COUNT)}
    if (hf := hugging_face()) is not None:
        systems["Hugging Face generate"] = hf
    for batch in (1, 16):
        prompt = torch.randint(VOCAB, (batch, PROMPT))

        def timed(draw, prompt=prompt, batch=batch):
            def work() -> int:
                with torch.no_grad():
                    draw(prompt)
                return batch * COUNT

            return work

        peer = "Hugging Face generate" if hf is not None else "textbook with a growing cache"
        rates = interleave({name: timed(draw) for name, draw in systems.items()}, args.rounds, args.cpu_clock)
        print(table(f"batch {batch}, {args.clock}", "symbols/s", rates, peer))


if __name__ == "__main__":
    main()
