"""Optimisers by player, and the learning rate as a function of progress.

AdamW: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, fused where torch has it.
Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, for the matrices inside a network.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from genctl.contract import Player, Progress
from genctl.recipe import Train

COOL = 0.2  # the share of a wsd schedule in which the rate falls


def rate(train: Train, at: Progress) -> float:
    """The factor on the learning rate at a step: linear warm-up, then a decay to `final_lr` or none."""
    if at.step < train.warmup:
        return (at.step + 1) / (train.warmup + 1)
    if train.decay == "none":
        return 1.0
    t = (at.step - train.warmup) / max(1, at.total - train.warmup)
    falling = {"linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2, "wsd": min(1.0, (1 - t) / COOL)}[train.decay]
    return train.final_lr + (1 - train.final_lr) * falling


def build(player: Player, train: Train, names: dict[int, str]) -> list[torch.optim.Optimizer]:
    """The optimisers of one player; each parameter group holds its rate after the warm-up as `peak`."""
    params = [p for p in player.params if p.requires_grad]
    lr = train.lr_of.get(player.name, train.lr)
    out: list[torch.optim.Optimizer] = []
    if train.optimizer == "muon":
        hidden = [p for p in params if p.ndim == 2 and not _is_edge(names[id(p)])]
        if hidden:
            out.append(Muon(hidden, lr=train.lr_muon, weight_decay=train.weight_decay))
            held = {id(p) for p in hidden}
            params = [p for p in params if id(p) not in held]
    if params:
        decayed, plain = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
        apart = ((decayed, train.weight_decay), (plain, 0.0)) if train.weight_decay else ((params, 0.0),)
        groups = [{"params": g, "weight_decay": w} for g, w in apart if g]
        if train.optimizer == "sgd":
            out.append(torch.optim.SGD(groups, lr=lr, momentum=train.betas[0] if train.betas[0] < 1 else 0.0, fused=True))
        else:
            out.append(
                torch.optim.AdamW(groups, lr=lr, betas=train.betas, eps=train.eps, fused=params[0].device.type in ("cpu", "cuda", "mps"))
            )
    for optimizer in out:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return out


def _is_edge(name: str) -> bool:
    """Whether a matrix reads symbols or writes logits: Muon's authors leave those to AdamW."""
    return any(word in name.split(".") for word in ("embed", "embedding", "head", "position"))


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def state(optimizers: Iterable[torch.optim.Optimizer], names: dict[int, str]) -> dict[str, Tensor]:
    """Every tensor an optimiser remembers, as `parameter/key`."""
    return {f"{names[id(p)]}/{k}": v for o in optimizers for p, kept in o.state.items() for k, v in kept.items() if isinstance(v, Tensor)}


def restore(optimizers: Iterable[torch.optim.Optimizer], names: dict[int, str], saved: dict[str, Tensor]) -> set[str]:
    """Puts the tensors of `state` back; returns the names it used. Raises ValueError naming what cannot be its state."""
    used: set[str] = set()
    for optimizer in optimizers:
        wanted: set[str] = set()  # all parameters of an optimiser remember the same things, or nothing yet
        for group in optimizer.param_groups:
            for p in group["params"]:
                prefix = f"{names[id(p)]}/"
                kept = {k[len(prefix) :]: v for k, v in saved.items() if k.startswith(prefix)}
                used |= {prefix + k for k in kept}
                if kept:
                    wanted = wanted or set(kept)
                    odd = [k for k, v in kept.items() if v.ndim and (v.shape != p.shape or v.dtype != p.dtype)]
                    if wanted != set(kept) or odd:
                        raise ValueError(prefix + min(odd or wanted ^ set(kept)))
                    optimizer.state[p] = {k: v.clone().to(p.device) if v.ndim else v.clone() for k, v in kept.items()}
                    if group.get("fused"):
                        optimizer.state[p] = {k: v.to(p.device) for k, v in optimizer.state[p].items()}
    return used


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal by five Newton-Schulz steps, scaled by sqrt(max(1, rows / columns)).

    Matrices of one shape are handled together. Computed in float32 on a CPU (bf16 is slow on most) and bf16 on a GPU.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, same in by_shape.items():
                bufs = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in same]
                grads: list[Tensor] = [p.grad for p in same if p.grad is not None]
                weights = [p.detach() for p in same]
                torch._foreach_lerp_(bufs, grads, 1 - group["momentum"])
                ahead = torch._foreach_lerp(grads, bufs, group["momentum"])
                turned = orthogonal(torch.stack(tuple(ahead))) * max(1.0, shape[0] / shape[1]) ** 0.5
                if group["weight_decay"]:
                    torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(weights, list(turned.to(same[0].dtype).unbind()), alpha=-group["lr"])


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """(K, m, n) matrices with singular values moved near 1 by the quintic iteration of Jordan et al. (the Muon post).

    Every step multiplies x by q = a + b s + c s^2, s = x x^T, from the left, so for long matrices in float32 it is cheaper to
    iterate on the m x m matrices alone, s <- q s q, and to multiply x by the product of all q at the end.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if g.is_cuda else g.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    if x.dtype is torch.float32 and x.shape[-1] >= 2 * x.shape[-2]:
        s, product = x @ x.mT, None
        for k in range(steps):
            q = torch.baddbmm(s, s, s, beta=b, alpha=c)
            q.diagonal(dim1=-2, dim2=-1).add_(a)
            product = q if product is None else q @ product
            s = q @ (q @ s) if k + 1 < steps else s  # q and s commute
        x = product @ x
    else:
        for _ in range(steps):
            s = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
