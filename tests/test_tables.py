"""Tables of numbers and categories: read, modelled, written, read back and scored."""

import csv
import itertools
import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from genctl import catalog, cli, metrics
from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder.vae import VAE
from genctl.families.baseline.mixture import Mixture
from genctl.families.flow.realnvp import RealNVP
from genctl.families.flow.spline import Spline
from genctl.maths import blocks, noise
from genctl.media import table, vector
from genctl.metrics import Case, correlations, marginals
from genctl.nets.likelihoods import Columns
from genctl.tasks import readback
from tests import battery
from tests.battery import build, check_family, check_resume, draw
from tests.families.flows import bent
from tests.test_readers import everything, read, refused

MIXED = Spec(shape=(7,), media="table", blocks=(1, 3, 1, 2))
PETS = "kind,age,rooms,name\n" + "".join(f"{['cat', 'dog', 'bird'][k % 3]},{k * 0.5},{k % 2},{k}x\n" for k in range(120))


@pytest.fixture
def pets(tmp_path):
    path = tmp_path / "pets.csv"
    path.write_text(PETS)
    return path


# --- the contract ---


def test_blocks_go_with_a_spec_and_older_specs_have_none():
    plain = json.loads(json.dumps(MIXED.to_json()))
    assert Spec.from_json(plain) == MIXED
    del plain["blocks"]
    assert Spec.from_json(plain).blocks == ()
    assert "blocks" not in Spec(shape=(7,)).to_json()


@pytest.mark.parametrize("wrong", [[1, 3, 1], [7, 1], [8, -1], [0, 7], [1.0, 6], [True, 6], ["7"], "7", {"7": 1}, 7, None, [2**40]])
def test_blocks_that_do_not_make_up_the_vector_are_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        Spec.from_json({"shape": [7], "blocks": wrong})


@pytest.mark.parametrize("beside", [{"shape": [1, 7]}, {"shape": [7], "vocab": 3}, {"shape": [7], "levels": 2}], ids=str)
def test_blocks_are_for_vectors_of_floats(beside):
    with pytest.raises(ValueError, match="blocks"):
        Spec.from_json({**beside, "blocks": [7]})


def test_floats_fall_on_whole_one_hots():
    x = torch.tensor([[0.5, 0.1, 0.9, 0.3, -2.0, 0.1, 0.2]])
    assert blocks.snap(x, MIXED.blocks).tolist() == [[0.5, 0, 1, 0, -2, 0, 1]]
    assert blocks.fold(x, MIXED.blocks).tolist() == [[0.5, 1, -2, 1]]
    assert torch.equal(blocks.unfold(blocks.fold(x, MIXED.blocks), MIXED.blocks), blocks.snap(x, MIXED.blocks))
    assert blocks.snap(x, ()) is x


# --- reading ---


def test_text_becomes_categories_and_what_has_too_many_is_left_out(pets):
    d = read("csv", path=pets)
    assert (d.spec.blocks, d.spec.codec["columns"]) == ((3, 1, 1), ["kind", "age", "rooms"])
    assert d.spec.codec["categories"] == [["bird", "cat", "dog"], [], []]
    assert "left out: name" in d.notes[0]
    x = everything(d.train).x
    assert torch.equal(x[:, :3], blocks.snap(x, d.spec.blocks)[:, :3])
    assert x[:, :3].sum(1).eq(1).all()
    torch.testing.assert_close(x[:, 3].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)


def test_numbers_are_categories_where_asked(pets):
    d = read("csv", path=pets, categories=["rooms"], columns=["rooms", "age"])
    assert (d.spec.blocks, d.spec.codec["categories"]) == ((2, 1), [["0", "1"], []])
    assert "120 categories" in refused("config", "csv", path=pets, columns=["name"])
    assert "120 categories" in refused("config", "csv", path=pets, categories=["age"])
    assert read("csv", path=pets, most_categories=200).spec.blocks == (3, 1, 1, 120)


