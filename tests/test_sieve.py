"""A classifier as a sieve over what is drawn: text in its own symbols, pictures as they are."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.tasks import sieve
from genctl.tasks.sample import Sampler
from tests.cases import train_case
from tests.faults.tools import here


def test_only_what_is_kept_comes_out_in_order():
    pieces = iter(torch.arange(100).view(10, 10, 1))
    said = []
    found = torch.cat(list(sieve.sifted(pieces, 7, lambda x: x[:, 0] % 5 == 0, said.append)))
    assert found.flatten().tolist() == [0, 5, 10, 15, 20, 25, 30] and said == ["kept 7 of 40 samples"]
    with pytest.raises(GenctlError, match="of 100 samples only 1 of 2 were kept"):
        list(sieve.sifted(iter(torch.arange(100).view(10, 10, 1)), 2, lambda x: x[:, 0] == 3, said.append))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("sieve")
    return {name: train_case(name, home / name, steps=2) for name in ("reader", "gpt", "dcgan", "classifier")}


def test_text_is_judged_in_the_judges_symbols(models, tmp_path):
    judge, writer = Sampler.load(models["reader"]), Sampler.load(models["gpt"])
    names = judge.spec.given["label"].codec.get("names") or [str(k) for k in range(judge.spec.given["label"].vocab)]
    keep = sieve.keeper(judge, str(names[0]), 0.3, writer.spec, lambda i, row: writer.text(row))
    x = writer.sample(20)
    texts = [writer.text(row) for row in x]
    from genctl.data._tokenise import of

    p = judge.model.predict(Batch(x=of(judge.spec).rows(texts, judge.spec.size).long())).softmax(-1)
    assert torch.equal(keep(x), p[:, 0] >= 0.3)
    out = tmp_path / "out"
    said = here(
        "sample",
        "--ckpt",
        models["gpt"],
        "-n",
        3,
        "--filter",
        models["reader"],
        "--keep",
        ",".join(map(str, names)),
        "--out",
        out,
        "--device",
        "cpu",
    )
    assert "kept 3 of" in said.err and len((out / "samples.txt").read_text().split("\n---")) == 3


def test_pictures_and_mistakes(models, tmp_path):
    out = tmp_path / "out"
    args = ("sample", "--ckpt", models["dcgan"], "-n", 2, "--filter", models["classifier"], "--out", out, "--device", "cpu")
    here(*args, "--keep", "3,4,5", "--sure", 0.01)
    assert len(list(out.glob("*.png"))) == 3
    here(*args, "--keep", "3", "--sure", 1.0, rc=71, id="limit")
    here(*args, "--keep", "eleven", rc=2, id="usage")
    here(*args, rc=2, id="usage")
    here("sample", "--ckpt", models["gpt"], "--filter", models["classifier"], "--keep", "1", "--device", "cpu", rc=65, id="data-mismatch")
    with pytest.raises(GenctlError, match="predict"):
        sieve.keeper(Sampler.load(models["gpt"]), "1", 0.5, Spec(shape=(2,)), lambda i, row: "")
