"""PneumoniaMNIST: 5,856 X-rays of children's chests, 28x28 of grey levels, normal or with pneumonia.

Yang et al. 2023, MedMNIST v2, https://doi.org/10.1038/s41597-022-01721-8; pictures of Kermany et al. 2018. Split as published: 4,708
train, 524 validation, 624 test. Not for clinical use.
"""

from dataclasses import replace
from typing import Literal

from genctl.contract import Spec
from genctl.data import Dataset, find, npz
from genctl.data._pixels import PixelConfig
from genctl.errors import GenctlError, safe_text

FILE = "pneumoniamnist.npz"
CLASSES = ["normal", "pneumonia"]


class Config(PixelConfig):
    name: Literal["pneumoniamnist"] = "pneumoniamnist"
    """X-rays of chests."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    place = find("pneumoniamnist", config.path, FILE)
    path = place / FILE if place.is_dir() else place
    found = npz.open(npz.Config(**{**config.model_dump(), "name": "npz", "path": str(path)}))
    label = found.spec.given.get("label")
    if label is None or label.vocab != len(CLASSES):
        raise GenctlError("data-mismatch", f"{safe_text(path)}: not labelled normal and pneumonia", "put the published file there")
    named = Spec(shape=(), vocab=len(CLASSES), codec={"names": CLASSES})
    return replace(found, spec=replace(found.spec, given={"label": named}))
