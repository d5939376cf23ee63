"""reader: the battery for classes, tags and spans on each body, and its own truths: padding changes nothing, shuffled labels give chance."""

import pytest
import torch

from genctl import checkpoint
from genctl.contract import Batch, Spec
from genctl.data import grammar
from genctl.errors import GenctlError
from genctl.families.helper.reader import Reader
from genctl.nets.bag import Bag
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume
from tests.faults.tools import here

BERT = {"family": "bert", "model": {"layers": 1, "heads": 2, "width": 16}}
GPT = {"family": "gpt", "model": {"layers": 1, "heads": 2, "width": 16}}
LSTM = {"family": "lstm", "model": {"layers": 1, "width": 16, "tied": False}}


def row(**given):
    return Spec(shape=(8,), vocab=6, end=0, given=given)


LABEL, TAG, SPAN = row(label=Spec(shape=(), vocab=3)), row(tag=Spec(shape=(8,), vocab=3)), row(span=Spec(shape=(2,), vocab=8))


@pytest.mark.parametrize("pool", ["mean", "max", "first", "last", "attend"])
def test_battery_of_classes(pool):
    check_family(Reader, {"body": BERT, "dropout": 0.0, "pool": pool}, LABEL)


@pytest.mark.parametrize("bayes", [0.0, 2.0])
def test_battery_of_a_bag_beside(bayes):
    check_family(Reader, {"body": BERT, "dropout": 0.0, "bag": 2, "buckets": 64, "bayes": bayes}, LABEL)


def test_the_bag_counts_as_much_as_is_said():
    net, x = build(Reader, {"body": BERT, "bag": 2, "buckets": 64, "bag_share": 0.75}, LABEL).eval(), Batch(x=torch.randint(1, 6, (5, 8)))
    torch.nn.init.normal_(net.bag.weight)
    with torch.no_grad():
        expected = net.told(x).log_softmax(-1) / 4 + net.bagged(x).log_softmax(-1) * 0.75
        torch.testing.assert_close(net.predict(x), expected, atol=1e-5, rtol=1e-5)


def test_what_a_group_of_symbols_says_of_its_class():
    """Of four rows, symbol 1 stands in both of class 0 and in one of class 1; with one row assumed it is 3 of 7 there and 2 of 7 here."""
    bag = Bag(2, 1, 4, bayes=1.0)
    x, label = torch.tensor([[1, 1, 2], [1, 0, 0], [1, 3, 3], [3, 0, 0]]), torch.tensor([0, 0, 1, 1])
    bag.note(x, x != 0, label)
    assert bag.holding.tolist() == [[0, 0], [2, 1], [1, 0], [0, 2]]
    expected = torch.tensor([[1, 1], [3, 2], [2, 1], [1, 3]]).log() - torch.tensor([[1, 1], [2, 3], [1, 2], [3, 1]]).log()
    torch.testing.assert_close(bag.ratios(), expected)
    torch.nn.init.ones_(bag.weight)
    found, row = bag(x[:1], x[:1] != 0), expected[1:3]
    torch.testing.assert_close(found[0], (row / row.norm(dim=0)).sum(0))


@pytest.mark.parametrize("body", [GPT, LSTM], ids=["gpt", "lstm"])
@pytest.mark.parametrize(("target", "spec"), [("label", LABEL), ("tag", TAG)], ids=["class", "tags"])
def test_battery_of_other_bodies(body, target, spec):
    check_family(Reader, {"body": body, "target": target, "pool": "last", "dropout": 0.0}, spec)


