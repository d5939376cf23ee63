"""reconstruct, interpolate, traverse and encode: what is done with a family that has codes."""

import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise, paths
from genctl.media import image, vector, writer
from genctl.metrics import Case, mig
from genctl.powers import Encode, Prior
from genctl.tasks import examples, readback
from genctl.tasks.examples import Where
from genctl.tasks.sample import Sampler, fill

DRAWN = 256  # codes drawn to see which of their numbers vary
MAPS = ("pca", "tsne", "umap")
MAPPED, PROBED = 2_000, 10_000  # points of a map by t-SNE or UMAP, examples of a probe


def _shown(sampler: Sampler, folder: Path, note: dict[str, Any], rows: dict[str, Tensor], x: Tensor) -> list[Path]:
    """A sheet to look at first, then x as `genctl sample` would write it."""
    medium = writer(sampler.spec)
    target = medium.open_writer(folder, sampler.spec, note)
    target.add(x)
    return [medium.sheet(rows, sampler.spec, folder / "sheet", note), *target.close()]


# --- there and back ---


def reconstruct(sampler: Sampler, where: Where, out: Path) -> dict[str, Any]:
    """decode(encode(x)) beside x. Raises GenctlError (power, usage, data-..., out-...)."""
    examples.need(sampler, "encode", "decode")
    batch, _ = examples.find(sampler, where)
    x = examples.decode(sampler, examples.encode(sampler, batch, where.seed), examples.beside(sampler.model, batch), where.seed)
    if sampler.spec.vocab:
        error = (x != batch.x).flatten(1).double().mean(1)
    else:
        error = (x - batch.x).double().square().flatten(1).mean(1)
    note = {**sampler.note(where.seed), "n": len(x)}
    files = fill(out, note, lambda folder: _shown(sampler, folder, note, {"x": batch.x, "reconstruction": x}, x))
    name = "wrong_symbols" if sampler.spec.vocab else "mean_squared_error"
    return {"n": len(x), name: error.mean().item(), "worst": error.argmax().item(), "out": str(out), "files": [str(p) for p in files]}


# --- from here to there ---


def place(sampler: Sampler, text: str, given: dict[str, Tensor]) -> Tensor:
    """A code (*code.shape): that of the first sample of a seed, or of the example in a file. Raises GenctlError."""
    model: Any = sampler.model
    if not text.isdecimal():
        examples.need(sampler, "encode")
        return examples.encode(sampler, Batch(x=readback.read(Path(text), sampler.spec, 1)[0], given=given))[0]
    if len(text) > 18:
        raise GenctlError("usage", f"{safe_text(text)}: a seed is a number below 10^18")
    seed = int(text)
    if isinstance(model, Prior):
        chunk = sampler.recipe.sample.chunk
        model.eval()  # type: ignore[attr-defined]
        with torch.no_grad(), noise.stream(seed, "sample", 0):
            return model.prior(chunk, {k: v.expand(chunk, *v.shape[1:]).to(sampler.model.device) for k, v in given.items()})[0].cpu()
    examples.need(sampler, "encode")
    return examples.encode(sampler, Batch(x=sampler.sample(1, seed, given), given=given))[0]


def _continuous(sampler: Sampler) -> None:
    examples.need(sampler, "decode")
    code: Spec = sampler.model.code  # type: ignore[assignment]
    if code.vocab:
        raise GenctlError("power", f"the codes of family '{sampler.recipe.family}' are symbols: nothing lies between two of them")


def interpolate(sampler: Sampler, ends: tuple[str, str], frames: int, path: str, beside: dict[str, Tensor], out: Path) -> dict[str, Any]:
    """Samples along a way between two codes. `path`: spherical or linear. Raises GenctlError (power, usage, no-input, data-..., out-...)."""
    _continuous(sampler)
    ways = {"spherical": paths.spherical, "linear": paths.linear}
    if path not in ways:
        raise GenctlError("usage", f"--path {safe_text(path)}: expected {' or '.join(ways)}")
    given = sampler.given(1, beside)
    a, b = (place(sampler, end, given) for end in ends)
    codes = ways[path](a, b, torch.linspace(0, 1, frames))
    x = examples.decode(sampler, codes, {k: v.expand(frames, *v.shape[1:]) for k, v in given.items()})
    note = {**sampler.note(0), "from": ends[0], "to": ends[1], "n": frames}

    def files(folder: Path) -> list[Path]:
        found = _shown(sampler, folder, note, {"way": x}, x)
        return [*found, image.animate(x, folder / "way.gif", note)] if sampler.spec.media == "image" else found

    return {"n": frames, "out": str(out), "files": [str(p) for p in fill(out, note, files)]}


