"""jem: the battery, and its truth: the joint density's marginal and posterior are what the logits say; classes are told and drawn."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.errors import GenctlError
from genctl.families.energy.jem import JEM
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

ROW = Spec(shape=(3,), given={"label": Spec(shape=(), vocab=4)})
PLANE = Spec(shape=(2,), given={"label": Spec(shape=(), vocab=2)})
IMAGE = Spec(shape=(1, 6, 5), levels=17, media="image", given={"label": Spec(shape=(), vocab=4)})
SMALL = {"hidden": [8, 8], "steps": 2, "chains": 24, "ais_chains": 8, "ais_steps": 5}


@pytest.mark.parametrize(("model", "spec"), [({**SMALL, "conditional": True}, IMAGE), ({**SMALL, "loss": "nce"}, ROW)])
def test_battery(model, spec):
    check_family(JEM, model, spec, descends=False)


def test_resume_is_exact(tmp_path):
    check_resume(JEM, SMALL, IMAGE, tmp_path, cut=5, steps=8, batch=8)


def test_the_logits_say_a_joint_density():
    net = build(JEM, {"hidden": [8]}, ROW).eval()
    batch = Batch(x=torch.randn(5, 3))
    with torch.no_grad():
        each = torch.stack([net.tilt(batch.x, torch.full((5,), k)) for k in range(4)], 1)
        torch.testing.assert_close(net.tilt(batch.x), each.logsumexp(1))
        torch.testing.assert_close(net.predict(batch).softmax(1), (each - net.tilt(batch.x)[:, None]).exp())


def test_two_classes_are_told_apart_and_drawn_by_name():
    y = torch.arange(4000) % 2
    x = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + (2.0 * y - 1)[:, None] * torch.tensor([1.0, 2.0])
    net = build(JEM, {"loss": "nce", "hidden": [32, 32], "waves": 0, "conditional": True}, PLANE).train()
    rows = torch.randint(4000, (400, 128), generator=torch.Generator().manual_seed(0))
    settings = Train(steps=400, batch=128, lr=5e-3, decay="cosine")
    loop.fit(net, lambda i: Batch(x=x[rows[i]], given={"label": y[rows[i]]}), loop.Setting(settings), lambda *step: False)
    net.eval()
    with torch.no_grad(), noise.stream(0):
        assert (net.predict(Batch(x=x)).argmax(1) == y).float().mean() > 0.99
        drawn = net.sample(200, JEM.Draw(sweeps=500), {"label": y[:200]})
    near = torch.cdist(drawn, torch.tensor([[-1.0, -2.0], [1.0, 2.0]])).argmin(1)
    assert (near == y[:200]).float().mean() > 0.95


def test_it_needs_labels():
    with pytest.raises(GenctlError, match="label"):
        build(JEM, {}, Spec(shape=(2,)))