@pytest.mark.parametrize(("target", "spec"), [("tag", TAG), ("span", SPAN)], ids=["tags", "span"])
def test_battery_of_tags_and_spans(target, spec):
    check_family(Reader, {"body": BERT, "target": target, "dropout": 0.0, "smoothing": 0.1}, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Reader, {"body": BERT, "symbol_dropout": 0.2}, LABEL, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("body", [BERT, GPT, LSTM], ids=["bert", "gpt", "lstm"])
@pytest.mark.parametrize("pool", ["mean", "max", "last", "attend"])
def test_what_a_text_is_does_not_depend_on_its_neighbours(body, pool):
    """A batch with a longer text in it is padded; the others are told the same."""
    net = build(Reader, {"body": body, "pool": pool}, LABEL).eval()
    x = torch.tensor([[1, 2, 0, 0, 0, 0, 0, 0], [5, 4, 3, 2, 1, 2, 3, 0]])
    with torch.no_grad():
        torch.testing.assert_close(net.predict(Batch(x=x))[:1], net.predict(Batch(x=x[:1])), atol=1e-6, rtol=1e-5)


def test_no_span_ends_behind_the_end():
    net = build(Reader, {"body": BERT, "target": "span"}, SPAN).eval()
    with torch.no_grad():
        p = net.predict(Batch(x=torch.tensor([[1, 2, 0, 0, 0, 0, 0, 0]]))).softmax(-1)
    assert p.shape == (1, 2, 8) and (p[:, :, 3:] == 0).all()


def learned(target, shuffled=False):
    """The share that a short training on the grammar gets right of what it has not seen."""
    data = grammar.open(grammar.Config(count=2000, beside=True))
    net = build(Reader, {"body": {**BERT, "model": {**BERT["model"], "width": 32}}, "target": target}, data.spec).train()
    given = data.train.batch(0, 2000)
    if shuffled:
        given.given[target] = given.given[target][torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    loop.fit(
        net,
        lambda i: given.map(lambda t: t[torch.arange(64 * i, 64 * i + 64) % 2000]),
        loop.Setting(Train(steps=80, lr=5e-3, batch=64, decay="cosine")),
        lambda *a: False,
    )
    test = data.test.batch(0, 2000)
    with torch.no_grad():
        return (net.eval().predict(test).argmax(-1) == test.given[target]).float(), test


@pytest.mark.parametrize("target", ["label", "tag"])
def test_it_learns_a_grammar(target):
    right, test = learned(target)
    assert right[test.x != 0].mean() > 0.99 if target == "tag" else right.mean() > 0.99


def test_shuffled_labels_give_chance():
    right, test = learned("label", shuffled=True)
    share = test.given["label"].float().mean().item()
    assert right.mean() < max(share, 1 - share) + 0.05


def test_a_frozen_body_stays():
    net = build(Reader, {"body": BERT, "frozen": True}, LABEL)
    assert {k.split(".")[0] for k, p in net.named_parameters() if p.requires_grad} == {"head"}


@pytest.mark.parametrize(
    ("model", "spec", "said"),
    [
        ({"target": "mood"}, LABEL, "no class, row of tags or span"),
        ({"body": {"family": "vae", "model": {"network": "lstm", "hidden": [8], "latent": 2}}}, LABEL, "does not read texts"),
        ({"body": {**BERT, "spec": Spec(shape=(8,), vocab=7, end=0).to_json()}}, LABEL, "other symbols"),
        ({"body": {**BERT, "spec": Spec(shape=(4,), vocab=6, end=0).to_json()}}, LABEL, "reads 4 symbols"),
    ],
)
def test_settings_that_fit_nothing_are_refused(model, spec, said):
    with pytest.raises(GenctlError, match=said):
        build(Reader, model, spec)


def test_it_starts_from_a_pretrained_model(tmp_path):
    """By the path of a body, whose settings come along, or by --init-from into a body of the same settings: the same weights."""
    model = "model={layers: 1, heads: 2, width: 16}"
    run = tmp_path / "bert"
    here("train", "bert-grammar", model, "--steps", "2", "train.batch=8", "--out", run, "--device", "cpu")
    pretrained = checkpoint.load(run / "checkpoints" / "step-0000000002" / "model.safetensors")[0].state_dict()
    recipe = tmp_path / "reader.yaml"
    recipe.write_text("family: reader\ndata: {name: grammar, beside: true}\ntrain: {steps: 1, batch: 8, lr: 0}\n")
    body = "model.body={family: bert, model: {layers: 1, heads: 2, width: 16}}"
    for name, how in (("path", [f"model.body={{path: {run}}}"]), ("init", [body, "--init-from", str(run)])):
        here("train", recipe, *how, "--out", tmp_path / name, "--device", "cpu")
        found = checkpoint.load(tmp_path / name / "checkpoints" / "step-0000000001" / "model.safetensors")[0].state_dict()
        for k, v in pretrained.items():
            assert torch.equal(found[f"body.{k}"], v), k
