"""pixelcnn: the battery, and its own truths: what a pixel sees, that drawing is cached at constant work, that probabilities sum to one."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genctl.contract import Batch, Spec
from genctl.data import bars
from genctl.families.autoregressive.pixelcnn import PixelCNN
from genctl.maths import decoding, noise, pixels
from genctl.nets.pixelcnn import GatedPixelCNN
from genctl.recipe import Train
from genctl.training import loop
from tests.battery import build, check_family, check_resume, fake

BITS = Spec(shape=(1, 5, 4), levels=2, media="image")
GREY = Spec(shape=(1, 4, 4), levels=256, media="image")
COLOUR = Spec(shape=(3, 3, 4), levels=16, media="image")
CODES = Spec(shape=(4, 4), vocab=7)
LABELLED = Spec(shape=(1, 4, 4), levels=2, media="image", given={"label": Spec(shape=(), vocab=3)})
SMALL = {"layers": 2, "channels": 8, "first": 3, "hidden": 8, "mixtures": 2}


@pytest.mark.parametrize(
    ("spec", "more"),
    [(BITS, {}), (GREY, {}), (GREY, {"output": "softmax"}), (COLOUR, {}), (CODES, {}), (LABELLED, {"conditional": True})],
    ids=["bits", "grey", "softmax", "colour", "codes", "labelled"],
)
def test_battery(spec, more):
    check_family(PixelCNN, {**SMALL, **more}, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(PixelCNN, {**SMALL, "dropout": 0.2}, GREY, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_pixel_sees_all_before_it_and_nothing_else(kernel):
    torch.manual_seed(0)
    net = GatedPixelCNN(1, 1, 8, 5, kernel, 3, 8)
    x = torch.randn(1, 1, 5, 5)
    sees = torch.autograd.functional.jacobian(lambda x: net(x)[0, 0].flatten(), x).view(25, 25).abs() > 0
    assert torch.equal(sees, torch.ones(25, 25).tril(-1).bool())


def test_the_work_of_a_pixel_does_not_grow():
    """Multiply-adds of every row are the same, and far fewer than those of one whole picture a pixel."""
    model = build(PixelCNN, SMALL, Spec(shape=(1, 12, 12), levels=2, media="image")).eval()
    x = torch.zeros(1, 144, dtype=torch.long)
    rows = []
    with torch.no_grad():
        _, state = model.start(1, None)
        for row in range(11):  # the work of the next row, from its first pixel on
            with FlopCounterMode(display=False) as counter:
                _, state = model.step(x[:, row * 12 : row * 12 + 12], state)
            rows.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            model.net(torch.zeros(1, 1, 12, 12))
    assert len(set(rows)) == 1
    assert rows[0] < 1.5 * counter.get_total_flops() / 12


def test_a_step_changes_no_earlier_state():
    model = build(PixelCNN, SMALL, BITS).eval()
    with torch.no_grad():
        _, state = model.start(2, None)
        _, state = model.step(torch.ones(2, 7, dtype=torch.long), state)
        before = {k: v.clone() for k, v in state.items()}
        once = model.step(torch.zeros(2, 1, dtype=torch.long), state)[0]
        other = model.step(torch.ones(2, 1, dtype=torch.long), state)[0]
        again = model.step(torch.zeros(2, 1, dtype=torch.long), state)[0]
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("channels", [1, 3])
def test_logits_and_log_prob_of_a_mixture_agree_and_sum_to_one(channels):
    head = pixels.Mixture(levels=5, channels=channels, parts=3)
    params = torch.randn(4, head.size, generator=torch.Generator().manual_seed(0)).double() * 2
    every = torch.cartesian_prod(*[torch.arange(5)] * channels).view(-1, channels)
    for p in params:
        whole = head.log_prob(every[:, :, None, None], p[None, :, None, None].expand(len(every), -1, 1, 1)).flatten()
        assert abs(float(whole.exp().sum()) - 1) < 1e-9
        steps = torch.zeros(len(every), dtype=torch.double)
        for c in range(channels):
            logits = head.logits(p[None].expand(len(every), -1), every[:, :c])
            torch.testing.assert_close(logits.logsumexp(1), torch.zeros(len(every), dtype=torch.double), atol=1e-9, rtol=0)
            steps += logits.gather(1, every[:, c : c + 1]).squeeze(1)
        torch.testing.assert_close(steps, whole)


def test_imputing_draws_only_what_was_not_seen():
    model = build(PixelCNN, SMALL, COLOUR).eval()
    x, mask = fake(COLOUR, 6).x, torch.rand(6, *COLOUR.shape) < 0.5
    with torch.no_grad(), noise.stream(0):
        out = model.impute(Batch(x=x, mask=mask), decoding.Draw())
    torch.testing.assert_close(out[mask], x[mask])
    assert not torch.equal(out, x)


def test_symbols_and_pictures_are_inverse():
    for spec in (BITS, GREY, COLOUR, CODES):
        x = fake(spec, 5).x
        torch.testing.assert_close(decoding.picture(decoding.symbols(x, spec), spec), x)


def test_bars_are_learned():
    """Exact total variation on 30 patterns of 16 pixels."""
    data = bars.open(bars.Config())
    truth, x = data.truth, data.train.batch(0, 10_000).x
    net = build(PixelCNN, {"layers": 3, "channels": 8, "first": 5, "hidden": 16}, data.spec)
    settings = Train(steps=200, batch=64, lr=2e-2, decay="cosine")
    loop.fit(net.train(), lambda i: Batch(x=x[(i % 150) * 64 : (i % 150) * 64 + 64]), loop.Setting(settings), lambda *a: False)
    y = truth.draw(4000, 1)
    with torch.no_grad():
        less = 1 - (net.eval().log_prob(Batch(x=y)) - truth.log_prob(y)).exp()
    assert float(less.clamp(min=0).mean()) < 0.25


def test_a_mixture_draws_what_it_scores():
    """Two channels of four levels: frequencies of draws beside probabilities, the second channel given the first."""
    head = pixels.Mixture(levels=4, channels=2, parts=3)
    params = torch.randn(1, head.size, generator=torch.Generator().manual_seed(0))
    n = 40_000
    with noise.stream(0):
        level = head.draw(params.expand(n, -1)[..., None])[..., 0]
    first = head.logits(params, torch.zeros(1, 0, dtype=torch.long)).exp()[0]
    second = torch.cat([head.logits(params, torch.tensor([[k]])).softmax(1) for k in range(4)])
    wanted = first[:, None] / first.sum() * second
    seen = torch.bincount(level[:, 0] * 4 + level[:, 1], minlength=16).view(4, 4) / n
    torch.testing.assert_close(seen, wanted, atol=0.02, rtol=0)
