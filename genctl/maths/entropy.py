"""Cross-entropy of a large vocabulary, a few rows at a time: the logits of a batch never stand in memory together.

Smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7. z: de Brebisson and Vincent 2016, https://arxiv.org/abs/1604.08859,
as in PaLM (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 5).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CELLS = 2**21  # logits that are in memory at once


def nats(logits: Tensor, y: Tensor, smoothing: float = 0.0, z: float = 0.0) -> Tensor:
    """(N,) of logits (N, V) at y (N,): -log p(y), mixed with the mean over all symbols by `smoothing`, and z times the square of log Z."""
    out = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
    return out + z * logits.logsumexp(-1).square() if z else out


def linear_nats(h: Tensor, weight: Tensor, y: Tensor, share: Tensor, smoothing: float = 0.0, z: float = 0.0) -> Tensor:
    """Scalar: the sum of share (N,) times the nats of h (N, D) weight^T (D, V) at y (N,).

    The gradients are found on the way, so that logits are computed once and forgotten.
    """
    out: Tensor = _Linear.apply(h, weight, y, share, smoothing, z)  # type: ignore[no-untyped-call]
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, y: Tensor, share: Tensor, smoothing: float, z: float) -> Tensor:
        n, vocab = len(h), len(weight)
        rows = max(1, CELLS // vocab)
        wanted = ctx.needs_input_grad
        dh = torch.empty_like(h) if wanted[0] else None
        dw = torch.zeros_like(weight) if wanted[1] else None
        total = h.new_zeros(())
        room = h.new_empty(min(rows, n), vocab)
        for a in range(0, n, rows):
            part, truth, s = h[a : a + rows], y[a : a + rows, None], share[a : a + rows]
            u = torch.mm(part, weight.T, out=room[: len(part)])
            log_z = u.logsumexp(1)
            lost = log_z - (1 - smoothing) * u.gather(1, truth)[:, 0]
            if smoothing:
                lost = lost - smoothing * u.mean(1)
            total = total + (s * (lost + z * log_z.square() if z else lost)).sum()
            if dh is None and dw is None:
                continue
            pull = (s * (1 + 2 * z * log_z) if z else s)[:, None]
            p = u.sub_(log_z[:, None]).exp_().mul_(pull)
            if smoothing:
                p.sub_(s[:, None] * (smoothing / vocab))
            p.scatter_add_(1, truth, -(1 - smoothing) * s[:, None])
            if dh is not None:
                torch.mm(p, weight, out=dh[a : a + rows])
            if dw is not None:
                dw.addmm_(p.T, part)
        ctx.save_for_backward(dh, dw)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        dh, dw = ctx.saved_tensors
        return None if dh is None else dh * grad, None if dw is None else dw * grad, None, None, None, None
