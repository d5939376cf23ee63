"""Metrics against closed forms, definitions and known cases."""

import math

import numpy as np
import pytest
import torch

from genctl import catalog, metrics
from genctl.contract import Batch, Spec
from genctl.data.toy2d import truth as toy_truth
from genctl.errors import GenctlError
from genctl.metrics import Case, Likelihood, _frechet, _inception, _prdc, jackknife, kid, memorization, modes, nll, sureness, truth

ROW, TEXT = Spec(shape=(2,)), Spec(shape=(5,), vocab=3, media="text", codec={"symbols": ["a", "b", "é"]})


def gaussian(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return shift + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", catalog.entries("metrics"))
def test_every_metric_says_what_it_needs(name):
    metric = metrics.load(name)
    assert {
        "samples",
        "train",
        "features",
        "predict",
        "likelihood",
        "codes",
        "log_prob",
        "truth",
        "labels",
        "fit",
        "pairs",
        "whole",
        "templates",
        "examples",
        "predictions",
        "encode",
        "training",
        "loss",
        "chains",
        "filled",
        "energy",
    } >= metric.NEEDS
    assert metric.EXTRACTOR in ("", "inception", "classifier", "best")
    assert metric.HIGHER in (True, False, None)
    assert catalog.entry("metrics", name).summary.endswith(".")


# --- Frechet ---


def textbook(x: torch.Tensor, y: torch.Tensor) -> float:
    """Eq. 1 of metrics/_frechet.py in NumPy float64, with the trace of the root from the eigenvalues of S1 S2."""
    a, b = x.double().numpy(), y.double().numpy()
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root)


@pytest.mark.parametrize(("n", "m", "d"), [(500, 400, 30), (40, 300, 60), (300, 40, 60), (50, 45, 60)], ids=str)
def test_frechet_equals_the_textbook(n, m, d):
    x, y = gaussian(n, d, 0) @ gaussian(d, d, 1), gaussian(m, d, 2, 0.3, 1.5)
    assert math.isclose(_frechet.frechet(x, y), textbook(x, y), rel_tol=1e-7)
    assert math.isclose(_frechet.frechet(x, y), _frechet.frechet(y, x), rel_tol=1e-7)


def test_frechet_of_features_that_never_fire():
    x, y = gaussian(300, 20, 0), gaussian(300, 20, 1, 1.0)
    dead = torch.zeros(300, 4)
    assert math.isclose(_frechet.frechet(torch.cat([x, dead], 1), torch.cat([y, dead], 1)), _frechet.frechet(x, y), rel_tol=1e-6)


def test_frechet_of_gaussians_has_its_closed_form():
    """N(0, I) against N(m, s^2 I) in D dimensions: D m^2 + D (s - 1)^2."""
    x, y = gaussian(200_000, 4, 0), gaussian(200_000, 4, 1, 0.5, 2.0)
    assert math.isclose(_frechet.frechet(x, y), 4 * 0.25 + 4 * 1.0, rel_tol=0.02)


def test_frechet_of_a_set_with_itself_is_nothing():
    x = gaussian(100, 30, 0)
    assert _frechet.frechet(x, x) < 1e-9
    assert _frechet.frechet(x, x[torch.randperm(100)]) < 1e-9


def test_wide_features_in_float32_move_the_distance_by_less_than_a_millionth():
    mix = gaussian(1024, 1024, 9) / 32
    x, y = gaussian(1500, 1024, 0).relu() @ mix + 5, gaussian(1500, 1024, 1, 0.2).relu() @ mix + 5
    assert math.isclose(_frechet.frechet(x, y), _frechet.frechet(x.double(), y.double()), rel_tol=1e-6)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = gaussian(4000, 1, 0)[:, 0].double()
    found = [jackknife(lambda rows: x[rows].mean().item(), len(x), groups=40, seed=s) for s in range(20)]
    assert math.isclose(sum(found) / 20, x.std().item() / math.sqrt(len(x)), rel_tol=0.1)


# --- Inception ---


