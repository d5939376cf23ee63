"""The share of symbols that are the first of their kind in the row; 1 where none comes twice."""

import torch
from torch import Tensor

from genctl.contract import Spec


def judge(x: Tensor, spec: Spec) -> Tensor:
    """(B,) in [0, 1]: distinct symbols over the most that a row could hold; the end is none."""
    x = x.flatten(1)
    held = torch.zeros(len(x), spec.vocab, device=x.device).scatter_(1, x, 1.0)
    most = spec.vocab
    if spec.end is not None:
        held[:, spec.end] = 0
        most -= 1
    return held.sum(1) / min(most, x.shape[1])
