"""What codes tell of known factors: measures on codes whose answer is known, and the command that prints them."""

import json
import math
import sys
import types

import pytest
import torch

from genctl import cli
from genctl.contract import Batch, Spec
from genctl.maths import disentanglement
from genctl.metrics import Case, Score, mig
from genctl.tasks import train as training
from tests.test_eval import Quiet


def made(n: int = 4000) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Two independent factors of four symbols each, and codes: a number for each of them, and one that says nothing."""
    g = torch.Generator().manual_seed(0)
    known = [torch.randint(4, (n,), generator=g) for _ in range(2)]
    return torch.stack([*(k + 0.1 * torch.rand(n, generator=g) for k in known), torch.rand(n, generator=g)], 1), known


def test_information_is_entropy_where_a_number_tells_all_and_nothing_where_it_tells_nothing():
    z, known = made()
    told = disentanglement.information(z, known[0])
    assert told[0].item() == pytest.approx(math.log(4), abs=0.01)
    assert told[1:].abs().max() < 0.01
    half = disentanglement.information((known[0] // 2).float()[:, None], known[0])  # one bit of two
    assert half.item() == pytest.approx(math.log(2), abs=0.01)


def test_the_gap_of_codes_apart_doubled_and_mixed():
    z, known = made()
    assert disentanglement.mig(z, known) == pytest.approx(1, abs=0.01)
    assert disentanglement.mig(torch.cat([z, z], 1), known) == pytest.approx(0, abs=1e-6)  # each factor stands there twice
    assert disentanglement.mig(z[:, :1], [known[0]]) == pytest.approx(1, abs=0.01)
    turned = torch.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]], 1)
    assert disentanglement.mig(turned, known) < 0.05


def test_importance_that_is_apart_shared_and_mixed():
    """A number for each factor; one number for both; two numbers for one; everything for everything."""
    apart, whole = disentanglement.dci(torch.tensor([[1.0, 0], [0, 3.0], [0, 0]]))
    assert apart == pytest.approx(1) and whole == pytest.approx(1)
    apart, whole = disentanglement.dci(torch.tensor([[1.0, 1.0], [0, 0]]))
    assert apart == pytest.approx(0) and whole == pytest.approx(1)
    apart, whole = disentanglement.dci(torch.tensor([[0.5, 0], [0.5, 0], [0, 1.0], [0, 0]]))
    assert apart == pytest.approx(1) and whole == pytest.approx(1 - 0.5 * math.log(2) / math.log(4))
    assert disentanglement.dci(torch.ones(3, 2)) == pytest.approx((0, 0), abs=1e-6)
    assert math.isnan(disentanglement.dci(torch.ones(3, 1))[0]) and math.isnan(disentanglement.dci(torch.ones(1, 2))[1])


def measure(z: torch.Tensor, **known: torch.Tensor) -> Score:
    spec = Spec(shape=(1,), given={k: Spec(shape=(), vocab=4) for k in known})
    return mig.measure(Case(spec=spec, reference=Batch(x=torch.zeros(len(z), 1), given=known), codes=z))


def test_a_forest_finds_which_number_stands_for_what():
    z, known = made(600)
    apart = measure(z, shape=known[0], side=known[1])
    assert apart.value > 0.9 and apart.se < 0.05
    assert apart.fields["of"] == ["shape", "side"] and apart.fields["informativeness"] > 0.99
    assert apart.fields["disentanglement"] > 0.9 and apart.fields["completeness"] > 0.9
    mixed = measure(torch.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]], 1), shape=known[0], side=known[1])
    assert mixed.value < 0.3 and mixed.fields["disentanglement"] < 0.3
    alone = measure(z, shape=known[0])
    assert "disentanglement" not in alone.fields and alone.fields["completeness"] > 0.9


def test_without_factors_or_numbers_there_is_a_reason():
    z, known = made(100)
    assert "beside" in measure(z).reason and "beside" in measure(z, shape=torch.zeros(100, dtype=torch.long)).reason
    assert "symbols" in measure(z.long(), shape=known[0]).reason


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "vae"
    training.train(training.Request(recipe="vae-digits", overrides=[("train.steps=2", None)], out=out, device="cpu"), Quiet())
    return out


def encode(capsys, *args) -> dict:
    with pytest.raises(SystemExit):
        cli.main(["encode", *map(str, args), "--json", "--device", "cpu"])
    return json.loads(capsys.readouterr().out)


def test_the_command_says_what_codes_tell_of_the_label(run, tmp_path, capsys):
    found = encode(capsys, "--ckpt", run, "--out", tmp_path / "e")["factors"]
    assert found["of"] == ["label"] and 0 <= found["mig"] <= 1 and 0 <= found["informativeness"] <= 1


def test_a_map_by_a_package_that_is_missing_or_there(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    said = encode(capsys, "--ckpt", run, "--map", "umap", "--out", tmp_path / "e")["error"]
    assert said["id"] == "backend" and "pip install umap-learn" in json.dumps(said)
    assert encode(capsys, "--ckpt", run, "--map", "maps", "--out", tmp_path / "e")["error"]["id"] == "usage"

    class UMAP:
        def __init__(self, n_neighbors, random_state, n_jobs):
            assert n_neighbors == 15 and random_state == 0

        def fit_transform(self, x):
            return x[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    assert encode(capsys, "--ckpt", run, "--map", "umap", "-n", 30, "--out", tmp_path / "e")["n"] == 30


def test_eval_measures_it_and_says_why_not(run, tmp_path, capsys):
    def evaluate(*args: object) -> dict:
        with pytest.raises(SystemExit):
            cli.main(["eval", *map(str, args), "--metric", "mig", "--json", "--device", "cpu"])
        return json.loads(capsys.readouterr().out)

    found = evaluate("--ckpt", run)["results"]["mig"]
    assert 0 <= found["value"] <= 1 and found["of"] == ["label"] and found["stamp"]["n"] == found["n"]
    samples = tmp_path / "s"
    with pytest.raises(SystemExit):
        cli.main(["sample", "--ckpt", str(run), "-n", "4", "--out", str(samples), "--device", "cpu"])
    capsys.readouterr()
    found = evaluate("--samples", samples, "--data", "digits")
    assert found["mig"] is None and "--ckpt" in found["reason"]
