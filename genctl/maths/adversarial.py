"""The losses of two-player games, and the penalties that keep them still. Logits are the critic's: large for real.

minimax and non-saturating differ in the generator's half alone; how all of them behave beside each other is measured in
docs/collapse.md.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import noise, ranks


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """-E log D(x) - E log(1 - D(G(z))), the critic's half of Goodfellow et al. 2014, eq. 1."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) (Lim and Ye 2017, eq. 4)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """E (D(x) - 1)^2 + E D(G(z))^2 (Mao et al. 2017, eq. 9 doubled)."""
    return (real - 1).square().mean() + fake.square().mean()


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """E D(G(z)) - E D(x), minus the distance where D is 1-Lipschitz (Arjovsky et al. 2017, eq. 2)."""
    return fake.mean() - real.mean()


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(x) - D(G(z))) over pairs (Jolicoeur-Martineau 2019): no mode can be left out for free (Sun et al. 2020)."""
    return F.softplus(fake - real).mean()


CRITIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minimax": cross_entropy,
    "non-saturating": cross_entropy,
    "hinge": hinge,
    "least-squares": least_squares,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
}
GENERATOR: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minimax": lambda real, fake: -F.softplus(fake).mean(),  # E log(1 - D(G(z))): flat where the critic is sure
    "non-saturating": lambda real, fake: F.softplus(-fake).mean(),  # -E log D(G(z))
    "hinge": lambda real, fake: -fake.mean(),
    "least-squares": lambda real, fake: (fake - 1).square().mean(),
    "wasserstein": lambda real, fake: -fake.mean(),
    "relativistic": lambda real, fake: F.softplus(real - fake).mean(),
}
SHIFTLESS = frozenset({"wasserstein", "relativistic"})  # where only differences of logits count, so that the last layer needs no bias
PAIRED = frozenset({"relativistic"})  # where the generator's half looks at real examples too


def _gradient(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(B, ...) slope of D at x, that itself has a gradient; in float32."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_(True)
        (grad,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return grad


def slope(critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """E ||grad_x D(x)||^2 / 2 on real examples (Mescheder et al. 2018, eq. 9; on drawn ones it is R2), times gamma elsewhere."""
    return 0.5 * _gradient(critic, x).square().flatten(1).sum(1).mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """E (||grad D|| - 1)^2 on the way from real to drawn examples (Gulrajani et al. 2017, eq. 3), times lambda elsewhere."""
    along = noise.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    length: Tensor = torch.linalg.vector_norm(_gradient(critic, fake + along * (real - fake)).flatten(1), dim=1)
    return (length - 1).square().mean()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """||E f(x) - E f(G(z))||^2 of features (B, F) over the whole batch (Salimans et al. 2016, section 3.1)."""
    rows = ranks.joined(real.new_tensor(float(len(real))))
    apart: Tensor = (ranks.joined((real - fake).sum(0)) / rows).square().sum()
    return apart
