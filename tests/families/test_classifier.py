"""classifier: the battery, and its own truth: it learns real digits to 95 % in a hundred steps."""

from dataclasses import replace

import pytest
import torch

from genctl import catalog
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.helper.classifier import Classifier
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(3,), given={"kind": Spec(shape=(), vocab=4)})


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ({"width": 4, "features": 8}, IMAGE),
        ({"width": 4, "target": "kind", "dropout": 0.0}, ROW),
        ({"width": 8, "dropout": 0.0}, Spec(shape=(3,), given={"label": Spec(shape=(2,), vocab=3)})),
    ],
)
def test_battery(model, spec):
    check_family(Classifier, model, spec, steps=20)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Classifier, {"width": 4, "features": 8}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_features_are_what_the_last_layer_sees():
    model = build(Classifier, {"width": 4, "features": 8}, IMAGE).eval()
    x = torch.rand(5, 1, 9, 8)
    assert model.features(x).shape == (5, 8)
    torch.testing.assert_close(model.head(model.features(x)), model.predict(Batch(x=x)))


BODY = {"family": "dbn", "model": {"hidden": [8, 6], "chains": 4}}


@pytest.mark.parametrize(
    "body", [BODY, {"family": "dbm", "model": {"hidden": [8, 6], "chains": 4}}, {"family": "vae", "model": {"hidden": [8]}}]
)
def test_battery_of_a_body(body):
    check_family(Classifier, {"body": body, "dropout": 0.0}, replace(IMAGE, levels=2), steps=20)


def test_a_body_is_trained_from_where_it_stands():
    """Its codes are the head's features, and nothing that they do not depend on is trained."""
    model = build(Classifier, {"body": BODY}, replace(IMAGE, levels=2)).train()
    x = torch.rand(5, 1, 9, 8).round()
    torch.testing.assert_close(model.features(x), model.trunk.body.encode(Batch(x=x)))
    idle = {k for k, p in model.named_parameters() if not p.requires_grad}
    assert idle == {f"trunk.body.{k}" for k in ("machines.0.b", "machines.1.b", "down.0.weight", "down.0.bias")}
    assert model.texture(x).shape == (5, 0)


def test_a_body_without_codes_to_train():
    for body in ({"family": "dcgan"}, {**BODY, "model": {**BODY["model"], "conditional": True}}):
        with pytest.raises(GenctlError, match=r"model\.body"):
            build(Classifier, {"body": body}, IMAGE)


def test_a_target_that_is_not_there():
    with pytest.raises(GenctlError, match=r"model\.target"):
        build(Classifier, {}, Spec(shape=(2,)))


def test_it_reads_digits():
    digits = catalog.load("data", "digits")
    d = digits.open(digits.Config())
    model = build(Classifier, {"width": 8}, d.spec).train()
    rows = torch.Generator().manual_seed(0)
    loop.fit(
        model,
        lambda i: d.train.get(torch.randint(len(d.train), (64,), generator=rows)),
        loop.Setting(Train(steps=100, lr=5e-3, batch=64, decay="cosine")),
        lambda *a: False,
    )
    with torch.no_grad(), noise.stream(0):
        test = d.test.batch(0, len(d.test))
        right = (model.eval().predict(test).argmax(1) == test.given["label"]).float().mean()
    assert right > 0.95, right
