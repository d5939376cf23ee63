"""Filters of pictures (B, C, H, W): bicubic resizing, Gaussian blur, brightness."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bicubic(x: Tensor, scale: float) -> Tensor:
    """x of size * scale, rounded, by Keys' kernel with a = -0.5, widened where it shrinks: that of Pillow and of MATLAB's imresize.

    Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711. torch's own, without antialiasing, has a = -0.75.
    """
    size = [max(1, round(n * scale)) for n in x.shape[2:]]
    return F.interpolate(x, size=size, mode="bicubic", antialias=True)


def gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """(size,) weights of a sum of 1, about their middle."""
    at = torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2
    tap = (-at.square() / (2 * sigma**2)).exp()
    return tap / tap.sum()


def blur(x: Tensor, sigma: float) -> Tensor:
    """x under a Gaussian of `sigma` pixels, cut off at three sigma; edges are repeated outwards."""
    reach = max(1, round(3 * sigma))
    tap = gaussian(2 * reach + 1, sigma, x)
    c = x.shape[1]
    x = F.pad(x, (reach,) * 4, mode="replicate")
    x = F.conv2d(x, tap.expand(c, 1, 1, -1), groups=c)
    return F.conv2d(x, tap[:, None].expand(c, 1, -1, 1), groups=c)


def grey(x: Tensor) -> Tensor:
    """(B, 1, H, W): the brightness that Pillow takes for the grey of RGB (ITU-R 601-2)."""
    return (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def luma(x: Tensor) -> Tensor:
    """(B, 1, H, W): Y of the YCbCr of RGB in [0, 1], in [16, 235] / 255, as the measures of super-resolution take it; grey stays."""
    if x.shape[1] == 1:
        return x
    weight = x.new_tensor([65.481, 128.553, 24.966])[:, None, None]
    return ((x * weight).sum(1, keepdim=True) + 16) / 255
