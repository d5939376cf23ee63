"""rnn: the battery, and truths of its own: it sums to one, a state is all that is read, any length, masks that are locked."""

import itertools

import pytest
import torch
from torch import nn

from genctl.contract import Batch, Spec
from genctl.families.autoregressive.rnn import RNN
from genctl.maths import decoding, noise
from genctl.nets.recurrent import Recurrent
from tests.battery import build, check_family, check_resume

SMALL = {"layers": 2, "width": 12, "hidden": 8}
ROW = Spec(shape=(8,), vocab=5, end=0)
GRID = Spec(shape=(3, 3), vocab=4)
BESIDE = Spec(shape=(6,), vocab=5, given={"label": Spec(shape=(), vocab=3), "size": Spec(shape=(2,))})


@pytest.mark.parametrize(
    ("cls", "model", "spec"),
    [
        (RNN, SMALL, ROW),
        (RNN, {**SMALL, "cell": "gru", "tied": False, "conditions": ["label", "size"]}, BESIDE),
        (RNN, SMALL, GRID),
    ],
    ids=["rnn", "gru, conditional", "on a grid"],
)
def test_battery(cls, model, spec):
    check_family(cls, model, spec, lr=1e-2)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(
        RNN, {**SMALL, "cell": "gru", "dropout": 0.2, "locked": True, "weight_drop": 0.3}, ROW, tmp_path, cut=cut, steps=8, batch=8
    )


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_probabilities_of_all_grids_sum_to_one(cell):
    net = build(RNN, {**SMALL, "cell": cell}, Spec(shape=(2, 2), vocab=2)).eval()
    every = torch.tensor(list(itertools.product(range(2), repeat=4))).view(-1, 2, 2)
    with torch.no_grad():
        assert net.log_prob(Batch(x=every)).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_step_by_step_is_the_whole_row(cell):
    net = build(RNN, {**SMALL, "cell": cell}, ROW).eval()
    x = torch.randint(1, 5, (3, 8))
    with torch.no_grad():
        logits, state = net.start(3, None)
        found = [logits]
        for t in range(7):
            out, state = net.step(x[:, t : t + 1], state)
            found.append(out[:, 0])
        torch.testing.assert_close(torch.stack(found, 1), net.logits(x, None), atol=1e-5, rtol=1e-5)
        again, _ = net.step(x[:, 1:4], net.step(x[:, :1], net.start(3, None)[1])[1])
        torch.testing.assert_close(again, net.logits(x, None)[:, 2:5], atol=1e-5, rtol=1e-5)


def test_a_row_of_any_length_is_read_to_its_end():
    """The likeliest symbols of a row five times as long as those of training are those of the network over all of it."""
    net = build(RNN, SMALL, Spec(shape=(8,), vocab=5)).eval()
    with torch.no_grad():
        x = net.sample(2, decoding.Draw(temperature=0, length=40))
        assert x.shape == (2, 40) and torch.equal(net.logits(x, None).argmax(-1), x)


def test_a_locked_mask_is_one_for_all_places_of_a_row():
    net = Recurrent([50, 3], dropout=0.5, locked=True).train()
    with noise.stream(0):
        h = net.drop(torch.ones(4, 6, 50))
    assert torch.equal(h[:, :1].expand_as(h), h) and set(h.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(h[0], h[1])
    net = Recurrent([50, 3], dropout=0.5).train()
    assert not torch.equal(*net.drop(torch.ones(4, 2, 50)).unbind(1))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_dropped_weights_are_those_from_state_to_state(cell):
    """Dropping next to nothing is the layer as it is; the first place of a row never sees the matrix; the others do."""
    net = Recurrent([4, 6], cell=cell, weight_drop=1e-9).train()
    x = torch.randn(2, 5, 4)
    layer = net.layers[0]
    assert isinstance(layer, nn.RNNBase)
    torch.testing.assert_close(net(x), layer(x)[0])
    net.weight_drop = 0.7
    torch.manual_seed(0)
    dropped = net(x)
    torch.testing.assert_close(dropped[:, 0], layer(x)[0][:, 0])
    assert not torch.allclose(dropped[:, 1:], layer(x)[0][:, 1:])
    dropped.sum().backward()
    assert layer.weight_hh_l0.grad is not None
    assert torch.equal(net.eval()(x), layer(x)[0])