def test_inception_folds_batch_normalisation_exactly():
    """One layer against convolution and normalisation written out; and the network's size is Inception's."""
    weights = _inception.random_weights()
    net = _inception.InceptionV3().double().fold(weights)
    x = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    name = "Conv2d_1a_3x3"
    w = {k.removeprefix(f"{name}."): v.double() for k, v in weights.items() if k.startswith(name)}
    plain = torch.conv2d(x, w["conv.weight"], stride=2)
    stats = w["bn.running_mean"], w["bn.running_var"], w["bn.weight"], w["bn.bias"]
    wanted = torch.nn.functional.batch_norm(plain, *stats, eps=1e-3).relu()
    assert torch.allclose(net.Conv2d_1a_3x3(x), wanted, atol=1e-12)
    assert net(torch.rand(1, 3, 299, 299, dtype=torch.float64)).shape == (1, 2048)
    assert (
        sum(v.numel() for k, v in weights.items() if k.endswith("conv.weight")) == 23_834_568 - 2 * 17_216 - 1000 * 2049
    )  # the published count, less gains, biases and head


def test_a_pickle_of_weights_is_refused_with_the_way_to_convert_it(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(GenctlError, match="pickle") as e:
        _inception.read(path)
    assert e.value.id == "ckpt-format"
    assert "save_file" in (e.value.try_ or "")


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\x10\x00\x00\x00\x00\x00\x00\x00{}              "], ids=["empty", "noise", "no tensors"]
)
def test_damaged_weights_are_an_error_of_the_user(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(GenctlError) as e:
        _inception.read(path)
    assert e.value.code == 65


def test_the_resize_of_tensorflow_is_top_left_aligned():
    x = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4) / 255
    out = _inception.tensorflow(x) * 128 + 128
    assert torch.allclose(out[0, 0, 0], (torch.arange(299) * 4 / 299).clamp(max=3), atol=1e-4)


# --- KID and neighbours ---


def test_kid_is_unbiased():
    """Two sets of one distribution: the mean over many draws is zero within its error."""
    values = torch.tensor([kid.mmd2(gaussian(30, 5, 2 * s).double(), gaussian(30, 5, 2 * s + 1).double()) for s in range(400)])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(400)
    assert kid.mmd2(gaussian(500, 5, 0), gaussian(500, 5, 1, 1.0)) > 5 * values.std()


def test_the_error_of_kid_is_that_of_fresh_sets():
    """The spread of the figure over fresh sets of 400."""
    found = [kid.by_subsets(gaussian(400, 4, 2 * s), gaussian(400, 4, 2 * s + 1, 0.5), 0) for s in range(20)]
    spread = torch.tensor([v for v, _ in found]).std().item()
    assert 0.5 < sum(se for _, se in found) / 20 / spread < 2


def test_precision_recall_density_coverage_of_known_cases():
    real = gaussian(400, 3, 0)

    def shares(fake: torch.Tensor) -> tuple[float, float, float, float]:
        c = _prdc.counts(fake, real)
        return tuple(round(v.double().mean().item(), 2) for v in (c["precise"], c["recalled"], c["balls"] / 5, c["covered"]))

    precision, recall, density, coverage = shares(gaussian(400, 3, 1))
    assert min(precision, recall, coverage) > 0.85
    assert 0.85 < density < 1.15
    assert shares(gaussian(400, 3, 1, 100.0)) == (0, 0, 0, 0)
    precision, recall, _, coverage = shares(gaussian(400, 3, 1, 0.0, 0.05))  # all in one place: precise, of no variety
    assert precision == 1
    assert max(recall, coverage) < 0.2
    one = _prdc.counts(torch.tensor([[0.0], [10.0]]), torch.tensor([[0.0], [1.0], [2.0]]), k=1)  # balls of radius 1
    assert one["balls"].tolist() == [2, 0]
    assert one["covered"].tolist() == [True, True, False]
    assert one["recalled"].all()  # the ball of 0.0 reaches to 10.0


# --- likelihood ---


def test_nll_of_windows_leaves_the_first_symbol_out():
    x = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 2, 2, 2]])
    first = torch.tensor([-1.0, -2.0])
    score = nll.measure(Case(spec=TEXT, reference=Batch(x=x), likelihood=Likelihood(values=torch.tensor([-9.0, -10.0]), first=first)))
    assert score.value == 9.5
    assert score.fields["nats_per_token"] == (8 + 8) / 8
    assert math.isclose(score.fields["perplexity"], math.exp(2))
    assert math.isclose(score.fields["bits_per_byte"], 16 / math.log(2) / (5 + 8))  # é is two bytes


