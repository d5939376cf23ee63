"""vqvae: the battery; its codebook is k-means, its grid counts without gaps, and its gradient goes straight through."""

import math

import pytest
import torch

from genctl import recipe
from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder.vqvae import VQVAE
from genctl.maths import sampling
from genctl.nets.quantise import Codebook, Grid
from genctl.training import loop
from tests.battery import build, check_family, check_resume

IMAGE = Spec(shape=(1, 7, 6), levels=256, media="image", given={"label": Spec(shape=(), vocab=3)})
CAPTIONED = Spec(shape=(1, 4, 4), levels=256, media="image", given={"text": Spec(shape=(3,), vocab=5, end=0, media="text")})
CAUSAL = {"family": "gpt", "model": {"layers": 1, "heads": 2, "width": 16, "conditions": ["text"]}}
PRIOR = {"family": "pixelcnn", "model": {"layers": 1, "channels": 4, "first": 3}}
SMALL = {"hidden": [4, 8], "codes": 6, "size": 3, "prior": PRIOR}
GRID = {"hidden": [4], "quantiser": "grid", "levels": [4, 3], "prior": PRIOR}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (SMALL, IMAGE),
        (GRID, IMAGE),
        ({**SMALL, "norm": False, "blocks": 0}, IMAGE),
        ({**SMALL, "prior": {**PRIOR, "model": {**PRIOR["model"], "conditional": True}}}, IMAGE),
        ({**SMALL, "prior": {"family": "gpt", "model": {"layers": 1, "heads": 1, "width": 8}}}, IMAGE),
        ({**SMALL, "prior": CAUSAL}, CAPTIONED),
    ],
)
def test_battery(model, spec):
    check_family(VQVAE, model, spec)


@pytest.mark.parametrize("cut", [2, 5, 7], ids=["before", "on an epoch boundary", "in the prior's stage"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(VQVAE, SMALL, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def clusters(n: int = 600):
    g = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    return centres[torch.randint(4, (n,), generator=g)] + 0.1 * torch.randn(n, 2, generator=g)


def test_a_codebook_finds_clusters_and_wakes_what_is_dead():
    """Twelve vectors for four clusters; all of them far away at first."""
    h = clusters()
    book = Codebook(12, 2)
    book.book.add_(100)
    for step in range(300):
        part = h[torch.randperm(600, generator=torch.Generator().manual_seed(step))[:200]]
        book.learn(part, book.nearest(part), step)
    assert len(torch.unique(book.nearest(h))) >= 9
    assert (h - book.vectors(book.nearest(h))).square().sum(1).mean() < 0.02  # one vector a cluster would leave 0.02


def test_the_gradient_goes_straight_through():
    book = Codebook(5, 3)
    h = torch.randn(7, 3, requires_grad=True)
    e, symbols, _ = book(h)
    torch.testing.assert_close(e, book.vectors(symbols))
    slope = torch.randn(7, 3)
    (e * slope).sum().backward()
    torch.testing.assert_close(h.grad, slope)


@pytest.mark.parametrize("levels", [[3], [2, 2], [8, 5, 5], [7, 4]])
def test_a_grid_counts_every_symbol_and_comes_back(levels):
    grid = Grid(levels)
    symbols = torch.arange(math.prod(levels))
    vectors = grid.vectors(symbols)
    assert len(torch.unique(vectors, dim=0)) == len(symbols) and vectors.abs().max() <= 1
    h = torch.randn(20_000, len(levels), generator=torch.Generator().manual_seed(0))
    e, found, _ = grid(h)
    torch.testing.assert_close(e, grid.vectors(found))
    assert torch.equal(torch.unique(found), symbols)


def test_levels_that_are_none():
    with pytest.raises(GenctlError, match=r"model\.levels"):
        build(VQVAE, {**GRID, "levels": [1, 4]}, IMAGE)


def test_one_batch_is_learned_by_heart():
    model = build(VQVAE, {**SMALL, "codes": 32, "hidden": [16, 32]}, IMAGE)
    torch.manual_seed(0)
    batch = Batch(x=(torch.rand(8, 1, 7, 6) > 0.5).float())
    player = model.stages()[0].players[0]
    steps = torch.optim.Adam(player.params, lr=3e-3)
    model.train()
    for step in range(250):
        steps.zero_grad()
        loss = player.loss(batch, Progress(step, 250))
        loss.total.backward()
        steps.step()
    assert loss.parts["error"] < 0.15


def test_pictures_follow_their_caption():
    """A prior of tokens with the caption in front (Ramesh et al. 2021, https://arxiv.org/abs/2102.12092): dark or bright, as it says.

    What decides is one word, at a place of the caption that differs; the other words mean nothing.
    """
    model = build(VQVAE, {**SMALL, "hidden": [8], "codes": 4, "size": 2, "prior_share": 0.7, "prior": CAUSAL}, CAPTIONED)
    assert model.conditions == ("text",)

    def said(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        g = torch.Generator().manual_seed(seed)
        bright, place = torch.randint(2, (n,), generator=g), torch.randint(2, (n, 1), generator=g)
        text = torch.randint(3, 5, (n, 3), generator=g).scatter(1, place, 1 + bright[:, None])
        return bright, text

    def data(step: int) -> Batch:
        bright, text = said(32, step)
        x = 0.2 + 0.6 * bright.float().view(-1, 1, 1, 1) + 0.1 * torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(step))
        return Batch(x=x, given={"text": text})

    loop.fit(model.train(), data, loop.Setting(recipe.Train(steps=200, lr=1e-2, batch=32)), lambda *step: False)
    bright, text = said(100, 10**6)
    x = torch.cat(list(sampling.chunks(model, 100, VQVAE.Draw(), 0, {"text": text})))
    assert ((x.flatten(1).mean(1) > 0.55) == bright.bool()).float().mean() > 0.95
