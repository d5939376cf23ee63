"""Multi30k: 29,000 captions of pictures in English and German; 1,014 to validate, 1,000 (in 2016 and 2017) or 461 (coco) to test.

Elliott et al. 2016, https://aclanthology.org/W16-3210, and 2017, https://aclanthology.org/W17-4718. The text of task 1 as it was written
(`raw`): case and punctuation are kept.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from genctl.data import Dataset
from genctl.data._cells import inside
from genctl.data._sides import SidesConfig, aligned, dataset

TESTS = {"2016": "test_2016_flickr", "2017": "test_2017_flickr", "coco": "test_2017_mscoco"}


class Config(SidesConfig):
    name: Literal["multi30k-en-de"] = "multi30k-en-de"
    """Captions in English and German."""
    source: Literal["en", "de"] = "en"
    """The language that is translated from."""
    test: Annotated[Literal["2016", "2017", "coco"], BeforeValidator(str)] = "2016"  # YAML reads a year as a number
    """Which test part."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad."""
    sides = (config.source, "de" if config.source == "en" else "en")
    files = [f"{part}.{side}.gz" for part in ("train", "val", TESTS[config.test]) for side in sides]
    found = inside("multi30k-en-de", config.path, *files)
    return dataset(config, [aligned(*found[i : i + 2]) for i in (0, 2, 4)])
