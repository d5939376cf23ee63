"""A row notes its figures with `figure("50 kills, 0 lost")`; the table of `python -m tests.faults` shows them."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def figure(record_property):
    return lambda text: record_property("figure", text)


@pytest.fixture
def ram():
    """A folder in memory: for rows that make thousands of files and lose no power in earnest."""
    place = Path(tempfile.mkdtemp(prefix="genctl-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield place
    shutil.rmtree(place, ignore_errors=True)
