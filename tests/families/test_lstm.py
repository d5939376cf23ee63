"""lstm: the battery, and its own truth: it is rnn with other cells, and learns a grammar."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.data import grammar
from genctl.families.autoregressive.lstm import LSTM
from genctl.families.autoregressive.rnn import RNN
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume

SMALL = {"layers": 2, "width": 12, "hidden": 8}
ROW = Spec(shape=(8,), vocab=5, end=0)


def test_battery():
    check_family(LSTM, SMALL, ROW, lr=1e-2)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(LSTM, {**SMALL, "dropout": 0.2, "locked": True, "weight_drop": 0.3}, ROW, tmp_path, cut=cut, steps=8, batch=8)


def test_it_is_rnn_with_other_cells():
    a, b = build(LSTM, SMALL, ROW).state_dict(), build(RNN, {**SMALL, "cell": "lstm"}, ROW).state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_a_grammar():
    data, truth = grammar.open(grammar.Config()), grammar.truth()
    net = build(LSTM, {"layers": 1, "width": 48}, data.spec)
    draw = torch.Generator().manual_seed(0)

    def batch(i: int) -> Batch:
        return data.train.get(torch.randint(len(data.train), (128,), generator=draw))

    loop.fit(net.train(), batch, loop.Setting(Train(steps=400, batch=128, lr=1e-2, decay="linear")), lambda *a: False)
    x = truth.draw(2000, 1)
    with torch.no_grad():
        apart = (truth.log_prob(x) - net.eval().log_prob(Batch(x=x))).mean()
    assert 0 <= float(apart) < 0.1
