"""Attention through all layers: how much of each vector at the bottom is in each at the top.

Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, https://arxiv.org/abs/2005.00928, section 3: attention rollout.
"""

import torch
from torch import Tensor


def rollout(attention: Tensor) -> Tensor:
    """(..., layers, heads, S, S) -> (..., S, S): the product over the layers of (A + 1) / 2, A the mean over heads; 1 is what passes by."""
    layers = (attention.mean(-3) + torch.eye(attention.shape[-1], device=attention.device)) / 2
    out = layers[..., 0, :, :]
    for k in range(1, layers.shape[-3]):
        out = layers[..., k, :, :] @ out
    return out