def test_nll_of_rows_counts_up_to_the_end_symbol():
    spec = Spec(shape=(5,), vocab=3, end=0, media="text", codec={"symbols": ["", "b", "c"]})
    x = torch.tensor([[1, 2, 0, 0, 0], [1, 1, 1, 1, 1]])
    score = nll.measure(Case(spec=spec, reference=Batch(x=x), likelihood=Likelihood(values=torch.tensor([-3.0, -5.0]))))
    assert score.fields["tokens"] == 8
    assert score.fields["nats_per_token"] == 1.0


def test_nll_adds_the_error_of_an_estimated_partition_function():
    values = torch.full((100,), -7.0)
    x = torch.zeros(100, 2)
    score = nll.measure(Case(spec=ROW, reference=Batch(x=x), likelihood=Likelihood(values=values, is_="AIS", error=0.3)))
    assert (score.value, score.se) == (7.0, 0.3)
    assert math.isclose(score.fields["bits_per_dim"], 3.5 / math.log(2))


def test_impossible_examples_make_the_likelihood_infinite_and_say_so():
    score = nll.measure(Case(spec=ROW, reference=Batch(x=torch.zeros(2, 2)), likelihood=Likelihood(values=torch.tensor([-1.0, -math.inf]))))
    assert score.value == math.inf
    assert "1 of 2" in score.reason
    assert score.plain()["value"] == "inf"


# --- truth ---


def test_the_truth_scores_as_the_truth():
    ring = toy_truth("ring8")
    exact = Likelihood(values=None, of=ring.log_prob)
    score = truth.measure(Case(spec=ROW, reference=Batch(x=ring.draw(10, 0)), samples=ring.draw(10_000, 5), truth=ring, likelihood=exact))
    assert score.value == 0
    assert score.fields["modes"] == 8
    assert abs(score.fields["high_quality"] - 0.989) < 4 * score.fields["high_quality_se"]


def test_kl_of_a_known_wrong_model():
    """Ring8 against itself with sigma doubled, modes far apart: KL = 2 ln 2 - (1 - 1/4)."""
    ring = toy_truth("ring8")
    wide = type(ring)(ring.modes, 2 * ring.sigma)
    case = Case(spec=ROW, reference=Batch(x=ring.draw(10, 0)), samples=wide.draw(5000, 5), truth=ring)
    exact = truth.measure(Case(**{**vars(case), "likelihood": Likelihood(values=None, of=wide.log_prob)}))
    wanted = 2 * math.log(2) - 0.75
    assert abs(exact.value - wanted) < 0.01
    blind = truth.measure(case)
    assert blind.fields["is"] == "kNN"
    assert abs(blind.value - wanted) < 0.1
    assert abs(blind.floor) < 0.05


def test_lost_modes_are_missed():
    ring = toy_truth("ring8")
    half = type(ring)(ring.modes[:4], ring.sigma)
    score = truth.measure(Case(spec=ROW, reference=Batch(x=ring.draw(10, 0)), samples=half.draw(4000, 5), truth=ring))
    assert score.fields["modes"] == 4
    assert score.value > 1


@pytest.mark.parametrize("shape", ["two-moons", "checkerboard"])
def test_truths_without_modes_have_a_densest_region(shape):
    known = toy_truth(shape)
    good = truth.measure(Case(spec=ROW, reference=Batch(x=known.draw(10, 0)), samples=known.draw(4000, 5), truth=known))
    bad = truth.measure(Case(spec=ROW, reference=Batch(x=known.draw(10, 0)), samples=3 * known.draw(4000, 5), truth=known))
    assert good.fields["high_quality"] > 0.97
    assert bad.fields["high_quality"] < 0.6


def test_total_variation_of_samples():
    """q on {0, 1}, p on {0, 1, 2} uniform: half |1/2 - 1/3| + |1/2 - 1/3| + 1/3 = 1/3."""
    x = torch.tensor([[0], [1]] * 500)
    assert math.isclose(truth.tv_of_samples(x, torch.full((1000,), -math.log(3), dtype=torch.float64)), 1 / 3, abs_tol=1e-6)


# --- memorisation, sureness ---


def _memorization(samples: torch.Tensor, train: torch.Tensor, test: torch.Tensor, folder) -> metrics.Score:
    return memorization.measure(Case(spec=ROW, reference=Batch(x=test), samples=samples, train=train, folder=folder))


