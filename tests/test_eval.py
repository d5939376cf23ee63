"""eval: what it prints, refuses, caches and stamps; and that bad samples score worse than good ones."""

import json
import math

import pytest
import safetensors.torch
import torch

from genctl.cli.app import run
from genctl.errors import GenctlError
from genctl.metrics import Case, Score, _frechet, _inception, kid, memorization
from genctl.tasks import data as sources
from genctl.tasks import evaluate, judge, readback, stamp
from genctl.tasks import train as training
from tests.battery import Quiet


def silent(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _shared_cache(cache, monkeypatch):
    """The classifier is trained once for this file."""
    monkeypatch.setenv("GENCTL_CACHE", str(cache))
    monkeypatch.delenv("GENCTL_INCEPTION_WEIGHTS", raising=False)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A run of a few steps on digits."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    training.train(training.Request(recipe="vae-digits", overrides=[("train.steps=12", None)], out=out, device="cpu"), Quiet())
    return out


@pytest.fixture
def digits():
    return sources.open_source("digits")


@pytest.fixture
def judged(digits):
    return judge.judge(*digits, torch.device("cpu"), silent)


def spoil(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """A quarter turn, and a tenth of the pixels replaced by noise."""
    g = torch.Generator().manual_seed(0)
    noisy = torch.where(torch.rand(x.shape, generator=g) < 0.1, torch.rand(x.shape, generator=g), x)
    return {"rotated": x.rot90(1, (2, 3)), "noisy": noisy}


def gaps(judged: judge.Judge, test: torch.Tensor, train: torch.Tensor) -> dict[str, float]:
    """How much worse a spoiled test set scores than the test set, in floors; both against training data."""
    reference = judged(train)
    floor = _frechet.frechet(judged(test), reference)
    return {name: (_frechet.frechet(judged(x), reference) - floor) / floor for name, x in spoil(test).items()}


# --- honesty ---


def test_spoiled_digits_score_worse_by_five_floors(digits, judged):
    _, data = digits
    assert judged.accuracy >= 0.96
    found = gaps(judged, data.test.batch(0, 10_000).x, data.train.batch(0, 10_000).x)
    assert min(found.values()) >= 5, found


@pytest.mark.slow
def test_spoiled_mnist_scores_worse_by_five_floors(real_data):
    settings, data = sources.open_source("mnist")
    found = judge.judge(settings, data, torch.device("cpu"), print)
    assert found.accuracy >= 0.98
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:10_000]
    assert min(gaps(found, data.test.batch(0, 10_000).x, data.train.get(rows).x).values()) >= 5


def test_a_memorizer_of_digits_fails_and_the_test_split_does_not(digits, tmp_path):
    _, data = digits
    train, test = data.train.batch(0, 10_000).x, data.test.batch(0, 10_000)

    def verdict(x: torch.Tensor) -> Score:
        return memorization.measure(Case(spec=data.spec, reference=test, samples=x, train=train, folder=tmp_path))

    rows = torch.randint(len(train), (500,), generator=torch.Generator().manual_seed(0))
    assert verdict(train[rows]).fields["verdict"] == "memorized"
    assert verdict((train[rows] * 255).round() / 255).fields["verdict"] == "memorized"  # through PNG files
    assert verdict(test.x).fields["verdict"] == "ok"


def test_real_digits_score_at_the_floor(digits, judged):
    _, data = digits
    test, train = judged(data.test.batch(0, 10_000).x), judged(data.train.batch(0, 359).x)
    assert _frechet.frechet(test, test) < 1e-6
    value, se = kid.by_subsets(test, train, 0)
    assert abs(value) < 5 * se


# --- the command ---


def call(capsys, *args: object) -> tuple[int, str, str]:
    code = run(["eval", *map(str, args)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_without_weights_fid_is_null_with_the_reason_and_the_stand_in_is_named(vae, capsys):
    code, out, err = call(capsys, "--ckpt", vae, "--metric", "fid", "-n", 200, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["fid"] is None
    assert "no Inception weights" in found["reason"]
    assert "it is not FID" in err
    result = found["results"]["fd_classifier"]
    assert found["fd_classifier"] == result["value"] > result["floor"] > 0
    assert result["se"] > 0
    wanted = {"data", "settings", "split", "fingerprint", "n", "n_reference", "extractor", "seed", "checkpoint", "versions", "id", "like"}
    assert wanted <= result["stamp"].keys()
    assert result["stamp"]["extractor"]["name"] == "classifier"
    assert len(result["stamp"]["extractor"]["sha256"]) == 64
    assert result["stamp"]["extractor"]["accuracy"] > 0.9


def test_lines_for_eyes(vae, capsys, tmp_path):
    code, out, _ = call(capsys, "--ckpt", vae, "--metric", "fid,coverage", "-n", 100, "--out", tmp_path / "scores" / "s.json")
    assert code == 0
    assert "fid            not computed: no Inception weights here" in out
    assert "real against real" in out
    assert "stamp " in out
    assert json.loads((tmp_path / "scores" / "s.json").read_text())["fid"] is None


def test_gates(vae, capsys):
    code, out, err = call(capsys, "--ckpt", vae, "--metric", "fd_classifier", "-n", 100, "--fail-if", "fd_classifier>0.001", "--json")
    assert code == 81
    assert json.loads(out)["failed"] == ["fd_classifier > 0.001"]
    assert "error[gate]" in err
    assert call(capsys, "--ckpt", vae, "--metric", "fd_classifier", "-n", 100, "--fail-if", "fd_classifier > 1e6")[0] == 0


@pytest.mark.parametrize(
    "args",
    [
        ["--metric", "fid", "--fail-if", "fid>30"],
        ["--metric", "kid", "--fail-if", "fid>30"],
        ["--metric", "kid", "--fail-if", "kid is bad"],
        ["--metric", "kid", "--fail-if", "kid.nope>1"],
        ["--metric", "nope"],
        ["--metric", ","],
        ["--metric", "kid", "--split", "all"],
        ["--metric", "kid", "--resize", "lanczos"],
        ["--metric", "kid", "--samples", "x"],
    ],
    ids=" ".join,
)
def test_wrong_command_lines_are_usage_errors(vae, args):
    with pytest.raises(GenctlError) as e:
        run(["eval", "--ckpt", str(vae), "-n", "50", *args])
    assert e.value.code == 2


def test_a_gate_on_a_figure_that_is_not_finite_fails():
    gate = stamp.target("nll<=5")
    assert not gate.holds({"nll": {"value": "inf"}})
    assert gate.figure({"nll": {"value": "inf"}}) == math.inf


def test_metrics_that_cannot_be_say_why(vae, capsys):
    found = json.loads(call(capsys, "--ckpt", vae, "--metric", "truth", "-n", 50, "--json")[1])
    assert (found["truth"], found["reason"]) == (None, "truth: the truth behind this data is not known")


def test_samples_go_through_folders_and_npz(vae, capsys, tmp_path):
    """What `genctl sample` writes scores as the samples themselves; PNG files hold 8 bits."""
    scores = []
    for out in ("pictures", "array.npz"):
        run(["sample", "--ckpt", str(vae), "-n", "60", "--out", str(tmp_path / out)])
        capsys.readouterr()
        found = json.loads(call(capsys, "--samples", tmp_path / out, "--data", "digits", "--metric", "fd_classifier", "--json")[1])
        scores.append(found["results"]["fd_classifier"])
    direct = json.loads(call(capsys, "--ckpt", vae, "--metric", "fd_classifier", "-n", 60, "--json")[1])["results"]["fd_classifier"]
    pictures, array = scores
    assert array["value"] == direct["value"]
    assert math.isclose(pictures["value"], direct["value"], rel_tol=0.01)
    assert pictures["stamp"]["checkpoint"] == array["stamp"]["checkpoint"] == direct["stamp"]["checkpoint"]
    assert pictures["stamp"]["like"] == array["stamp"]["like"] == direct["stamp"]["like"]


def test_samples_of_another_shape_are_refused(tmp_path, digits):
    _, data = digits
    import numpy as np
    from PIL import Image

    np.savez(tmp_path / "x.npz", x=np.zeros((3, 1, 9, 9), np.float32))
    np.savez(tmp_path / "nan.npz", x=np.full((3, 1, 8, 8), np.nan, np.float32))
    (tmp_path / "empty").mkdir()
    (tmp_path / "large").mkdir()
    Image.new("L", (9, 8)).save(tmp_path / "large" / "0.png")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "0.png").write_bytes(b"\x89PNG")
    np.savez(tmp_path / "eight.npz", x=np.full((3, 1, 8, 8), 255, np.uint8), genctl=np.array('{"checkpoint": [1], "family": "vae"}'))
    x, note = readback.read(tmp_path / "eight.npz", data.spec)
    assert (x.max(), note) == (1.0, {"family": "vae"})
    wanted = {"x.npz": "data-mismatch", "nan.npz": "data-nonfinite", "empty": "data-empty", "large": "data-mismatch", "torn": "data-format"}
    for name, error in {**wanted, "nowhere": "no-input"}.items():
        with pytest.raises(GenctlError) as e:
            readback.read(tmp_path / name, data.spec)
        assert e.value.id == error, name


def test_the_classifier_is_trained_once_and_a_damaged_cache_is_made_anew(digits, judged, cache):
    heard: list[str] = []
    again = judge.judge(*digits, torch.device("cpu"), heard.append)
    assert not heard
    assert again.sha256 == judged.sha256
    x = digits[1].test.batch(0, 20).x
    assert torch.equal(again(x), judged(x))
    file = next((cache / "classifier").glob("digits-*.safetensors"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    try:
        with pytest.MonkeyPatch.context() as m:
            m.setattr(judge, "fit", lambda plan, dataset, device: judged.model)
            judge.judge(*digits, torch.device("cpu"), heard.append)
        assert any("not usable" in line for line in heard)
        assert file.read_bytes() == whole
    finally:
        file.write_bytes(whole)


def test_with_weights_fid_is_computed_and_its_features_are_kept(vae, capsys, tmp_path, monkeypatch):
    """Random weights prove the path; the network is cut to its first layer here, the whole is in tests/oracles."""
    monkeypatch.setattr(_inception.InceptionV3, "forward", lambda net, x: net.Conv2d_1a_3x3(x).mean((2, 3)))
    monkeypatch.setattr(_inception, "SIDE", 35)
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(_inception.random_weights(), weights)
    ask = ("--ckpt", vae, "--metric", "fid,kid", "-n", 40, "--weights", weights, "--json")
    _, out, err = call(capsys, *ask)
    found = json.loads(out)
    result = found["results"]["fid"]
    assert found["fid"] > 0
    assert "fd_classifier" not in found
    assert result["stamp"]["extractor"]["resize"] == "pytorch-fid"
    assert "inception features of" in err
    _, again, err = call(capsys, *ask)
    assert json.loads(again)["fid"] == found["fid"]
    assert "inception features of" not in err
    _, other, _ = call(capsys, *ask, "--resize", "tensorflow")
    assert json.loads(other)["results"]["fid"]["stamp"]["like"] != result["stamp"]["like"]


def test_stamps_tell_what_may_be_compared():
    facts = {"metric": "fid", "n": 100, "seed": 0, "checkpoint": "a", "versions": {"torch": "1"}}
    one = stamp.seal(facts)
    assert one["like"] == stamp.seal({**facts, "checkpoint": "b"})["like"]
    assert one["id"] != stamp.seal({**facts, "checkpoint": "b"})["id"]
    for key, value in {"n": 101, "seed": 1, "versions": {"torch": "2"}}.items():
        assert one["like"] != stamp.seal({**facts, key: value})["like"]


def test_truth_of_a_toy_without_a_checkpoint(tmp_path, capsys):
    """A csv of samples against the known density."""
    from genctl.data.toy2d import truth

    x = truth("ring8").draw(1500, 7)
    (tmp_path / "samples.csv").write_text("x0,x1\n" + "\n".join(f"{a:.6f},{b:.6f}" for a, b in x.tolist()) + "\n")
    found = evaluate.evaluate(
        evaluate.Request(metrics=["truth,kid"], samples=tmp_path / "samples.csv", data="toy2d,count=2000", device="cpu"), silent
    )
    assert found["results"]["truth"]["modes"] == 8
    assert abs(found["truth"]) < 0.1
    assert found["results"]["kid"]["stamp"]["extractor"]["name"] == "columns"
