"""dcgan: the battery, and its own truths: who moves in whose turn, the optimal critic, R1 in closed form, batch-norm on two ranks."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from genctl.contract import Batch, Progress, Spec
from genctl.families.adversarial.dcgan import DCGAN
from genctl.maths import adversarial, noise
from genctl.nets.norm import BatchNorm
from tests.battery import build, check_family, check_resume, fake, fit

IMAGE = Spec(shape=(1, 9, 8), levels=256, media="image", given={"label": Spec(shape=(), vocab=4)})
ROW = Spec(shape=(2,))
CONV = {"latent": 4, "width": 4}
MLP = {"latent": 4, "width": 16, "depth": 2}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (CONV, IMAGE),
        (MLP, ROW),
        ({**CONV, "conditional": True, "norm_critic": False, "norm": False, "r1": 1.0, "r1_every": 4}, IMAGE),
        ({**CONV, "n_critic": 2, "loss": "least-squares"}, Spec(shape=(3, 12, 12), levels=2, media="image")),
        ({**MLP, "loss": "hinge", "n_critic": 4}, ROW),
        ({**MLP, "loss": "relativistic", "r1": 0.5, "r2": 0.5}, ROW),
    ],
)
def test_battery(model, spec):
    check_family(DCGAN, model, spec, steps=12, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["before", "on", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(DCGAN, {**CONV, "r1": 1.0, "r1_every": 3, "conditional": True}, IMAGE, tmp_path, cut=cut, steps=8, batch=8)


def test_a_turn_gives_the_other_player_no_gradient():
    model = build(DCGAN, CONV, IMAGE).train()
    critic, generator = model.stages()[0].players
    for p in critic.params:
        p.requires_grad_(False)
    with noise.stream(0):
        loss = generator.loss(fake(IMAGE, 8), Progress()).total
    assert not any(p.requires_grad for p in critic.params)
    loss.backward()
    assert all(p.grad is None for p in critic.params)
    assert all(p.grad is not None for p in generator.params)


@pytest.mark.parametrize("loss", adversarial.CRITIC)
def test_pay_offs_of_a_critic_that_knows_nothing(loss):
    nothing = torch.zeros(8)
    known = {
        "non-saturating": (2 * math.log(2), math.log(2)),
        "hinge": (2.0, 0.0),
        "least-squares": (1.0, 1.0),
        "relativistic": (math.log(2), math.log(2)),
    }[loss]
    assert float(adversarial.CRITIC[loss](nothing, nothing)) == pytest.approx(known[0])
    assert float(adversarial.GENERATOR[loss](nothing, nothing)) == pytest.approx(known[1])


def test_r1_of_a_linear_critic_is_half_its_squared_slope():
    w = torch.tensor([3.0, 4.0])
    assert float(adversarial.slope(lambda x: x @ w, torch.randn(5, 2))) == pytest.approx(12.5)


def test_the_critic_learns_the_log_ratio_of_two_gaussians():
    """D*(x) = log p(x) / q(x) (Goodfellow et al. 2014, prop. 1): for N(1, 1) against N(-1, 1) it is 2 x."""
    line = nn.Linear(1, 1)
    opt = torch.optim.Adam(line.parameters(), 0.05)
    with noise.stream(0):
        for _ in range(300):
            real, fake_ = 1 + noise.randn(512, 1), -1 + noise.randn(512, 1)
            opt.zero_grad()
            adversarial.saturating_free(line(real), line(fake_)).backward()
            opt.step()
    assert line.weight.item() == pytest.approx(2, abs=0.3)
    assert line.bias.item() == pytest.approx(0, abs=0.3)


def test_it_learns_where_the_points_are():
    """Two far points: after a few hundred steps the samples lie near both."""
    model = build(DCGAN, {"latent": 2, "width": 32, "depth": 2, "loss": "relativistic", "r1": 1.0, "r2": 1.0}, ROW)
    centre = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])

    from genctl.recipe import Train
    from genctl.training import loop

    def data(i: int) -> Batch:
        with noise.stream(i):
            return Batch(x=centre[noise.randint(2, 128)] + 0.1 * noise.randn(128, 2))

    loop.fit(model.train(), data, loop.Setting(Train(steps=400, lr=2e-3, betas=(0.5, 0.9), batch=128)), lambda *a: False)
    with torch.no_grad(), noise.stream(0):
        x = model.eval().sample(500, DCGAN.Draw())
    near = torch.cdist(x, centre).argmin(1)
    assert 100 < int(near.sum()) < 400
    assert float(torch.cdist(x, centre).amin(1).median()) < 0.4


# --- batch normalisation ---


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
