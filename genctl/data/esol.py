"""ESOL: 1,128 molecules by their solubility in water and seven descriptors, as a table of numbers and counts.

Delaney 2004, ESOL: estimating aqueous solubility directly from molecular structure, https://doi.org/10.1021/ci034243x. No split is
published; ours is a fixed permutation: 789 train, 113 validation, 226 test. Counts are categories: a density has no bound on them.
"""

from typing import Literal

from pydantic import Field

from genctl.data import Dataset
from genctl.data._table import SplitConfig, dataset, place, split
from genctl.data.csv import table
from genctl.errors import safe_text

FILE = "esol.csv"
COUNTS = ["Minimum Degree", "Number of H-Bond Donors", "Number of Rings", "Number of Rotatable Bonds"]
NUMBERS = [
    "Molecular Weight",
    "Polar Surface Area",
    "ESOL predicted log solubility in mols per litre",
    "measured log solubility in mols per litre",
]


class Config(SplitConfig):
    name: Literal["esol"] = "esol"
    """Molecules and their solubility."""
    columns: list[str] = Field(default_factory=lambda: [*NUMBERS, *COUNTS])
    """Which columns, in this order."""
    categories: list[str] = Field(default_factory=lambda: list(COUNTS))
    """Columns of numbers to be read as categories."""
    test: float = Field(0.2, ge=0, lt=1)
    """The share held out for testing."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-nonfinite, config."""
    path = place("molecules", FILE, config.path)
    names, rows = table(path)
    return dataset(config, names, rows, split(len(rows), config), safe_text(path))
