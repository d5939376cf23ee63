"""The share of neighbours of which the second is the next symbol after the first, the last before the first; 1 at best.

A made task: what counts is an order over time, so a policy must look back to earn.
"""

from torch import Tensor

from genctl.contract import Spec


def judge(x: Tensor, spec: Spec) -> Tensor:
    """(B,) in [0, 1]; neighbours at or behind an end earn nothing."""
    x = x.flatten(1)
    good = (x[:, 1:] - x[:, :-1]) % spec.vocab == 1
    if spec.end is not None:
        good = good & (x[:, 1:] != spec.end) & (x[:, :-1] != spec.end)
    return good.float().sum(1) / max(1, x.shape[1] - 1)
