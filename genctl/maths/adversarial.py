"""The losses of two-player games, and the penalty that keeps them still. Logits are the critic's: large for real."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def saturating_free(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))), the critic's half of Goodfellow et al. 2014, eq. 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) (Lim and Ye 2017, eq. 4)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """E (D(x) - 1)^2 + E D(G(z))^2 (Mao et al. 2017, eq. 9 doubled)."""
    return (real - 1).square().mean() + fake.square().mean()


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x) - D(G(z))) over pairs (Jolicoeur-Martineau 2019): no mode can be left out for free (Sun et al. 2020)."""
    return F.softplus(fake - real).mean()


CRITIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "non-saturating": saturating_free,
    "hinge": hinge,
    "least-squares": least_squares,
    "relativistic": relativistic,
}
GENERATOR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "non-saturating": lambda real, fake: F.softplus(-fake).mean(),  # -E log D(G(z))
    "hinge": lambda real, fake: -fake.mean(),
    "least-squares": lambda real, fake: (fake - 1).square().mean(),
    "relativistic": lambda real, fake: F.softplus(real - fake).mean(),
}


def slope(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """E ||grad_x D(x)||^2 / 2 on real examples (Mescheder et al. 2018, eq. 9; on drawn ones it is R2), times gamma elsewhere."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_(True)
        (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return 0.5 * grad.square().flatten(1).sum(1).mean()
