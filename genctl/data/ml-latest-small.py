"""MovieLens, small: 610 people's ratings of 9,724 films, half a star to five, 100,836 in all; most of the table is missing.

Harper and Konstan 2015, The MovieLens datasets, https://doi.org/10.1145/2827872. A row is a person. The splits have the same rows and
other ratings of them: `Batch.mask` says which. No split is published; ours holds out a tenth of the ratings by a fixed permutation.
Any folder with `ratings.csv.gz` (userId, movieId, rating) and `movies.csv.gz` (movieId, title) is read.
"""

import json
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import DataConfig, Dataset, Split, fingerprint, holdout
from genctl.data._cells import columns, inside
from genctl.errors import GenctlError, safe_text

LEVELS, LOW, HIGH = 10, 0.5, 5.0
MOST = 10**8  # cells of the table


class Config(DataConfig):
    name: Literal["ml-latest-small"] = "ml-latest-small"
    """People's ratings of films."""
    least: int = Field(1, ge=1)
    """Films with fewer ratings in all are left out."""
    valid: float = Field(0.0, ge=0, lt=1)
    """The share of the ratings held out for validation; 0: validate on those trained on."""
    test: float = Field(0.1, gt=0, lt=1)
    """The share of the ratings held out for testing."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-empty, limit."""
    ratings, films = inside("ml-latest-small", config.path, "ratings.csv.gz", "movies.csv.gz")
    shown, cells = safe_text(ratings), columns(ratings, "userId", "movieId", "rating")
    count: dict[str, int] = {}
    for _, film, _ in cells:
        count[film] = count.get(film, 0) + 1
    titles = [(film, title) for film, title in columns(films, "movieId", "title") if count.get(film, 0) >= config.least]
    column = {film: k for k, (film, _) in enumerate(titles)}
    people = {person: k for k, person in enumerate(dict.fromkeys(person for person, _, _ in cells))}
    if not titles or len(people) * len(titles) > MOST:
        raise GenctlError("limit", f"{shown}: a table of {len(people):,} people and {len(titles):,} films", "another data.least")
    kept = [(people[person], column[film], _level(rating, shown)) for person, film, rating in cells if film in column]
    row, place, level = torch.tensor(kept).unbind(1)
    parts = holdout(len(kept), config.valid, config.test, seed=config.split_seed)
    size = (len(people), len(titles))
    splits = [_split(torch.zeros(size, dtype=torch.uint8).index_put((row[i], place[i]), (level[i] + 1).to(torch.uint8))) for i in parts]
    items = json.dumps({"titles": [safe_text(title, 200) for _, title in titles], "low": LOW, "high": HIGH}, ensure_ascii=False)
    spec = Spec(shape=(len(titles),), levels=LEVELS, media="ratings", codec={"items": items})
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2])


def _level(cell: str, shown: str) -> int:
    try:
        level = (float(cell) - LOW) / (HIGH - LOW) * (LEVELS - 1)
    except ValueError:
        level = -1.0
    if not 0 <= level < LEVELS or level != round(level):
        raise GenctlError("data-format", f"{shown}: '{safe_text(cell, 20)}' is no rating of {LOW:g} to {HIGH:g} in half stars")
    return round(level)


def _split(table: Tensor) -> Split:
    """Of a table (people, films) of levels 1 to LEVELS, 0 where there is none."""

    def get(index: Tensor) -> Batch:
        level = table[index]
        return Batch(x=(level.float() - 1).clamp(min=0) / (LEVELS - 1), mask=level > 0)

    return Split(len(table), get, lambda: fingerprint(table))