def test_categories_of_numbers_stand_in_their_order(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{k},{(k * 7) % 12}\n" for k in range(60)))
    assert read("csv", path=tmp_path / "t.csv", categories=["b"]).spec.codec["categories"][1] == [str(k) for k in range(12)]


def test_a_held_out_category_that_no_training_row_has_is_one_of_its_own_and_said(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{k},{'xy'[k % 2]}\n" for k in range(20)) + "20,z\n")
    d = read("csv", path=tmp_path / "t.csv", in_order=True)
    assert d.spec.blocks == (1, 3)
    assert everything(d.test).x[-1, 1:].tolist() == [0, 0, 1]
    assert "no training row has b 'z'" in d.notes[0]


@pytest.mark.parametrize("text", ["a,b\n1,x\n2,\n3,y\n", "b,a\n,1\nx,2\ny,\n", "a,b\nnan,x\n1,y\n2,x\n"])
def test_a_missing_value_is_an_error(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert "missing" in refused("data-nonfinite", "csv", path=tmp_path / "t.csv")


def test_a_name_among_numbers_says_what_to_do(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,12A\n")
    assert "data.categories" in refused("data-format", "csv", path=tmp_path / "t.csv")


def test_only_some_classes_are_trained_on(pets):
    d = read("csv", path=pets, label="kind", only=["cat"])
    assert everything(d.train).given["label"].unique().tolist() == everything(d.valid).given["label"].unique().tolist() == [1]
    assert len(everything(d.test).given["label"].unique()) > 1
    assert "no class" in refused("config", "csv", path=pets, label="kind", only=["cow"])
    assert "data.label" in refused("config", "csv", path=pets, only=["cat"])


@pytest.mark.parametrize(("name", "sizes", "label"), [("wine", (107, 18, 53), "cultivar"), ("breast-cancer", (341, 57, 171), "diagnosis")])
def test_tables_of_scikit_learn(name, sizes, label, monkeypatch):
    d = read(name)
    assert (len(d.train), len(d.valid), len(d.test)) == sizes
    joint = read(name, label="")
    assert joint.spec.codec["columns"][-1] == label
    assert joint.spec.blocks[-1] == d.spec.given["label"].vocab
    assert not joint.spec.given
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install" in refused("backend", name)


def test_tables_in_files_are_found_by_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCTL_DATA", str(tmp_path))
    for name, folder in (("etth1", "time-series"), ("esol", "molecules")):
        said = refused("no-input", name)
        assert str(tmp_path / folder) in said and "data.path" in said
        (tmp_path / folder).mkdir()
    esol, etth1 = catalog.load("data", "esol"), catalog.load("data", "etth1")
    names = [*esol.NUMBERS, *esol.COUNTS]
    rows = "".join(",".join([*(f"{k * 0.1 + i}" for i in range(4)), *(str((k + i) % 3) for i in range(4))]) + "\n" for k in range(50))
    (tmp_path / "molecules" / esol.FILE).write_text(",".join(names) + "\n" + rows)
    assert read("esol").spec.blocks == (1, 1, 1, 1, 3, 3, 3, 3)
    hours = tmp_path / "time-series" / etth1.FILE
    hours.write_text("date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT\n" + "".join(f"d{k},{k},1,2,3,4,5,{k % 7}\n" for k in range(15000)))
    d = read("etth1")
    assert (len(d.train), len(d.valid), len(d.test), d.spec.size) == (8640, 2880, 2880, 7)
    assert everything(d.train).x[:, 0].diff().gt(0).all()
    assert not everything(read("etth1", shuffle=True).train).x[:, 0].diff().gt(0).all()
    hours.write_text("date,OT\n" + "d,1\n" * 10)
    refused("data-mismatch", "etth1")


# --- writing, and reading what was written ---


@pytest.mark.parametrize("standardize", [True, False])
def test_what_is_written_is_read_back(pets, tmp_path, standardize):
    d = read("csv", path=pets, standardize=standardize)
    x = everything(d.train).x
    writer = table.open_writer(tmp_path, d.spec, {"generated": True})
    writer.add(x[:50])
    writer.add(x[50:])
    paths = writer.close()
    assert paths[0].name == "columns.png"
    rows = list(csv.DictReader(paths[1].read_text().splitlines()))
    assert list(rows[0]) == ["kind", "age", "rooms"]
    assert {r["kind"] for r in rows} == {"bird", "cat", "dog"}
    assert all(float(r["age"]) * 2 == pytest.approx(round(float(r["age"]) * 2), abs=1e-4) for r in rows)
    torch.testing.assert_close(readback.read(tmp_path, d.spec)[0], x, atol=1e-5, rtol=1e-5)
    with Image.open(paths[0]) as picture:
        assert json.loads(picture.text["genctl"]) == {"generated": True}


def test_columns_are_found_by_name_and_strange_words_are_refused(pets, tmp_path):
    spec = read("csv", path=pets, standardize=False).spec
    (tmp_path / "in.csv").write_text("age,extra,rooms,kind\n2.5,hm,1, dog \n")
    assert readback.read(tmp_path / "in.csv", spec)[0].tolist() == [[0, 0, 1, 2.5, 1]]
    for text, says in (
        ("age,rooms,kind\n1,1,cow\n", "'cow' is no category of column 'kind'"),
        ("age,rooms\n1,1\n", "no column 'kind'"),
        ("age,rooms,kind\n1,1\n", "2 cells"),
        ("age,rooms,kind\nold,1,dog\n", "old"),
        ("", "no column"),
    ):
        (tmp_path / "in.csv").write_text(text)
        with pytest.raises(GenctlError, match=says) as e:
            readback.read(tmp_path / "in.csv", spec)
        assert e.value.id == "data-format"
    (tmp_path / "in.csv").write_text("age,rooms,kind\n,1,dog\n")
    with pytest.raises(GenctlError) as e:
        readback.read(tmp_path / "in.csv", spec)
    assert e.value.id == "data-nonfinite"


@pytest.mark.parametrize(
    "codec",
    [
        {},
        {"columns": ["a"]},
        {"categories": 3},
        {"categories": [1, [2], [], "ab"]},
        {"categories": [[], ["a", "a", "a"], [], []]},
        {"mean": [0]},
    ],
    ids=str,
)
def test_whatever_a_codec_says_rows_are_written_and_read(codec, tmp_path):
    spec = Spec(shape=(7,), media="table", blocks=MIXED.blocks, codec=codec)
    x = blocks.snap(torch.randn(5, 7), spec.blocks)
    writer = table.open_writer(tmp_path, spec, {})
    writer.add(x)
    writer.close()
    rows = list(csv.reader((tmp_path / "samples.csv").read_text().splitlines()))
    torch.testing.assert_close(vector.from_cells(rows[0], rows[1:], spec), x)


# --- p(x | z) ---


def test_the_likelihood_of_columns_is_the_product_of_its_parts():
    says = Columns(MIXED)
    with torch.no_grad():
        says.log_sigma.copy_(torch.tensor([-0.5, 0.3]))
    out, x = torch.randn(6, 7), blocks.snap(torch.randn(6, 7), MIXED.blocks)
    wanted = torch.distributions.Categorical(logits=out[:, 1:4]).log_prob(x[:, 1:4].argmax(1))
    wanted = wanted + torch.distributions.Categorical(logits=out[:, 5:]).log_prob(x[:, 5:].argmax(1))
    for at, sigma in ((0, -0.5), (4, 0.3)):
        wanted = wanted + torch.distributions.Normal(out[:, at], math.exp(sigma)).log_prob(x[:, at])
    torch.testing.assert_close(says.log_prob(x, out), wanted)
    many = out[:1].expand(20_000, -1)
    with noise.stream(0):
        drawn = says.draw(many)
    assert torch.equal(drawn, blocks.snap(drawn, MIXED.blocks))
    torch.testing.assert_close(drawn.mean(0), says.mean(out[:1])[0], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[:, 4].std(), torch.tensor(math.exp(0.3)), atol=0.03, rtol=0)


def test_the_importance_estimate_of_a_mixed_row_is_exact_where_the_truth_is_known():
    """Numbers linear in z, a category that z says nothing of: log N(x; b, W W' + sigma^2) + log P(category)."""
    spec = Spec(shape=(5,), blocks=(1, 3, 1))
    model = build(VAE, {"hidden": [4], "latent": 1, "importance": 3000}, spec)
    w, bias, sigma = torch.tensor([1.0, -0.5]), torch.tensor([0.2, 0.4]), torch.tensor([0.6, 0.9])
    odds = torch.tensor([0.2, 0.3, 0.5]).log()
    model.decoder, model.encoder = torch.nn.Linear(1, 5), torch.nn.Linear(5, 2)
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.weight[[0, 4], 0] = w
        model.decoder.bias.copy_(torch.cat([bias[:1], odds, bias[1:]]))
        model.says.log_sigma.copy_(sigma.log())
        model.encoder.weight.zero_()
        model.encoder.bias.zero_()  # q = N(0, 1), the prior
    x = torch.zeros(50, 5)
    x[:, [0, 4]] = torch.randn(50, 2)
    x[torch.arange(50), 1 + torch.arange(50) % 3] = 1
    normal = torch.distributions.MultivariateNormal(bias, torch.outer(w, w) + torch.diag(sigma**2))
    with torch.no_grad(), noise.stream(0):
        gap = model.log_prob(Batch(x=x)) - normal.log_prob(x[:, [0, 4]]) - odds[torch.arange(50) % 3]
    assert gap.abs().max() < 0.15 and gap.mean().abs() < 0.02


def test_a_density_of_one_hots_is_not_called_a_likelihood():
    model = build(VAE, {"hidden": [4], "latent": 1, "importance": 2, "likelihood": "gaussian"}, MIXED)
    with pytest.raises(GenctlError, match="no likelihood"):
        model.log_prob(Batch(x=torch.zeros(2, 7)))


# --- families on tables ---


@pytest.fixture
def whole(monkeypatch):
    """Made examples with whole one-hots."""
    made = battery.fake

    def fake(spec, n, seed=0):
        batch = made(spec, n, seed)
        return Batch(x=blocks.snap(batch.x, spec.blocks), given=batch.given)

    monkeypatch.setattr(battery, "fake", fake)


FAMILIES = [
    (VAE, {"hidden": [16], "latent": 2, "importance": 3}),
    (RealNVP, {"couplings": 3, "hidden": [16]}),
    (Spline, {"layers": 1, "hidden": [16], "bins": 4, "autoregressive": True}),
    (Mixture, {"components": 3}),
    (Mixture, {"components": 3, "covariance": "full"}),
]


@pytest.mark.parametrize(("cls", "model"), FAMILIES, ids=lambda v: getattr(v, "__name__", ""))
def test_battery(cls, model, whole):
    check_family(cls, model, MIXED)
    x = draw(build(cls, model, MIXED).eval(), 20)
    assert torch.equal(x, blocks.snap(x, MIXED.blocks))


@pytest.mark.parametrize(("cls", "model"), [FAMILIES[0], FAMILIES[1], FAMILIES[4]], ids=lambda v: getattr(v, "__name__", ""))
def test_resume_is_exact(cls, model, whole, tmp_path):
    check_resume(cls, model, MIXED, tmp_path, cut=3, steps=6, batch=8)


def test_a_flow_bounds_the_probability_of_categories():
    """Over all 3 x 2 categories the expected bound sums to at most one, and one-hots survive the latent space."""
    spec = Spec(shape=(5,), blocks=(3, 2))
    net = bent(RealNVP, {"couplings": 3, "hidden": [16]}, spec)
    net.scale.fill_(0.4)
    net.shift.fill_(0.8)
    assert net.log_prob_is == "bound" and build(RealNVP, {}, Spec(shape=(2,), blocks=(1, 1))).log_prob_is == "exact"
    x = blocks.unfold(torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0)), spec.blocks)
    with noise.stream(0):
        bound = torch.stack([net.log_prob(Batch(x=x)) for _ in range(200)]).mean(0)
    assert 0 < float(bound.exp().sum()) <= 1
    assert torch.equal(net.decode(net.encode(Batch(x=x))), x)


def pairs(n, seed=0):
    """A category, and a number whose mean depends on it."""
    g = torch.Generator().manual_seed(seed)
    kind = torch.randint(3, (n,), generator=g)
    return torch.cat([3.0 * kind[:, None] + torch.randn(n, 1, generator=g), torch.nn.functional.one_hot(kind, 3).float()], 1)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_a_mixture_of_rows_is_a_probability_of_categories_and_learns_what_goes_with_what(covariance):
    spec = Spec(shape=(4,), blocks=(1, 3))
    net = build(Mixture, {"components": 3, "covariance": covariance, "forget": 0.0}, spec).train()
    batch = Batch(x=pairs(600))
    with torch.no_grad():
        net.begin(batch, Progress(0, 1))
        seen = [float(net.loss(batch, Progress(t, 40)).total) for t in range(40)]
        assert all(b <= a + 1e-5 for a, b in itertools.pairwise(seen))
        grid = torch.linspace(-6, 12, 2001)
        rows = [torch.cat([grid[:, None], torch.eye(3)[k].expand(2001, 3)], 1) for k in range(3)]
        mass = sum(float(net.eval().log_prob(Batch(x=r)).exp().sum()) for r in rows) * 18 / 2000
    assert mass == pytest.approx(1, abs=2e-3)
    x = draw(net, 3000, 1)
    means = [float(x[x[:, 1 + k] == 1, 0].mean()) for k in range(3)]
    assert means == pytest.approx([0, 3, 6], abs=0.3)


# --- metrics ---


def case(samples, reference, train=None, spec=None):
    spec = spec or Spec(shape=(4,), media="table", blocks=(1, 3), codec={"columns": ["height", "kind"]})
    return Case(spec=spec, reference=Batch(x=reference), samples=samples, train=reference if train is None else train)


def apart(x, sizes):
    """The same columns, each in an order of its own."""
    g = torch.Generator().manual_seed(5)
    return torch.cat([p[torch.randperm(len(p), generator=g)] for p in torch.split(x, list(sizes), 1)], 1)


def test_distances_of_columns_are_the_textbooks():
    from scipy import stats

    x, y = torch.randn(200, 2).round(decimals=1), 0.3 + torch.randn(150, 2).round(decimals=1)
    found = marginals.kolmogorov_smirnov(x, y)
    for c in range(2):
        assert float(found[c]) == pytest.approx(stats.ks_2samp(x[:, c].numpy(), y[:, c].numpy()).statistic, abs=1e-6)
    p, q = torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[0, 1, 1, 1]]
    assert float(marginals.total_variation(p, q)) == pytest.approx(0.5)
    assert marginals.gaps(torch.cat([p, p], 1), torch.cat([q, q], 1), [3, 3]).tolist() == pytest.approx([0.5, 0.5])


def test_correlations_are_pearsons_cramers_and_the_correlation_ratio():
    from scipy.stats import contingency

    x = torch.randn(300, 2).double() @ torch.tensor([[1.0, 0.7], [0, 1]]).double()
    number = torch.tensor([0, 1])
    r = correlations.correlation(x, number)
    np.testing.assert_allclose(r.numpy(), np.corrcoef(x.numpy().T), atol=1e-9)
    assert float(correlations.norms(r, number)) == pytest.approx(abs(float(r[0, 1])))
    a = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    b = torch.where(torch.rand(300, generator=torch.Generator().manual_seed(1)) < 0.5, a, 3)
    hot = torch.cat([torch.eye(3)[a], torch.eye(4)[b]], 1)
    column = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    counts = torch.zeros(3, 4).index_put_((a, b), torch.ones(300), accumulate=True).long().numpy()
    assert float(correlations.norms(correlations.correlation(hot, column), column)) == pytest.approx(contingency.association(counts))
    y = torch.cat([x[:, :1] + a[:, None], torch.eye(3)[a]], 1)
    between = sum(float((a == k).double().mean() * (y[a == k, 0].mean() - y[:, 0].mean()) ** 2) for k in range(3))
    ratio = float(correlations.norms(correlations.correlation(y, torch.tensor([0, 1, 1, 1])), torch.tensor([0, 1, 1, 1])))
    assert ratio == pytest.approx(math.sqrt(between / float(y[:, 0].var(correction=0))), abs=1e-6)


@pytest.mark.parametrize("name", ["marginals", "correlations", "tstr"])
def test_tables_score_themselves_well_and_shuffled_columns_badly_where_they_depend(name):
    real, train = pairs(300), pairs(300, 1)
    metric = metrics.load(name)
    itself, like, shuffled = (metric.measure(case(x, real, train)) for x in (real, pairs(300, 2), apart(real, (1, 3))))
    sign = 1 if metric.HIGHER else -1
    assert sign * itself.value >= sign * like.value
    assert abs(like.value - like.floor) < 0.08
    if name == "marginals":
        assert itself.value == shuffled.value == 0
    else:
        assert sign * (like.value - shuffled.value) > 0.3
    for score in (like, shuffled):
        assert 0 < score.se < 0.1


def test_floats_in_place_of_one_hots_are_judged_by_their_largest_entry():
    real = pairs(200)
    soft = real + torch.cat([torch.zeros(200, 1), 0.3 * torch.rand(200, 3)], 1)
    for name in ("marginals", "correlations"):
        assert metrics.load(name).measure(case(soft, real)).value == pytest.approx(0, abs=1e-9)


def test_without_categories_every_number_is_a_target():
    x = torch.randn(300, 1)
    x = torch.cat([x, x + 0.1 * torch.randn(300, 1), torch.full((300, 1), 2.0)], 1)
    found = metrics.load("tstr").measure(case(x[:200], x[200:], x[:200], Spec(shape=(3,))))
    assert (found.fields["of"], found.fields["targets"]) == ("R^2", 2)
    assert found.value > 0.8


def test_reasons(monkeypatch):
    real = pairs(30)
    picture = Spec(shape=(1, 2, 2), levels=2, media="image")
    for name in ("marginals", "correlations", "tstr"):
        assert "no table" in metrics.load(name).measure(case(torch.zeros(4, 1, 2, 2), torch.zeros(4, 1, 2, 2), spec=picture)).reason
        assert "two rows" in metrics.load(name).measure(case(real[:1], real)).reason
    assert "2 columns" in metrics.load("correlations").measure(case(real[:, :1], real[:, :1], spec=Spec(shape=(1,)))).reason
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install" in metrics.load("tstr").measure(case(real, real)).reason


# --- the commands ---


def test_a_mixed_table_through_all_commands(tmp_path, capsys):
    def call(*args):
        with pytest.raises(SystemExit) as ended:
            cli.main([*map(str, args), "--json", "--device", "cpu"])
        assert not ended.value.code
        return json.loads(capsys.readouterr().out)

    run, drawn = tmp_path / "run", tmp_path / "samples"
    call("train", "vae-wine", "--steps", 20, "model.importance=2", "--out", run)
    call("sample", "--ckpt", run, "-n", 60, "--out", drawn)
    rows = list(csv.DictReader((drawn / "samples.csv").read_text().splitlines()))
    assert len(rows) == 60 and {r["cultivar"] for r in rows} <= {"class_0", "class_1", "class_2"}
    assert 8 < float(rows[0]["alcohol"]) < 18
    names = "marginals,correlations,tstr,memorization"
    a, b = (call("eval", *of, "--metric", names, "-n", 60) for of in (("--ckpt", run), ("--samples", drawn, "--data", "vae-wine")))
    for name in names.split(","):
        assert a[name] == pytest.approx(b[name], abs=0.02)
        assert a["results"][name]["stamp"]["n"] == 60
    again = call("reconstruct", "--ckpt", run, "--input", drawn / "samples.csv", "-n", 60, "--out", tmp_path / "again")
    assert again["n"] == 60 and (tmp_path / "again" / "sheet.png").exists()
