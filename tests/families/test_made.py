"""made: the battery; probabilities of all pictures sum to one, as those of its own drawings say."""

import pytest
import torch

from genctl.contract import Batch, Spec
from genctl.families.autoregressive.made import MADE
from tests.battery import build, check_family, check_resume

BITS = Spec(shape=(1, 3, 3), levels=2, media="image")
GREY = Spec(shape=(1, 3, 3), levels=16, media="image")
LABELLED = Spec(shape=(1, 3, 3), levels=2, media="image", given={"label": Spec(shape=(), vocab=3)})
SMALL = {"hidden": [12, 12]}


@pytest.mark.parametrize(
    ("spec", "more"),
    [(BITS, {}), (GREY, {}), (GREY, {"output": "mol", "mixtures": 2}), (LABELLED, {"conditional": True})],
    ids=["bits", "grey", "mol", "labelled"],
)
def test_battery(spec, more):
    check_family(MADE, {**SMALL, **more}, spec)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(MADE, SMALL, BITS, tmp_path, cut=cut, steps=8, batch=8)


def test_the_probabilities_of_all_pictures_sum_to_one():
    model = build(MADE, SMALL, BITS).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 9).view(-1, 1, 3, 3)
        assert abs(float(model.log_prob(Batch(x=every)).double().exp().sum()) - 1) < 1e-5
