"""scorematching: the battery, and its own truth: walks find the modes of a mixture in their shares."""

import pytest
import torch

from genctl.contract import Spec
from genctl.families.diffusion.scorematching import ScoreMatching
from genctl.maths import noise
from tests.battery import build, check_family, check_resume

ROW = Spec(shape=(2,))
MLP = {"width": 16, "depth": 2}


def test_battery():
    check_family(ScoreMatching, MLP, ROW, steps=24)


def test_resume_is_exact(tmp_path):
    check_resume(ScoreMatching, MLP, ROW, tmp_path, cut=3, steps=6, batch=8)


def test_walks_up_the_score_find_both_of_two_modes():
    """The best denoiser of half N(-3, 0.04) + half N(3, 0.04): annealing parts the walks evenly, and each ends in its mode."""
    model = build(ScoreMatching, MLP, Spec(shape=(1,))).eval()
    m = torch.tensor([-3.0, 3.0])

    def guess(z, s, told):
        v = 0.04 + s[:, None] ** 2
        share = (-((z - m) ** 2) / (2 * v)).softmax(-1)
        return (share * (m + 0.04 / v * (z - m))).sum(-1, keepdim=True)

    model.guess = guess
    with torch.no_grad(), noise.stream(0):
        x = model.sample(4000, ScoreMatching.Draw(steps=2000, corrections=5, snr=0.3))
    assert (x > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert x.abs().mean().item() == pytest.approx(3, abs=0.03)
    assert x[x > 0].std().item() == pytest.approx(0.2, abs=0.03)
