"""ae: the battery, and its own truth: a linear autoencoder ends at the residual of principal components."""

import pytest
import torch

from genctl.contract import Batch, Progress, Spec
from genctl.families.autoencoder.ae import AE
from genctl.maths import noise
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 6, 6), levels=256, media="image")
ROW = Spec(shape=(4,))
MIX = {"family": "mixture", "model": {"components": 2}}
MLP = {"hidden": [16], "latent": 2, "prior": MIX}
CONV = {"network": "conv", "hidden": [4, 8], "latent": 2, "prior": MIX}
FLOW = {"family": "realnvp", "model": {"couplings": 2, "hidden": [8]}}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (MLP, ROW),
        (CONV, IMAGE),
        ({**CONV, "norm": True, "noise": 0.3}, IMAGE),
        ({**MLP, "prior": FLOW}, ROW),
        ({**CONV, "error": "squared"}, IMAGE),
    ],
)
def test_battery(model, spec):
    check_family(AE, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 7], ids=["before", "on an epoch boundary", "in the prior's stage"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(AE, {**CONV, "norm": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_a_linear_autoencoder_finds_the_principal_components():
    """Baldi and Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2: its least error is the sum of the smallest eigenvalues."""
    model = build(AE, {"hidden": [4], "latent": 2, "prior": MIX}, ROW)
    torch.manual_seed(0)
    model.encoder, model.decoder = torch.nn.Linear(4, 2), torch.nn.Linear(2, 4)
    x = torch.randn(500, 4) @ torch.randn(4, 4)
    x = x - x.mean(0)
    least = torch.linalg.eigvalsh(x.T @ x / 500)[:2].sum().item()
    steps = torch.optim.LBFGS([*model.encoder.parameters(), *model.decoder.parameters()], max_iter=300, line_search_fn="strong_wolfe")

    def loss():
        steps.zero_grad()
        found = model.loss(Batch(x=x), Progress()).total
        found.backward()
        return found

    steps.step(loss)
    assert loss().item() == pytest.approx(least, rel=1e-3)


def test_the_prior_learns_the_codes_and_the_networks_stand_still_meanwhile():
    model = build(AE, MLP, ROW)
    first, second = model.stages()
    assert {id(p) for p in first.players[0].params}.isdisjoint(id(p) for p in model.second.parameters())
    torch.manual_seed(0)
    batch = Batch(x=torch.randn(400, 4) @ torch.randn(4, 4))
    before = [p.clone() for p in model.encoder.parameters()]
    for step in range(60):
        at = Progress(step, 60)
        second.players[0].loss(second.feed(batch, at), at)
    assert all(torch.equal(a, b) for a, b in zip(before, model.encoder.parameters(), strict=True))
    with torch.no_grad(), noise.stream(0):
        drawn, codes = model.prior(4000), model.encode(batch)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.1, rtol=0.1)
    torch.testing.assert_close(drawn.std(0), codes.std(0), atol=0.1, rtol=0.1)
