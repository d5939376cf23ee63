"""Tables that ship inside scikit-learn: numbers, and one column of classes."""

from typing import Any

from pydantic import Field

from genctl.data import Dataset
from genctl.data._table import SplitConfig, dataset, split
from genctl.errors import GenctlError


class SklearnConfig(SplitConfig):
    """The keys that they take."""

    test: float = Field(0.3, ge=0, lt=1)
    """The share held out for testing."""


def open_table(config: Any, loader: str, target: str) -> Dataset:
    """What `sklearn.datasets.<loader>` holds, its class in a column called `target`. Raises GenctlError (backend, config)."""
    try:
        from sklearn import datasets
    except ImportError:
        raise GenctlError(
            "backend", f"data '{config.name}' needs the 'digits' extra (scikit-learn)", "pip install 'genctl[digits]'"
        ) from None
    raw = getattr(datasets, loader)()
    names = [str(n).replace("_", " ") for n in raw.feature_names]
    rows = [[*(repr(float(v)) for v in row), str(raw.target_names[k])] for row, k in zip(raw.data, raw.target, strict=True)]
    return dataset(config, [*names, target], rows, split(len(rows), config), config.name)
