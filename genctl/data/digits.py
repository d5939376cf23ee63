"""Scanned handwritten digits, 8x8 pixels of 17 grey levels, 1,797 of them: they ship inside scikit-learn.

Source: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49. No split is published for
this subset; ours is a fixed permutation: 1,257 train, 180 validation, 360 test.
"""

from typing import Literal

import torch

from genctl.data import Dataset, holdout
from genctl.data._pixels import PixelConfig, dataset
from genctl.errors import GenctlError


class Config(PixelConfig):
    name: Literal["digits"] = "digits"
    """The scikit-learn digits."""


def open(config: Config) -> Dataset:
    """Raises GenctlError (backend) without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise GenctlError("backend", "data 'digits' needs the 'digits' extra (scikit-learn)", "pip install 'genctl[digits]'") from None
    raw = load_digits()
    x = torch.from_numpy(raw.images).to(torch.uint8)[:, None]
    y = torch.from_numpy(raw.target).long()
    train, valid, test = ((x[i], y[i]) for i in holdout(len(x), 0.1, 0.2))
    return dataset(config, train, valid, test, levels=17, classes=[str(k) for k in range(10)])
