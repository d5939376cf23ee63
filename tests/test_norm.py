"""Batch normalisation of ours: torch's numbers on one process, those of the joined batch on two."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from genctl.contract import Spec
from genctl.families.adversarial.dcgan import DCGAN
from genctl.maths import noise
from genctl.nets.norm import BatchNorm
from tests.battery import build, fit

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image")
CONV = {"latent": 4, "width": 4}


def test_batch_norm_is_torchs_on_one_process():
    x = torch.randn(8, 3, 5, 4, requires_grad=True)
    ours, theirs = BatchNorm(3), nn.BatchNorm2d(3)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def _rank(rank: int, where: str, x: torch.Tensor, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    norm = BatchNorm(3)
    own = x.chunk(2)[rank].clone().requires_grad_(True)
    y = norm(own)
    (grad,) = torch.autograd.grad(y.pow(3).sum(), own, create_graph=True)
    (twice,) = torch.autograd.grad(grad.square().sum(), own)
    with open(f"{out}-{rank}", "w", encoding="utf-8") as f:
        f.write(repr([t.detach().flatten().tolist() for t in (y, grad, twice, norm.running_mean, norm.running_var)]))
    dist.destroy_process_group()


@pytest.mark.slow
def test_batch_norm_on_two_ranks_is_that_of_the_joined_batch(tmp_path):
    import ast

    x = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))
    mp.spawn(_rank, (str(tmp_path / "meet"), x, str(tmp_path / "out")), nprocs=2)
    joined = x.clone().requires_grad_(True)
    norm = nn.BatchNorm1d(3)
    y = norm(joined)
    (grad,) = torch.autograd.grad(y.pow(3).sum(), joined, create_graph=True)
    (twice,) = torch.autograd.grad(grad.square().sum(), joined)
    parts = [ast.literal_eval((tmp_path / f"out-{r}").read_text()) for r in range(2)]
    for k, whole in enumerate((y, grad, twice)):
        torch.testing.assert_close(torch.tensor(parts[0][k] + parts[1][k]), whole.detach().flatten(), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(torch.tensor(parts[0][3]), norm.running_mean)
    torch.testing.assert_close(torch.tensor(parts[1][4]), norm.running_var)


def test_running_averages_move_only_in_training():
    model = build(DCGAN, CONV, IMAGE)
    before = [b.clone() for b in model.buffers()]
    fit(DCGAN, CONV, IMAGE, 1)
    model.eval()
    with torch.no_grad(), noise.stream(0):
        model.sample(4, DCGAN.Draw())
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers()))
