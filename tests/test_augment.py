"""Samples as training data: a labelled folder that the readers take, and what classifiers learn from it."""

import json

import pytest
import torch

from genctl import catalog, cli
from genctl.contract import Batch, Spec
from genctl.data import images, npz
from genctl.metrics import Case, Score, asked, cas
from genctl.tasks import train as training
from tests.test_eval import Quiet

SPEC = Spec(shape=(2,), given={"label": Spec(shape=(), vocab=3)})


def made(n: int, seed: int, apart: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of three classes on a line."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 3
    return torch.stack([apart * label, torch.zeros(n)], 1) + torch.randn(n, 2, generator=g), label


def nearest_mean(x: torch.Tensor, label: torch.Tensor):
    """A classifier for the test: the class whose mean is nearest."""
    means = torch.stack([x[label == k].mean(0) for k in range(3)])
    return lambda x: torch.softmax(-torch.cdist(x, means), 1)


def measure(x: torch.Tensor, label: torch.Tensor) -> Score:
    real, known = made(600, 1)
    test, truth = made(900, 2)
    reference = Batch(x=test, given={"label": truth})
    return cas.measure(
        Case(spec=SPEC, reference=reference, samples=x, labels=label, train=real, train_given={"label": known}, fit=nearest_mean)
    )


def test_samples_like_the_data_teach_as_much_as_the_data():
    found = measure(*made(600, 3))
    assert found.value == pytest.approx(found.floor, abs=0.02) and found.value > 0.95
    assert found.fields["few"] == 10 and abs(found.fields["gain"]) < 0.03


def test_samples_of_the_wrong_class_teach_nothing():
    x, label = made(600, 3)
    found = measure(x, (label + 1) % 3)
    assert found.value < 0.1 and found.fields["gain"] < 0
    assert found.fields["few_real"] > 0.9


def test_what_was_asked_for_is_counted_class_by_class():
    test, truth = made(900, 2)
    x, label = made(600, 3)
    label = torch.where(label == 2, 0, label)  # one class is drawn in place of another

    def predict(x):
        return nearest_mean(*made(600, 1))(x)

    found = asked.measure(Case(spec=SPEC, reference=Batch(x=test, given={"label": truth}), samples=x, labels=label, predict=predict))
    assert found.value == pytest.approx(2 / 3, abs=0.03) and found.floor > 0.95
    assert found.fields["worst_class"] == 0 and found.fields["worst"] == pytest.approx(0.5, abs=0.03)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    sets = [("train.steps=2", None), ("model.conditional=true", None), ("model.width=4", None)]
    training.train(training.Request(recipe="dcgan-digits", overrides=sets, out=out, device="cpu"), Quiet())
    return out


def call(capsys, *args: object) -> dict:
    with pytest.raises(SystemExit):
        cli.main([*map(str, args), "--json", "--device", "cpu"])
    return json.loads(capsys.readouterr().out)


def test_a_labelled_folder_is_read_again(run, tmp_path, capsys):
    out = tmp_path / "more"
    for _ in range(2):  # the second replaces the first
        found = call(capsys, "sample", "--ckpt", run, "--per-class", 3, "--as-dataset", out)
        assert found["n"] == 30
    data = images.open(images.Config(path=str(out), size=8, channels=1, valid=0.1, test=0.0))
    assert data.spec.given["label"].vocab == 10 and data.spec.given["label"].codec["names"] == [str(k) for k in range(10)]
    assert len(data.train) + len(data.valid) == 30
    assert torch.bincount(torch.cat([s.batch(0, 30).given["label"] for s in (data.train, data.valid)])).tolist() == [3] * 10


def test_rows_of_numbers_become_an_npz(tmp_path, capsys):
    run = tmp_path / "run"
    sets = [(t, None) for t in ("data={name: wine}", "train.steps=2", "train.batch=8", "model.conditional=true", "model.hidden=[8]")]
    training.train(training.Request(recipe="gan-ring8", overrides=sets, out=run, device="cpu"), Quiet())
    call(capsys, "sample", "--ckpt", run, "--per-class", 4, "--as-dataset", tmp_path / "more")
    data = npz.open(npz.Config(path=str(tmp_path / "more" / "dataset.npz"), valid=0.0, test=0.0))
    assert data.spec.given["label"].vocab == 3 and len(data.train) == 12


def test_a_model_without_classes_says_so(tmp_path, capsys):
    run = tmp_path / "run"
    training.train(training.Request(recipe="dcgan-digits", overrides=[("train.steps=1", None)], out=run, device="cpu"), Quiet())
    error = call(capsys, "sample", "--ckpt", run, "--per-class", 3, "--as-dataset", tmp_path / "more")["error"]
    assert error["id"] == "power" and "conditional" in json.dumps(error)
    assert call(capsys, "sample", "--ckpt", run, "--per-class", 3)["error"]["id"] == "usage"
    found = call(capsys, "eval", "--ckpt", run, "--metric", "cas", "-n", 20)
    assert found["cas"] is None and "conditional" in found["reason"]


@pytest.mark.slow
def test_eval_trains_classifiers_on_samples(run, capsys):
    found = call(capsys, "eval", "--ckpt", run, "--metric", "cas", "-n", 200)["results"]["cas"]
    assert 0 <= found["value"] < 0.6 < found["floor"] and found["few_real"] > 0.4
    assert catalog.entry("metrics", "cas").summary
