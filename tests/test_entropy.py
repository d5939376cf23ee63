"""Cross-entropy a few rows at a time: the plain one's value and gradients, with smoothing and z."""

import pytest
import torch
import torch.nn.functional as F

from genctl.contract import Batch, Progress, Spec
from genctl.families.autoregressive import _next
from genctl.families.autoregressive.gpt import GPT
from genctl.maths import entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("z", [0.0, 0.01])
def test_value_and_gradients(monkeypatch, smoothing, z):
    monkeypatch.setattr(entropy, "CELLS", 60)  # three rows at a time
    g = torch.Generator().manual_seed(0)
    h, w = (torch.randn(n, 5, generator=g, dtype=torch.float64, requires_grad=True) for n in (10, 20))
    y, share = torch.randint(20, (10,), generator=g), torch.rand(10, generator=g, dtype=torch.float64)
    logits = h @ w.T
    log_p = logits.log_softmax(1)
    by_hand = -(1 - smoothing) * log_p.gather(1, y[:, None])[:, 0] - smoothing * log_p.mean(1) + z * logits.logsumexp(1) ** 2
    torch.testing.assert_close(entropy.nats(logits, y, smoothing, z), by_hand)
    torch.testing.assert_close(entropy.linear_nats(h, w, y, share, smoothing, z), share @ by_hand)
    assert torch.autograd.gradcheck(lambda a, b: entropy.linear_nats(a, b, y, share, smoothing, z), (h, w))
    assert torch.autograd.gradcheck(lambda a: entropy.linear_nats(a, w.detach(), y, share, smoothing, z), (h,))
    with torch.no_grad():
        torch.testing.assert_close(entropy.linear_nats(h, w, y, share, smoothing, z), share @ by_hand)


@pytest.mark.parametrize("end", [None, 0])
@pytest.mark.parametrize("tied", [True, False])
def test_a_family_loses_the_same_either_way(monkeypatch, end, tied):
    spec = Spec(shape=(6,), vocab=7, end=end)
    model = GPT(GPT.Config(layers=1, heads=1, width=4, tied=tied, smoothing=0.1, z_loss=1e-3), spec)
    x = torch.randint(7, (5, 6), generator=torch.Generator().manual_seed(0))
    if end is not None:
        x = torch.where((x == end).cumsum(1) > 0, end, x)
    found = []
    for large in (2048, 2):
        monkeypatch.setattr(_next, "LARGE", large)
        model.train().zero_grad()
        loss = model.loss(Batch(x=x), Progress())
        loss.total.backward()
        found.append((loss.total.detach(), float(loss.weight), *(p.grad.clone() for p in model.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    model.eval()  # what is held out is scored plainly
    plain = F.cross_entropy(model.logits(x, None).flatten(0, 1), x.flatten(), reduction="none").view_as(x)
    live = torch.ones_like(x) if end is None else ((x == end).cumsum(1) - (x == end).long() == 0)
    torch.testing.assert_close(model.loss(Batch(x=x), Progress()).total, (plain * live).sum() / live.sum())
