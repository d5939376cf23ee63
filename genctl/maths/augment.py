"""Random changes of pictures that a critic sees, each with probability p, so that few examples last longer without leaking into samples.

Karras et al. 2020, Training GANs with Limited Data, https://arxiv.org/abs/2006.06676, appendix B; pixels are interpolated linearly
instead of through wavelets. Everything is differentiable twice and made of operations that every device has.
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from genctl.maths import noise

KINDS = ("flip", "turn", "shift", "scale", "rotate", "colour")


def augment(x: Tensor, p: float | Tensor, kinds: Collection[str] = KINDS) -> Tensor:
    """(B, C, H, W) in [-1, 1], each example changed by a draw of its own. p: a number, or a scalar tensor, in [0, 1].

    flip      left to right              turn      by quarters of a circle (squares only)
    shift     by up to an eighth         scale     both or one axis, by a factor of log-normal spread 0.2
    rotate    by any angle               colour    brightness, contrast, and for three channels luma flip, hue, saturation
    """
    matrix = geometry(len(x), p, kinds, x)
    return colour(warp(x, matrix), p) if "colour" in kinds else warp(x, matrix)


def _matrix(like: Tensor, *rows: tuple[float | Tensor, float | Tensor, float | Tensor]) -> Tensor:
    """(n, r, 3) out of numbers and tensors (n,)."""
    return torch.stack([torch.stack([like * 0 + v for v in row], -1) for row in rows], -2)


def geometry(n: int, p: float | Tensor, kinds: Collection[str], like: Tensor) -> Tensor:
    """(n, 3, 3): where each pixel of the result comes from, in coordinates from -1 to 1."""
    one, place = like.new_ones(n), like.device
    whole = torch.eye(3, dtype=like.dtype, device=place).expand(n, 3, 3)
    width, height = like.shape[-1], like.shape[-2]

    def gate(chance: float | Tensor = p) -> Tensor:
        """(n,) 1 with that probability, else 0."""
        return (noise.rand(n, device=place) < chance).to(like.dtype)

    def normal() -> Tensor:
        return noise.randn(n, device=place)

    def even() -> Tensor:
        """(n,) uniform on [-1, 1]."""
        return 2 * noise.rand(n, device=place) - 1

    def stretch(a: Tensor, b: Tensor) -> Tensor:
        return _matrix(one, (a, 0.0, 0.0), (0.0, b, 0.0), (0.0, 0.0, 1.0))

    def turn(angle: Tensor) -> Tensor:
        c, s = angle.cos(), angle.sin()
        return _matrix(one, (c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))

    def move(a: Tensor, b: Tensor) -> Tensor:
        return _matrix(one, (1.0, 0.0, a), (0.0, 1.0, b), (0.0, 0.0, 1.0))

    half = 1 - (1 - torch.as_tensor(p)).clamp(min=0).sqrt()  # of either turn about the uneven scaling: p in all
    if "flip" in kinds:
        whole = whole @ stretch(1 - 2 * gate() * noise.randint(2, n, device=place), one)
    if "turn" in kinds and width == height:
        whole = whole @ turn(gate() * noise.randint(4, n, device=place) * (math.pi / 2))
    if "shift" in kinds:
        on = gate()
        whole = whole @ move(*(on * (even() * size / 8).round() * 2 / size for size in (width, height)))  # a whole number of pixels
    if "scale" in kinds:
        size = torch.exp2(0.2 * normal() * gate())
        whole = whole @ stretch(size, size)
    if "rotate" in kinds:
        whole = whole @ turn(gate(half) * math.pi * even())
    if "scale" in kinds:
        size = torch.exp2(0.2 * normal() * gate())
        whole = whole @ stretch(size, 1 / size)
    if "rotate" in kinds:
        whole = whole @ turn(gate(half) * math.pi * even())
    if "shift" in kinds:
        on = gate()
        whole = whole @ move(0.25 * normal() * on, 0.25 * normal() * on)
    return whole


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """The picture seen through `matrix` (B, 3, 3), pixels interpolated, the outside mirrored."""
    n, c, h, w = x.shape
    across, down = ((2 * torch.arange(k, device=x.device, dtype=x.dtype) + 1) / k - 1 for k in (w, h))
    at = torch.stack([across.expand(h, w), down[:, None].expand(h, w), x.new_ones(h, w)], -1).view(1, -1, 3)
    from_ = at @ matrix.transpose(1, 2)  # (B, H W, 3)
    out = x.new_zeros(n, c, h * w)
    flat = x.flatten(2)
    place = [_mirrored((from_[..., k] + 1) * size / 2 - 0.5, size) for k, size in enumerate((w, h))]
    low = [t.floor() for t in place]
    for right in (0, 1):
        for below in (0, 1):
            i, j = ((lo + d).clamp(max=size - 1) for lo, d, size in zip(low, (right, below), (w, h), strict=True))
            part = [t - lo if d else 1 - (t - lo) for t, lo, d in zip(place, low, (right, below), strict=True)]
            index = (j * w + i).long()[:, None].expand(-1, c, -1)
            out = out + flat.gather(2, index) * (part[0] * part[1])[:, None]
    return out.view(n, c, h, w)


def _mirrored(t: Tensor, size: int) -> Tensor:
    """Places on a line of `size` pixels, those outside folded back in at its ends."""
    period = 2 * size
    t = torch.remainder(t + 0.5, period)
    return (torch.where(t > size, period - t, t) - 0.5).clamp(0, size - 1)


def colour(x: Tensor, p: float | Tensor) -> Tensor:
    """Brightness and contrast; for three channels the luma axis mirrored, hue turned around it, saturation stretched."""
    n, c = x.shape[:2]

    def gated(draw: Tensor) -> Tensor:
        """(n, 1, 1, 1) a draw with probability p, else 0."""
        return (draw * (noise.rand(n, device=x.device) < p))[:, None, None, None]

    def normal() -> Tensor:
        return noise.randn(n, device=x.device)

    x = (x + 0.2 * gated(normal())) * torch.exp2(0.5 * gated(normal()))
    if c != 3:
        return x
    grey = x.mean(1, keepdim=True)
    mirrored = gated(noise.randint(2, n, device=x.device))
    angle = gated(math.pi * (2 * noise.rand(n, device=x.device) - 1))
    tint = x - grey
    round_ = (tint.roll(1, 1) - tint.roll(-1, 1)) / math.sqrt(3)  # the luma axis times the tint: a quarter turn
    tint = tint * angle.cos() + round_ * angle.sin()
    return grey * (1 - 2 * mirrored) + tint * torch.exp2(gated(normal()))
