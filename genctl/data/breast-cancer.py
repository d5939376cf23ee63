"""Breast cancer (Wisconsin, diagnostic): 569 tumours by 30 measurements of their cell nuclei; they ship inside scikit-learn.

Source: W. Wolberg, O. Mangasarian, N. Street and W. Street, UCI Machine Learning Repository, 1995, https://doi.org/10.24432/C5DW2B. No
split is published; ours is a fixed permutation: 341 train, 57 validation, 171 test.
"""

from typing import Literal

from genctl.data import Dataset
from genctl.data._sklearn import SklearnConfig, open_table


class Config(SklearnConfig):
    name: Literal["breast-cancer"] = "breast-cancer"
    """The scikit-learn tumours."""
    label: Literal["diagnosis", ""] = "diagnosis"
    """Stands beside x as `label`; '': it is a column of x."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: backend (without scikit-learn), config."""
    return open_table(config, "load_breast_cancer", "diagnosis")