def traverse(
    sampler: Sampler, start: str, dims: list[int], steps: int, reach: float, beside: dict[str, Tensor], out: Path
) -> dict[str, Any]:
    """One number of a code at a time from -reach to +reach of its standard deviations about its mean, the rest as in `start`.

    `dims`: which numbers; empty: the eight that vary most among drawn codes. Raises GenctlError.
    """
    _continuous(sampler)
    given = sampler.given(1, beside)
    model: Any = sampler.model
    code = place(sampler, start, given)
    flat = code.flatten()
    if wrong := [d for d in dims if d >= flat.numel()]:
        raise GenctlError("usage", f"--dims {wrong[0]}: a code has the numbers 0 to {flat.numel() - 1}")
    mean, std = torch.zeros_like(flat), torch.ones_like(flat)
    if isinstance(model, Encode):
        drawn = Batch(x=sampler.sample(DRAWN, 0, given), given={k: v.expand(DRAWN, *v.shape[1:]) for k, v in given.items()})
        codes = examples.encode(sampler, drawn).flatten(1)
        mean, std = codes.mean(0), codes.std(0)
    dims = dims or std.topk(min(8, len(std))).indices.tolist()
    along = torch.linspace(-reach, reach, steps)
    rows = flat.repeat(len(dims), steps, 1)
    for k, d in enumerate(dims):
        rows[k, :, d] = mean[d] + along * std[d]
    x = examples.decode(sampler, rows.view(-1, *code.shape), {k: v.expand(len(dims) * steps, *v.shape[1:]) for k, v in given.items()})
    note = {**sampler.note(0), "start": start, "dims": dims, "n": len(x)}
    parts = dict(zip((f"z{d}" for d in dims), torch.split(x, steps), strict=True))
    files = fill(out, note, lambda folder: _shown(sampler, folder, note, parts, x))
    return {"dims": dims, "std": [round(std[d].item(), 4) for d in dims], "out": str(out), "files": [str(p) for p in files]}


# --- codes as features ---


def encode(sampler: Sampler, where: Where, by: str, out: Path) -> dict[str, Any]:
    """Codes of examples as codes.npz and codes.csv, a map of them in the plane, and what they tell of what is known of the examples.

    `by`: pca, tsne or umap. Raises GenctlError (power, usage, backend, no-input, data-..., out-...).
    """
    examples.need(sampler, "encode")
    if by not in MAPS:
        raise GenctlError("usage", f"--map {safe_text(by)}: expected {', '.join(MAPS)}")
    batch, spec = examples.find(sampler, where)
    codes = examples.encode(sampler, batch, where.seed)
    flat, label = codes.flatten(1).float(), batch.given.get("label")
    names = [str(v) for v in spec.given["label"].codec.get("names", [])] if label is not None else []
    plane, note = _plane(flat, by), {**sampler.note(where.seed), "n": len(codes)}

    def files(folder: Path) -> list[Path]:
        import numpy as np

        arrays: dict[str, Any] = {"x": codes.numpy(), **({"label": label.numpy()} if label is not None else {})}
        np.savez_compressed(folder / "codes.npz", **arrays)
        with (folder / "codes.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow([*(f"z{i}" for i in range(flat.shape[1])), *(["label"] if label is not None else [])])
            for i, row in enumerate(flat.tolist()):
                rows.writerow([*(f"{v:.9g}" for v in row), *([label[i].item()] if label is not None else [])])
        seen = torch.arange(len(plane)) if label is None else label[: len(plane)]
        groups = {"codes": plane} if label is None else {_name(names, k): plane[seen == k] for k in torch.unique(seen).tolist()}
        drawing = vector.save_scatter(groups, [f"{by} 1", f"{by} 2"], folder / "map.png", note)
        return [drawing, folder / "codes.npz", folder / "codes.csv"]

    paths_ = fill(out, note, files)
    found: dict[str, Any] = {"n": len(codes), "code": list(codes.shape[1:]), "out": str(out), "files": [str(p) for p in paths_]}
    if label is not None and len(label) >= 20 and len(torch.unique(label)) > 1:
        found["probe"] = probe(flat, label)
    told = mig.measure(Case(spec=spec, reference=batch, codes=codes)) if batch.given else None
    if told and told.value is not None:
        found["factors"] = {"mig": told.value, **told.fields}
    return found


def _name(names: list[str], k: int) -> str:
    return safe_text(names[k]) if k < len(names) else str(k)


def _plane(codes: Tensor, by: str) -> Tensor:
    """(N, 2), of the first 2,000 by t-SNE (van der Maaten and Hinton 2008, https://jmlr.org/papers/v9/vandermaaten08a.html) or UMAP
    (McInnes et al. 2018, https://arxiv.org/abs/1802.03426). Raises GenctlError (backend)."""
    if by == "umap" and len(codes) > 3:
        try:
            from umap import UMAP  # type: ignore[import-not-found]
        except ImportError:
            raise GenctlError("backend", "--map umap needs the package umap-learn, which is not here", "pip install umap-learn") from None
        some = codes[:MAPPED].numpy()
        flattened: Any = UMAP(n_neighbors=min(15, len(some) - 1), random_state=0, n_jobs=1).fit_transform(some)
        return torch.as_tensor(flattened, dtype=torch.float32)
    if by == "tsne" and len(codes) > 3:
        from sklearn.manifold import TSNE

        some = codes[:MAPPED].numpy()
        found: Tensor = torch.from_numpy(TSNE(2, perplexity=min(30, len(some) / 3), random_state=0, init="pca").fit_transform(some))
        return found
    centred = codes - codes.mean(0)
    if centred.shape[1] < 3 or len(centred) < 3:
        return centred
    _, _, v = torch.linalg.svd(centred.double(), full_matrices=False)
    flat: Tensor = (centred.double() @ v[:2].T).float()
    return flat


def probe(codes: Tensor, label: Tensor) -> dict[str, float]:
    """Accuracy of logistic regression on standardised codes: fitted on a random half, tested on the other (10,000 at most)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[:PROBED]
    fit, test = order.tensor_split(2)
    made = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    made.fit(codes[fit].numpy(), label[fit].numpy())
    accuracy = float(made.score(codes[test].numpy(), label[test].numpy()))
    return {"accuracy": accuracy, "se": (accuracy * (1 - accuracy) / len(test)) ** 0.5, "n_fit": len(fit), "n_test": len(test)}
