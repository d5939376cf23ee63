"""Drawing with a cache that grows by concatenation, as Hugging Face's DynamicCache does: a textbook version of ours, for where
transformers is not installed. It runs nanogpt.py's network, one symbol at a time, greedily."""

import torch
import torch.nn.functional as F


@torch.no_grad()
def generate(model, idx, count):
    cache = [None] * len(model.blocks)
    tokens, first = idx, 0
    for _ in range(count):
        x = model.wte(tokens) + model.wpe(torch.arange(first, first + tokens.shape[1]))
        b, t, c = x.shape
        for i, block in enumerate(model.blocks):
            a = block.attention
            q, k, v = (y.view(b, t, a.heads, c // a.heads).transpose(1, 2) for y in a.qkv(block.ln1(x)).split(c, dim=2))
            if cache[i] is not None:
                k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
            cache[i] = (k, v)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            x = x + a.drop(a.proj(y.transpose(1, 2).contiguous().view(b, t, c)))
            x = x + block.mlp(block.ln2(x))
        first += tokens.shape[1]
        tokens = model.head(model.ln(x)[:, -1:]).squeeze(1).argmax(-1, keepdim=True)
        idx = torch.cat([idx, tokens], 1)
    return idx
