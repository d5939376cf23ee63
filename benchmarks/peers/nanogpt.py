"""The textbook GPT in the shape of nanoGPT (https://github.com/karpathy/nanoGPT), written plainly by ourselves as a peer to measure against.

Learned positions, LayerNorm and linear layers without bias, GELU, tied embedding; F.scaled_dot_product_attention; a step of AdamW
with clipping at 1 and the loss read every ten steps; text drawn without a cache, one symbol at a time.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)
        self.drop = nn.Dropout(0.0)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(x).split(c, dim=2)
        q, k, v = (y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
        return self.drop(self.proj(y.transpose(1, 2).contiguous().view(b, t, c)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False), nn.Dropout(0.0)
        )

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class NanoGPT(nn.Module):
    def __init__(self, vocab, context, layers, heads, width):
        super().__init__()
        self.context = context
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
        self.drop = nn.Dropout(0.0)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, vocab, bias=False)
        self.wte.weight = self.head.weight
        for name, p in self.named_parameters():
            if p.dim() > 1:
                last = name.endswith(("proj.weight", "mlp.2.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if last else 0.02)

    def forward(self, idx, targets=None):
        pos = torch.arange(idx.shape[1], device=idx.device)
        x = self.drop(self.wte(idx) + self.wpe(pos))
        for block in self.blocks:
            x = block(x)
        x = self.ln(x)
        if targets is None:
            return self.head(x[:, [-1]]), None
        logits = self.head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    @torch.no_grad()
    def generate(self, idx, count):
        """Greedy, reading the whole context again for every symbol."""
        for _ in range(count):
            logits, _ = self(idx[:, -self.context :])
            idx = torch.cat([idx, logits[:, -1].argmax(-1, keepdim=True)], 1)
        return idx


def adamw(model, lr, decay=0.1, betas=(0.9, 0.99)):
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}], lr=lr, betas=betas)


def rate(step, peak, total, warmup=100, low=1e-4):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return low + 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) * (peak - low)


def batches(data, context, batch, generator):
    """Random windows of a row of symbols, as nanoGPT draws them."""
    at = torch.randint(len(data) - context, (batch,), generator=generator)
    x = torch.stack([data[i : i + context].long() for i in at])
    y = torch.stack([data[i + 1 : i + 1 + context].long() for i in at])
    return x, y


def step(model, optimizer, x, y, lr, number=0):
    """One step of training."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    _, loss = model(x, y)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if number % 10 == 0:
        loss.item()
    return loss


@torch.no_grad()
def validation(model, data, context, batch=64):
    """Mean nats over the whole row, in windows that do not overlap."""
    total, count = 0.0, 0
    starts = torch.arange(0, len(data) - context, context)
    for some in starts.split(batch):
        rows = data[some[:, None] + torch.arange(context + 1)].long()
        _, loss = model(rows[:, :-1], rows[:, 1:])
        total, count = total + float(loss) * len(some), count + len(some)
    return total / count
