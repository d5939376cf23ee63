"""Wine: 178 Italian wines of three cultivars by 13 chemical measurements; they ship inside scikit-learn.

Source: S. Aeberhard and M. Forina, UCI Machine Learning Repository, 1991, https://doi.org/10.24432/C5PC7J. No split is published; ours
is a fixed permutation: 107 train, 18 validation, 53 test.
"""

from typing import Literal

from genctl.data import Dataset
from genctl.data._sklearn import SklearnConfig, open_table


class Config(SklearnConfig):
    name: Literal["wine"] = "wine"
    """The scikit-learn wines."""
    label: Literal["cultivar", ""] = "cultivar"
    """Stands beside x as `label`; '': it is a column of x."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: backend (without scikit-learn), config."""
    return open_table(config, "load_wine", "cultivar")
