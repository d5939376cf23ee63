"""ETTh1: two years of hourly loads and the oil temperature of an electricity transformer, seven numbers an hour.

Zhou et al. 2021, Informer, https://arxiv.org/abs/2012.07436; data: https://github.com/zhouhaoyi/ETDataset (CC BY-ND 4.0). The usual
split in time: twelve, four and four months of 30 days, 8,640 / 2,880 / 2,880 hours. A row is one hour: the order of hours is not seen.
The last months are unlike the first: training rows against test rows score badly already, and models no better.
"""

from typing import Literal

import torch
from pydantic import Field

from genctl.data import Dataset
from genctl.data._table import TableConfig, dataset, place
from genctl.data.csv import table
from genctl.errors import GenctlError, safe_text

FILE, MONTH = "ETTh1.csv.gz", 30 * 24


class Config(TableConfig):
    name: Literal["etth1"] = "etth1"
    """Loads and oil temperature by the hour."""
    columns: list[str] = Field(default_factory=lambda: ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"])
    """Which columns, in this order."""
    shuffle: bool = False
    """Hold out random hours of the twenty months rather than the last: all splits are alike, but hours have their neighbours in others."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-nonfinite, data-mismatch, config."""
    path = place("time-series", FILE, config.path)
    names, rows = table(path)
    if len(rows) < 20 * MONTH:
        raise GenctlError(
            "data-mismatch", f"{safe_text(path)}: {len(rows):,} hours; expected at least {20 * MONTH:,}", f"the published {FILE}"
        )
    order = torch.randperm(20 * MONTH, generator=torch.Generator().manual_seed(0)) if config.shuffle else torch.arange(20 * MONTH)
    parts = list(order.tensor_split([12 * MONTH, 16 * MONTH]))
    return dataset(config, names, rows, parts, safe_text(path))
