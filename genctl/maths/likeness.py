"""How like one picture is to another, pixel by pixel: peak signal-to-noise ratio, structural similarity. (B, C, H, W) in [0, 1]."""

import torch.nn.functional as F
from torch import Tensor

from genctl.maths.filters import gaussian

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """(B,) dB: -10 log10 of the mean squared error; 100 where there is none."""
    error = (x - y).double().square().flatten(1).mean(1)
    return -10 * error.clamp(min=1e-10).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """(B,) the mean over places and channels of eq. 13 of Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861.

    Gaussian windows of 11 pixels and sigma 1.5 that lie in the picture wholly; of smaller pictures, as large as fit.
    """
    size = min(WINDOW, x.shape[2], x.shape[3])
    tap = gaussian(size, SIGMA, x.double())
    kernel = (tap[:, None] * tap).expand(x.shape[1], 1, size, size)

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(t, kernel, groups=t.shape[1])

    x, y = x.double(), y.double()
    mx, my = mean(x), mean(y)
    vx, vy, both = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    alike: Tensor = (2 * mx * my + K1**2) * (2 * both + K2**2) / ((mx * mx + my * my + K1**2) * (vx + vy + K2**2))
    return alike.flatten(1).mean(1)
