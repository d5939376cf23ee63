"""The Frechet distance between two Gaussians fitted to features (Dowson and Landau 1982; Heusel et al. 2017, eq. 6).

d^2 = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)                                        (1)

With any root S1 = R' R, the eigenvalues of S1 S2 are those of the symmetric R S2 R' (and zeros), so that

tr (S1 S2)^(1/2) = sum sqrt eig(R S2 R')                                                        (2)

R is the Cholesky factor; for fewer examples than dimensions it is the centred features themselves, and the matrix is as small as
they are few; for a covariance that is singular otherwise (features that never fire), it comes from an eigendecomposition.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from genctl.metrics import jackknife

WIDE = 1024  # from here on covariances are multiplied in float32: on 10,000 x 2048 the distance moves by less than 1e-6 of itself


@dataclass(frozen=True)
class Moments:
    """Mean (D,) and covariance (D, D) of n examples in float64, and their root R (m, D): covariance = R' R."""

    mean: Tensor
    covariance: Tensor
    n: int
    centred: Tensor

    @property
    def root(self) -> Tensor:
        if self.n <= len(self.mean):
            return self.centred.double() / math.sqrt(self.n - 1)
        lower, info = torch.linalg.cholesky_ex(self.covariance)
        if not info:
            turned: Tensor = lower.mT
            return turned
        values, vectors = torch.linalg.eigh(self.covariance)
        keep = values > values[-1] * 1e-12
        scaled: Tensor = values[keep].sqrt()[:, None] * vectors[:, keep].mT
        return scaled


def moments(x: Tensor) -> Moments:
    """Of features (n, D), n >= 2. The mean is float64; the centred product is float32 for wide features."""
    mean = x.mean(0, dtype=torch.float64)
    if x.shape[1] >= WIDE and x.dtype == torch.float32:
        centred = x - mean.float()
        shift = mean - mean.float().double()  # what centring in float32 left over
        covariance = (centred.mT @ centred).double().sub_(len(x) * torch.outer(shift, shift)).div_(len(x) - 1)
    else:
        centred = x.double() - mean
        covariance = (centred.mT @ centred) / (len(x) - 1)
    return Moments(mean, covariance, len(x), centred)


def distance(a: Moments, b: Moments, root: Tensor | None = None) -> float:
    """Eq. 1 by eq. 2; `root` is b's, when it is known already."""
    if root is None:
        a, b = (a, b) if b.n <= a.n else (b, a)  # the root of the side with fewer examples is the smaller one
        root = b.root
    product = root @ a.covariance @ root.mT
    shared = torch.linalg.eigvalsh((product + product.mT) / 2).clamp(min=0).sqrt().sum()
    gap = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    return max(float(gap - 2 * shared), 0.0)


def frechet(x: Tensor, y: Tensor) -> float:
    """The distance between two sets of features (n, D) and (m, D)."""
    return distance(moments(x), moments(y))


def standard_error(samples: Tensor, reference: Moments, seed: int = 0) -> float:
    """Over the samples, the reference held fixed: a jackknife of ten groups, which (unlike a bootstrap) adds no bias of its own."""
    root = reference.root
    return jackknife(lambda rows: distance(moments(samples[rows]), reference, root), len(samples), seed=seed)
