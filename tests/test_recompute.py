"""Recomputed activations: the same gradients to the last bit with less kept, dropout and locked masks included."""

import pytest
import torch

from genctl import checkpoint
from genctl.contract import Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive.gpt import GPT
from genctl.families.autoregressive.lstm import LSTM
from genctl.families.energy.rbm import RBM
from genctl.maths import noise
from genctl.recipe import Train
from genctl.training import optim, recompute
from tests.battery import build, fake, run_training

SPEC = Spec(shape=(12,), vocab=7)


def gradients(cls, model, again):
    net = build(cls, model, SPEC).train()
    if again:
        recompute.units(net)
    kept: dict[int, int] = {}

    def pack(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with noise.stream(1), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = net.loss(fake(SPEC, 8), Progress())
        noise.rand(3)  # the stream goes on, and ends, before the backward pass
    size = sum(kept.values())
    loss.total.backward()
    return size, [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize(
    ("cls", "model"),
    [
        (GPT, {"layers": 3, "heads": 2, "width": 16, "dropout": 0.2}),
        (LSTM, {"layers": 3, "width": 16, "dropout": 0.2}),
    ],
)
def test_the_same_gradients(cls, model):
    (plain, a), (less, b) = (gradients(cls, model, again) for again in (False, True))
    assert less < plain
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x, y)


def test_the_streams_own_noise_is_drawn_again():
    with noise.stream(3):
        noise.rand(2)
        replay = noise.again()
        x = noise.rand(5)
    with replay():
        assert torch.equal(noise.rand(5), x)


def test_training_takes_the_same_path(tmp_path):
    model = {"layers": 2, "heads": 2, "width": 16, "dropout": 0.1}
    files = [run_training(GPT, model, SPEC, tmp_path / str(again), 3, recompute=again).model for again in (False, True)]
    a, b = (checkpoint.unpack(f)[1] for f in files)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_family_without_repeated_parts_says_so():
    with pytest.raises(GenctlError, match="no repeated parts"):
        recompute.units(build(RBM, {}, Spec(shape=(4,), levels=2)))


def test_warm_up_stable_decay():
    train = Train(decay="wsd", warmup=10, final_lr=0.1)
    rates = [optim.rate(train, Progress(step, 110)) for step in range(110)]
    assert rates[0] == pytest.approx(1 / 11) and rates[10:90] == [1.0] * 80
    assert rates[100] == pytest.approx(0.1 + 0.9 * 0.5) and rates[109] == pytest.approx(0.1 + 0.9 * 0.05)
