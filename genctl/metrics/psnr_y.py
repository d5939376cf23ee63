"""Peak signal-to-noise ratio of test pictures restored whole, as super-resolution is measured: brightness alone, without the border.

Y of YCbCr, a border of as many pixels as the scale left out, the mean over pictures in dB; `ssim` likewise. `bicubic` and `bicubic_ssim` are
those of the source enlarged by a bicubic filter (a = -0.5; handed back as it is where the scale is 1). Equations: maths/likeness.py.
"""

import torch
from torch import Tensor

from genctl.maths import filters, likeness
from genctl.metrics import Case, Score

NEEDS = frozenset({"whole"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    assert case.whole is not None
    rows = []
    for x, pair in case.whole():
        source = pair.given["source"]
        scale = pair.x.shape[2] // source.shape[2]
        plain = (filters.bicubic(source, scale) if scale > 1 else source).expand_as(pair.x)
        y = _bright(pair.x, scale)
        rows.append([float(f(_bright(picture, scale), y)) for picture in (x, plain) for f in (likeness.psnr, likeness.ssim)])
    if not rows:
        return Score(value=None, reason="there is no test picture")
    each = torch.tensor(rows, dtype=torch.float64)
    psnr, ssim, bicubic, bicubic_ssim = each.mean(0).tolist()
    fields = {"ssim": ssim, "bicubic": bicubic, "bicubic_ssim": bicubic_ssim, "gain": psnr - bicubic}
    return Score(value=psnr, se=(each[:, 0].std() / len(each) ** 0.5).item() if len(each) > 1 else None, fields=fields)


def _bright(x: Tensor, border: int) -> Tensor:
    """Y of a picture as it would be saved, in 8 bits."""
    y = filters.luma((255 * x.clamp(0, 1)).round() / 255)
    return y[:, :, border:-border, border:-border] if border > 1 and min(y.shape[2:]) > 2 * border else y
