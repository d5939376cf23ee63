"""A tiny case of every family on data that is always here: what the tests of resume, of devices and of ranks run over."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from genctl import catalog, durable, recipe
from genctl.config import Tree
from genctl.contract import Spec

DIGITS = {"name": "digits", "flip": True, "limit": 40}
BINARY = {**DIGITS, "binarize": "dynamic"}
PLANE = {"name": "toy2d", "count": 40}
WORDS = {"name": "grammar", "count": 40}
WINE = {"name": "wine", "label": "", "limit": 40}

SPOILED = {"name": "spoiled", "of": {"name": "digits"}, "scale": 2, "limit": 40}
UNPAIRED = {"name": "unpaired", "of": {"name": "digits"}, "only": [0, 1, 2, 3, 4], "other_only": [5, 6, 7, 8, 9], "limit": 40}


@dataclass(frozen=True)
class Case:
    """The sections of a recipe; 40 examples in batches of 8, so that an epoch ends with step 5."""

    family: str
    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any] = field(default_factory=dict)

    def tree(self, **train: Any) -> dict[str, Any]:
        quiet = {"sample_every": 10**6, "keep": 100, "save_every": 10**6}
        return {
            "family": self.family,
            "data": self.data,
            "model": self.model,
            "train": {"batch": 8, "ema": 0.9, **quiet, **self.train, **train},
        }

    def plan(self, **train: Any) -> recipe.Recipe:
        return recipe.resolve(Tree(self.tree(**train)))

    def cls(self) -> Any:
        return catalog.family(self.family)

    def spec(self) -> Spec:
        plan = self.plan()
        return catalog.load("data", plan.data.name).open(plan.data).spec

    def write(self, path: Path, **train: Any) -> Path:
        """The recipe as a file; JSON is YAML."""
        path.write_text(json.dumps(self.tree(**train)))
        return path


SMALL_GPT = {"layers": 1, "heads": 2, "width": 16, "dropout": 0.1}
MIX = {"family": "mixture", "model": {"components": 3}}
SMALL_BERT = {"layers": 1, "heads": 2, "width": 16, "dropout": 0.1}
TOLD = {**WORDS, "beside": True}
SMALL_PIXELS = {"family": "pixelcnn", "model": {"layers": 1, "channels": 4, "first": 3, "conditional": True}}
SMALL_STYLES = {"latent": 4, "style": 4, "mapping": 2, "base": 64, "width": 8}
CASES = {
    "vae": Case("vae", BINARY, {"network": "conv", "hidden": [4, 8], "latent": 2, "kl_warmup": 0.5}),
    "vae-mlp": Case("vae", PLANE, {"hidden": [16], "latent": 2}),
    "vae-lstm": Case("vae", WORDS, {"network": "lstm", "hidden": [8], "latent": 2, "word_dropout": 0.2, "kl_warmup": 0.5}),
    "vae-transformer": Case("vae", WORDS, {"network": "transformer", "hidden": [8, 8], "heads": 2, "latent": 2}),
    "vae-ladder": Case("vae", BINARY, {"network": "conv", "hidden": [4, 8], "latents": [1, 2], "norm": True}),
    "wae": Case("wae", PLANE, {"hidden": [16], "latent": 2, "norm": True}),
    "wae-critic": Case("wae", DIGITS, {"hidden": [16], "latent": 2, "match": "critic", "critic": [8]}),
    "ae": Case("ae", DIGITS, {"network": "conv", "hidden": [4, 8], "latent": 3, "noise": 0.1, "prior": MIX}),
    "vqvae": Case("vqvae", DIGITS, {"hidden": [4, 8], "codes": 8, "size": 4, "prior": SMALL_PIXELS}),
    "vqvae-grid": Case("vqvae", DIGITS, {"hidden": [8], "quantiser": "grid", "levels": [3, 4], "prior": SMALL_PIXELS}),
    "gan": Case("gan", PLANE, {"latent": 2, "hidden": [8], "loss": "relativistic", "feature_matching": 0.5}),
    "dcgan": Case("dcgan", DIGITS, {"latent": 4, "width": 4, "r1": 1.0, "r1_every": 3, "conditional": True}),
    "wgan": Case("wgan", DIGITS, {"latent": 4, "width": 4, "n_critic": 2, "conditional": True}),
    "sngan": Case("sngan", DIGITS, {"latent": 4, "width": 4, "conditional": True}),
    "stylegan": Case(
        "stylegan", DIGITS, {**SMALL_STYLES, "path_every": 2, "r1_every": 3, "ada": 0.6, "ada_steps": 20, "conditional": True}
    ),
    "pix2pix": Case("pix2pix", {"name": "shapes", "side": 16, "outline": True, "limit": 40}, {"width": 4, "patch": 1}),
    "srgan": Case("srgan", SPOILED, {"width": 4, "blocks": 1, "pixels": 0.5, "critic": 4}),
    "srgan-norm": Case("srgan", {**SPOILED, "scale": 1, "noise": 0.1}, {"width": 4, "blocks": 1, "norm": True, "distance": "l2"}),
    "cyclegan": Case("cyclegan", UNPAIRED, {"width": 4, "blocks": 1, "critic": 4, "patch": 1, "pool": 16}),
    "style": Case("style", UNPAIRED, {"random_width": 4}),
    "style-network": Case("style", UNPAIRED, {"way": "network", "random_width": 4, "width": 4, "blocks": 1, "look": 0.3}),
    "copy": Case("copy", SPOILED, {}),
    "ddpm": Case("ddpm", DIGITS, {"channels": [8, 16], "width": 16, "steps": 20, "dropout": 0.1, "conditional": True}),
    "ddpm-dit": Case("ddpm", DIGITS, {"network": "dit", "width": 16, "depth": 2, "heads": 2, "patch": 2, "steps": 20, "dropout": 0.1}),
    "edm": Case("edm", DIGITS, {"channels": [8, 16], "width": 16, "dropout": 0.1, "conditional": True}),
    "flowmatching": Case("flowmatching", PLANE, {"width": 16, "depth": 2, "coupling": "ot"}),
    "scorematching": Case("scorematching", PLANE, {"width": 16, "depth": 2}),
    "consistency": Case("consistency", DIGITS, {"channels": [8, 16], "width": 16, "dropout": 0.1}),
    "latent": Case(
        "latent",
        DIGITS,
        {"hidden": [4, 8], "size": 2, "prior": {"family": "edm", "model": {"channels": [8], "width": 16, "conditional": True}}},
    ),
    "discretediffusion": Case("discretediffusion", WORDS, SMALL_GPT),
    "gpt": Case("gpt", WORDS, SMALL_GPT),
    "gpt-llama": Case("gpt", WORDS, {**SMALL_GPT, "kv_heads": 1, "norm": "rms", "activation": "swiglu", "tied": False}),
    "rnn": Case("rnn", WORDS, {"layers": 1, "width": 16, "dropout": 0.1}),
    "lstm": Case("lstm", WORDS, {"layers": 2, "width": 16, "dropout": 0.2, "locked": True}),
    "gpt-muon": Case("gpt", WORDS, SMALL_GPT, {"optimizer": "muon"}),
    "gpt-lora": Case("gpt", WORDS, {**SMALL_GPT, "begin": 1}, {"lora": {"rank": 2, "dropout": 0.1}, "freeze": ["embed"]}),
    "rbm": Case("rbm", BINARY, {"hidden": 12, "chains": 8, "gibbs": 2}),
    "ebm": Case("ebm", DIGITS, {"hidden": [4, 8], "steps": 2, "chains": 24, "temperature": 0.1}),
    "ebm-nce": Case("ebm", PLANE, {"loss": "nce", "hidden": [8]}),
    "jem": Case("jem", DIGITS, {"hidden": [4, 8], "steps": 2, "chains": 24}),
    "dbn": Case("dbn", BINARY, {"hidden": [6, 4], "chains": 8, "conditional": True}),
    "dbm": Case("dbm", BINARY, {"hidden": [6, 4], "chains": 8, "settle": 2}),
    "rbm-fast": Case("rbm", WINE, {"hidden": 6, "chains": 8, "negative": "fpcd", "sparsity": 0.1}),
    "rbm-tempering": Case("rbm", DIGITS, {"hidden": 6, "visible": "categorical", "chains": 8, "negative": "tempering", "rungs": 3}),
    "boltzmann": Case("boltzmann", BINARY, {"hidden": 4, "chains": 8, "settle": 2}),
    "realnvp": Case("realnvp", DIGITS, {"couplings": 3, "hidden": [16]}),
    "nice": Case("nice", PLANE, {"couplings": 2, "hidden": [16]}),
    "maf": Case("maf", PLANE, {"layers": 2, "hidden": [16]}),
    "iaf": Case("iaf", PLANE, {"layers": 2, "hidden": [16]}),
    "spline": Case("spline", DIGITS, {"layers": 2, "hidden": [16], "bins": 4, "conditional": True}),
    "glow": Case("glow", DIGITS, {"levels": 2, "steps": 1, "hidden": 8, "conditional": True}),
    "cnf": Case("cnf", PLANE, {"hidden": [16, 16], "steps": 2}),
    "cnf-estimate": Case("cnf", DIGITS, {"hidden": [8], "steps": 2, "finer": 1, "exact": 2}),
    "tarflow": Case("tarflow", DIGITS, {"patch": 4, "blocks": 2, "layers": 1, "width": 16, "heads": 2}),
    "pixelrnn": Case("pixelrnn", BINARY, {"layers": 2, "width": 4, "hidden": 8}),
    "pixelrnn-row": Case("pixelrnn", DIGITS, {"layer": "row", "layers": 2, "width": 4, "hidden": 8, "mixtures": 2, "conditional": True}),
    "pixelcnn": Case("pixelcnn", DIGITS, {"layers": 2, "channels": 4, "hidden": 8, "mixtures": 2, "dropout": 0.1, "conditional": True}),
    "made": Case("made", BINARY, {"hidden": [16, 16]}),
    "reinforce": Case(
        "reinforce", WORDS, {"policy": {"family": "gpt", "model": SMALL_GPT}, "reward": "variety", "imitate": 0.5, "kl": 0.05}
    ),
    "vae-table": Case("vae", WINE, {"hidden": [16], "latent": 2}),
    "realnvp-table": Case("realnvp", WINE, {"couplings": 2, "hidden": [16]}),
    "mixture-table": Case("mixture", WINE, {"components": 3}),
    "mixture": Case("mixture", PLANE, {"components": 3}),
    "memorizer": Case("memorizer", DIGITS, {"capacity": 64}),
    "seq2seq": Case("seq2seq", TOLD, SMALL_GPT),
    "seq2seq-pointer": Case("seq2seq", TOLD, {**SMALL_GPT, "pointer": True}),
    "seq2seq-lstm": Case("seq2seq", TOLD, {**SMALL_GPT, "network": "lstm"}),
    "bert": Case("bert", WORDS, {**SMALL_BERT, "norms": "behind"}),
    "reader": Case(
        "reader",
        TOLD,
        {
            "body": {"family": "bert", "model": SMALL_BERT},
            "dropout": 0.1,
            "symbol_dropout": 0.2,
            "pool": "attend",
            "bag": 2,
            "buckets": 64,
            "bayes": 1.0,
        },
    ),
    "reader-tags": Case("reader", TOLD, {"body": {"family": "lstm", "model": {"layers": 1, "width": 16}}, "dropout": 0.1, "target": "tag"}),
    "embedder": Case("embedder", TOLD, {"body": {"family": "bert", "model": SMALL_BERT}, "dropout": 0.1, "near": "label"}),
    "ngram": Case("ngram", WORDS, {"order": 3, "capacity": 500}),
    "classifier": Case("classifier", DIGITS, {"width": 4, "features": 8, "dropout": 0.2}),
}


def every_case() -> list[Any]:
    """All cases, and a failing one for a family without any."""
    covered = {c.family for c in CASES.values()}
    return [*CASES, *(pytest.param(n, id=f"{n}-has-no-case") for n in catalog.entries("families") if n not in covered)]


def case(name: str) -> Case:
    assert name in CASES, f"family {name} has no tiny case: add one to tests/cases.py"
    return CASES[name]


def train_case(name: str, where: Path, **train: Any) -> Path:
    """Trains a case in this process; the model file of its last step."""
    from tests.faults.tools import here

    where.mkdir(parents=True)
    here("train", case(name).write(where / "recipe.yaml", **train), "--out", where / "run", "--device", "cpu")
    home = where / "run" / "checkpoints"
    return home / f"step-{durable.steps(home)[0]:010d}" / durable.MODEL
