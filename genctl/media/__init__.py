"""How each medium is written and shown. One medium per file: `preview(...)`, `sheet(...)`, and `open_writer(...)` for samples that stream in.

Every file says that it is generated, by which checkpoint and seed: PNG and npz inside, csv and txt in `samples.json` beside them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from genctl import catalog
from genctl.contract import Spec

Note = dict[str, Any]  # what a generated file says of itself


class Writer(Protocol):
    """Takes samples piece by piece; memory does not grow with their number."""

    def add(self, x: Tensor) -> None:
        """(m, *shape) more samples."""

    def close(self) -> list[Path]:
        """The files written, the one to look at first."""


class Medium(Protocol):
    """What every file of this room offers."""

    def preview(self, x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
        """Writes one file that shows all of x, at `stem` plus the medium's suffix."""

    def sheet(self, rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
        """Writes one file that compares: what belongs together, such as x and its reconstruction, has the same place in every row."""

    def open_writer(self, folder: Path, spec: Spec, note: Note) -> Writer:
        """A writer of samples into an existing folder."""


def writer(spec: Spec) -> Medium:
    """The medium of a Spec."""
    return cast(Medium, catalog.load("media", spec.media))
