"""sample --given ratings.csv: what somebody would rate best of what they have not rated, by a model of ratings."""

import csv
import difflib
from pathlib import Path
from typing import Any

import torch

from genctl.contract import Batch, Spec
from genctl.data._cells import columns
from genctl.errors import GenctlError, safe_text
from genctl.media import ratings
from genctl.tasks import examples
from genctl.tasks.sample import Sampler, fill


def read(path: Path, spec: Spec) -> Batch:
    """One row of x and what of it is known, out of a csv with the columns title and rating.

    Raises GenctlError: no-input, data-format, data-empty, data-mismatch (a title that the model does not know, a rating out of range).
    """
    titles, low, high = ratings.items(spec)
    x, mask, place = torch.zeros(1, spec.size), torch.zeros(1, spec.size, dtype=torch.bool), {t.casefold(): k for k, t in enumerate(titles)}
    for title, rating in columns(path, "title", "rating"):
        k = place.get(title.strip().casefold())
        if k is None:
            near = difflib.get_close_matches(title.casefold(), place, 3, 0.5)
            said = "; did you mean " + " or ".join(f"'{titles[place[t]]}'" for t in near) if near else ""
            raise GenctlError("data-mismatch", f"{safe_text(path)}: the model knows no '{safe_text(title, 100)}'{said}")
        try:
            value = (float(rating) - low) / (high - low)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise GenctlError("data-mismatch", f"{safe_text(path)}: '{safe_text(rating, 20)}' is no rating of {low:g} to {high:g}")
        x[0, k], mask[0, k] = value, True
    return Batch(x=x.reshape(1, *spec.shape), mask=mask.reshape(1, *spec.shape))


def recommend(sampler: Sampler, path: Path, n: int, seed: int, out: Path) -> dict[str, Any]:
    """The n highest of the ratings that the model expects, of what was not rated: recommendations.csv.

    Raises GenctlError (power, no-input, data-..., out-...).
    """
    if sampler.spec.media != "ratings":
        raise GenctlError("power", "this model is not one of ratings: --given takes an .npz of arrays to condition on")
    examples.need(sampler, "encode", "decode")
    batch = read(path, sampler.spec)
    assert batch.mask is not None
    expected = examples.decode(sampler, examples.encode(sampler, batch, seed), {}, seed)
    (liked,) = ratings.best(expected.masked_fill(batch.mask, -torch.inf), sampler.spec, n)

    def files(folder: Path) -> list[Path]:
        place = folder / "recommendations.csv"
        with place.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["title", "rating"])
            table.writerows([title, f"{rating:.2f}"] for title, rating in liked)
        return [place]

    paths = fill(out, {**sampler.note(seed), "n": len(liked), "given": int(batch.mask.sum())}, files)
    told = [{"title": title, "rating": round(rating, 3)} for title, rating in liked]
    return {"n": len(liked), "given": int(batch.mask.sum()), "best": told, "out": str(out), "files": [str(p) for p in paths]}
