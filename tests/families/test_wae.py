"""wae: the battery, and its own truth: the distance to the prior by brute force, over ranks too, and codes that end as a Gaussian."""

import pytest
import torch

from genctl import recipe
from genctl.contract import Batch, Spec
from genctl.families.autoencoder.wae import WAE
from genctl.maths import noise
from genctl.maths.mmd import kernel, mmd2
from genctl.training import loop
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 6, 6), levels=2, media="image")
ROW = Spec(shape=(4,))
MLP = {"hidden": [16], "latent": 2, "norm": True}  # the distance mixes the examples of a batch, as batch normalisation does
CRITIC = {"hidden": [16], "latent": 2, "match": "critic", "critic": [8], "weight": 1.0}


@pytest.mark.parametrize(
    ("model", "spec"),
    [(MLP, ROW), ({**MLP, "network": "conv", "hidden": [4, 8]}, IMAGE), (CRITIC, ROW)],
)
def test_battery(model, spec):
    check_family(WAE, model, spec, descends=model is not CRITIC)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(WAE, MLP, ROW, tmp_path, cut=cut, steps=8, batch=8)


def test_resume_of_the_game_is_exact(tmp_path):
    check_resume(WAE, CRITIC, IMAGE, tmp_path, cut=5, steps=8, batch=8)


def brute(z: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    n, off = len(z), ~torch.eye(len(z), dtype=torch.bool)
    return (kernel(z, z)[off].sum() + kernel(p, p)[off].sum()) / (n * (n - 1)) - 2 * kernel(z, p).mean()


@pytest.mark.parametrize("size", [1, 2, 3], ids=["one rank", "two ranks", "three ranks"])
def test_ranks_have_the_distance_and_gradient_of_all_pairs(size):
    torch.manual_seed(0)
    z, p = torch.randn(12, 3, requires_grad=True), torch.randn(12, 3)
    full = brute(z, p)
    (wanted,) = torch.autograd.grad(full, z)
    parts = [
        mmd2(a, b, lambda t, a=a: z.detach() if t.data_ptr() == a.data_ptr() else p)
        for a, b in zip(z.tensor_split(size), p.tensor_split(size), strict=True)
    ]
    found = torch.stack(parts).mean()
    torch.testing.assert_close(found, full, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(found, z)[0], wanted, atol=1e-6, rtol=1e-4)


def test_the_distance_of_the_prior_from_itself_is_none():
    """Unbiased: its mean is zero within its error; a crowd that is too narrow, or moved, is far."""
    g = torch.Generator().manual_seed(0)

    def apart(scale: float, shift: float) -> torch.Tensor:
        return torch.stack([mmd2(scale * torch.randn(100, 3, generator=g) + shift, torch.randn(100, 3, generator=g)) for _ in range(100)])

    same, narrow, moved = apart(1, 0), apart(0.5, 0), apart(1, 0.5)
    assert abs(same.mean()) < 4 * same.std() / 10
    assert narrow.mean() > 10 * same.std() / 10 and moved.mean() > 10 * same.std() / 10


@pytest.mark.parametrize("model", [{**MLP, "weight": 300.0}, {**CRITIC, "critic": [32], "weight": 30.0}], ids=["mmd", "critic"])
def test_the_codes_end_as_the_prior(model):
    """Data far off and wide; a deterministic code must come to the prior's mean and spread."""
    torch.manual_seed(0)
    x = 2 * torch.randn(512, 4) + 3
    net = build(WAE, model, ROW).train()

    def data(step: int) -> Batch:
        return Batch(x=x[torch.randint(512, (128,), generator=torch.Generator().manual_seed(step))])

    loop.fit(net, data, loop.Setting(recipe.Train(steps=250, lr=1e-2, betas=(0.5, 0.9), batch=128)), lambda *step: False)
    with torch.no_grad(), noise.stream(0):
        z = net.eval().encode(Batch(x=x))
        apart = mmd2(z, noise.randn(512, 2))
    assert apart < 0.1
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=0.3, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(2), atol=0.3, rtol=0)