def test_copies_are_memorized_and_fresh_draws_are_not(tmp_path):
    train, test, fresh = gaussian(1000, 2, 0), gaussian(500, 2, 1), gaussian(500, 2, 2)
    copied = _memorization(train[:500], train, test, tmp_path)
    assert (copied.value, copied.fields["verdict"], copied.fields["copies"]) == (0, "memorized", 1)
    assert (tmp_path / "memorization-seed-0.png").exists()
    ok = _memorization(fresh, train, test, tmp_path)
    assert ok.fields["verdict"] == "ok"
    assert abs(ok.value - ok.floor) < 10
    assert _memorization(train[:500] + 0.002 * fresh, train, test, tmp_path).fields["verdict"] == "memorized"


def test_sureness_counts_classes():
    p = torch.tensor([[0.95, 0.05], [0.6, 0.4], [0.02, 0.98], [0.91, 0.09]])
    case = Case(spec=ROW, reference=Batch(x=torch.zeros(4, 2)), samples=torch.zeros(4, 2), predict=lambda x: p)
    score = sureness.measure(case)
    assert (score.value, score.fields["counts"]) == (0.75, [3, 1])
    assert score.fields["balance"] == 2.0
    assert sureness.balance(torch.zeros(5, dtype=torch.long), 2) == math.inf


def test_modes_count_combinations_of_labels():
    """Two labels of two classes: three of the four combinations are drawn, one of them twice."""
    label = torch.tensor([[0, 0], [0, 1], [0, 1], [1, 1]])
    p = torch.nn.functional.one_hot(label, 2).float()
    case = Case(spec=ROW, reference=Batch(x=torch.zeros(4, 2)), samples=torch.zeros(4, 2), predict=lambda x: p)
    found = modes.measure(case)
    assert (found.value, found.floor, found.fields["of"]) == (3, 3, 4)
    assert found.fields["kl"] == pytest.approx(math.log(4) - 1.5 * math.log(2))
    assert modes.counted(torch.arange(10).repeat(7), 10) == (10, pytest.approx(0))
    assert "labels" in sureness.measure(case).reason


def test_discrete_samples_are_scored_against_the_floor_of_the_truth():
    """Without a log_prob: bars drawn from the truth score at its floor, plain noise does not."""
    from genctl.data.bars import Bars

    bars, spec = Bars(3), Spec(shape=(1, 3, 3), levels=2, media="image")
    good = truth.measure(Case(spec=spec, reference=Batch(x=bars.draw(10, 0)), samples=bars.draw(5000, 9), truth=bars))
    assert abs(good.value - good.floor) < 4 * good.se + 0.01
    assert (good.fields["modes"], good.fields["modes_of"], good.fields["high_quality"]) == (14, 14, 1.0)
    noise = torch.randint(2, (5000, 1, 3, 3), generator=torch.Generator().manual_seed(0)).float()
    bad = truth.measure(Case(spec=spec, reference=Batch(x=bars.draw(10, 0)), samples=noise, truth=bars))
    assert abs(bad.value - (1 - 14 / 512)) < 0.02


# --- likeness ---


def test_likeness_of_pictures_whose_distance_is_known():
    from genctl.maths import likeness

    x = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8
    assert torch.allclose(likeness.psnr(x, x + 0.1), torch.tensor(20.0).double(), atol=1e-4)
    assert torch.allclose(likeness.ssim(x, x), torch.ones(3).double())
    flat = torch.full((1, 1, 16, 16), 0.25)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)  # without variance only the means count
    assert likeness.ssim(flat, flat + 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert likeness.ssim(x, 1 - x).max() < 0.2


def test_psnr_stands_beside_that_of_doing_nothing():
    from genctl.metrics import psnr

    y = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    spec = Spec(shape=(3, 16, 16), levels=256, media="image", given={"source": Spec(shape=(1, 16, 16), levels=256)})
    pairs = Batch(x=y, given={"source": torch.zeros(4, 1, 16, 16)})
    found = psnr.measure(Case(spec=spec, reference=pairs, samples=(y - 0.1).abs(), pairs=pairs))
    assert found.value > 19.9 and found.fields["l1"] < 0.1001 < found.fields["copy_l1"] and found.fields["copy_psnr"] < 6
