"""pixelrnn: the battery, and its own truths: what a pixel sees, that drawing is cached at constant work, that probabilities sum to one."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from genctl.contract import Batch, Spec
from genctl.families.autoregressive import pixelrnn as family
from genctl.nets.pixelrnn import PixelRNN, diagonals
from tests.battery import build, check_family, check_resume

BITS = Spec(shape=(1, 4, 3), levels=2, media="image")
COLOUR = Spec(shape=(3, 2, 3), levels=16, media="image")
CODES = Spec(shape=(3, 4), vocab=7)
LABELLED = Spec(shape=(1, 3, 4), levels=2, media="image", given={"label": Spec(shape=(), vocab=3)})
SMALL = {"width": 4, "first": 3, "hidden": 8, "mixtures": 2}
ROW, DIAGONAL = {**SMALL, "layer": "row", "layers": 2}, {**SMALL, "layer": "diagonal", "layers": 2}


@pytest.mark.parametrize(
    ("spec", "model"),
    [
        (BITS, DIAGONAL),
        (COLOUR, DIAGONAL),
        (CODES, ROW),
        (LABELLED, {**ROW, "conditional": True}),
        (LABELLED, {**DIAGONAL, "conditional": True}),
    ],
    ids=["bits", "colour", "codes-row", "labelled-row", "labelled"],
)
def test_battery(spec, model):
    check_family(family.PixelRNN, model, spec)


@pytest.mark.parametrize(("model", "cut"), [(DIAGONAL, 2), (ROW, 5), (DIAGONAL, 6)], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(model, cut, tmp_path):
    check_resume(family.PixelRNN, model, BITS, tmp_path, cut=cut, steps=8, batch=8)


def sees(layer: str, kernel: int, height: int, width: int) -> torch.Tensor:
    """(H, W, H, W) True where the first place depends on the second: one layer behind 3x3 filters."""
    torch.manual_seed(0)
    net = PixelRNN(1, 1, 4, 1, layer, kernel, 3, 8)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x)[0, 0].flatten(), torch.randn(1, 1, height, width))
    return jacobian.view(height, width, height, width).abs() > 0


@pytest.mark.parametrize(("height", "width"), [(5, 5), (3, 6), (6, 3)])
def test_diagonal_sees_all_before_it_and_nothing_else(height, width):
    n = height * width
    seen = sees("diagonal", 3, height, width)
    assert torch.equal(seen.view(n, n), torch.ones(n, n).tril(-1).bool())


@pytest.mark.parametrize("kernel", [3, 5])
def test_row_sees_the_triangle_above_and_nothing_else(kernel):
    """A layer sees `back` places to the left of a place, and each row up `back` more on both sides; the 3x3 filters widen it by one."""
    back, n = kernel // 2, 9
    here = torch.arange(n)
    up = (here[:, None] - here)[:, None, :, None]  # (r, 1, r', 1)
    aside = (here - here[:, None])[None, :, None, :]  # (1, c, 1, c')
    left, right = back * (up + 1) + 1, torch.where(up > 0, back * (up - 1) + 1, -1)
    wanted = (up >= 0) & (-left <= aside) & (aside <= right)
    assert torch.equal(sees("row", kernel, n, n), wanted)


@pytest.mark.parametrize("model", [ROW, DIAGONAL], ids=["row", "diagonal"])
def test_the_work_of_a_pixel_does_not_grow(model):
    """Multiply-adds of every row are the same, and about those of a row of the parallel pass."""
    net = build(family.PixelRNN, model, Spec(shape=(1, 8, 8), levels=2, media="image")).eval()
    x = torch.zeros(1, 64, dtype=torch.long)
    rows = []
    with torch.no_grad():
        _, state = net.start(1, None)
        for row in range(7):  # the work of the next row, from its first pixel on
            with FlopCounterMode(display=False) as counter:
                _, state = net.step(x[:, row * 8 : row * 8 + 8], state)
            rows.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            net.net(torch.zeros(1, 1, 8, 8))
    assert len(set(rows)) == 1
    assert rows[0] < 1.5 * counter.get_total_flops() / 8


@pytest.mark.parametrize("model", [ROW, DIAGONAL], ids=["row", "diagonal"])
def test_a_step_changes_no_earlier_state(model):
    net = build(family.PixelRNN, model, BITS).eval()
    with torch.no_grad():
        _, state = net.step(torch.ones(2, 4, dtype=torch.long), net.start(2, None)[1])
        before = {k: v.clone() for k, v in state.items()}
        once, other, again = (net.step(torch.full((2, 1), k), state)[0] for k in (0, 1, 0))
    assert all(torch.equal(state[k], v) for k, v in before.items())
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("model", [ROW, DIAGONAL], ids=["row", "diagonal"])
def test_the_probabilities_of_all_pictures_sum_to_one(model):
    net = build(family.PixelRNN, model, Spec(shape=(1, 3, 3), levels=2, media="image")).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 9).view(-1, 1, 3, 3)
        assert abs(float(net.log_prob(Batch(x=every)).double().exp().sum()) - 1) < 1e-5


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (1, 4), (4, 1)])
def test_diagonals_hold_every_place_once(height, width):
    order, sizes, ends = diagonals(height, width, torch.device("cpu"))
    lines = [[divmod(int(k), width) for k in line] for line in order.split(sizes)]
    assert lines == [[(r, j - r) for r in range(height) if 0 <= j - r < width] for j in range(height + width - 1)]
    assert len(ends) == len(sizes)
