"""reinforce: the battery, and its own truths: the estimate of the gradient is unbiased, and the reward climbs to its optimum."""

import itertools

import pytest
import torch
import yaml

from genctl import catalog, checkpoint, durable
from genctl.contract import Batch, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.policy.reinforce import Reinforce
from genctl.maths import noise
from genctl.tasks import train as training
from tests.battery import Quiet, build, check_family, check_resume, fit

POLICY = {"policy": {"family": "gpt", "model": {"layers": 1, "heads": 2, "width": 16}}}
ROW = Spec(shape=(5,), vocab=4, end=0)
GRID = Spec(shape=(2, 2), vocab=4)


@pytest.mark.parametrize(
    ("model", "spec"), [(POLICY, ROW), ({**POLICY, "kl": 0.1, "imitate": 0.5, "reward": "variety"}, GRID)], ids=["plain", "from a prior"]
)
def test_battery(model, spec):
    check_family(Reinforce, model, spec, steps=20, descends=False)


@pytest.mark.parametrize("cut", [2, 5, 6], ids=["in the imitation", "in the reinforcement", "after an epoch boundary"])
def test_resume_is_exact(cut, tmp_path):
    check_resume(Reinforce, {**POLICY, "kl": 0.1, "imitate": 0.5}, ROW, tmp_path, cut=cut, steps=8, batch=8)


@pytest.mark.parametrize("reward", ["rising", "variety"])
def test_the_reward_climbs_to_its_optimum(reward):
    """Both rewards are 1 at best; drawing at random earns 0.25 and 0.68 on average."""
    _, report = fit(Reinforce, {**POLICY, "reward": reward}, Spec(shape=(4,), vocab=4), 200, lr=1e-2, batch=64)
    earned = [logs["policy/reward"] for logs in report.losses]
    assert sum(earned[-20:]) / 20 > 0.95
    assert sum(earned[:5]) / 5 < 0.8


def test_the_estimated_gradient_is_the_exact_one_on_average():
    """E[(r - b) grad log pi] over many draws against the gradient of sum_x pi(x) r(x) over all 27 rows."""
    spec = Spec(shape=(3,), vocab=3)
    model = build(Reinforce, {"policy": {"family": "gpt", "model": {"layers": 1, "heads": 1, "width": 4}}}, spec).train()
    with torch.no_grad():
        model.baseline.fill_(0.3)
        model.seen.fill_(1.0)
        model.policy.embed.weight.mul_(20)
    params = list(model.policy.parameters())
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    value = (model.policy.log_prob(Batch(x=every)).exp() * model.judge(every, spec)).sum()
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(-value, params)])
    found = []
    for k in range(40):
        with noise.stream(k), torch.no_grad():
            fed = model.rollouts(Batch(x=torch.zeros(500, 3, dtype=torch.long)), Progress())
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(model.climb(fed, Progress()).total, params)]))
    mean, error = torch.stack(found).mean(0), torch.stack(found).std(0) / 40**0.5
    far = (mean - exact).abs() > 4 * error + 1e-6
    assert not far.any(), f"{int(far.sum())} of {len(far)} entries are off by more than four standard errors"
    assert torch.cosine_similarity(mean, exact, 0) > 0.97


def test_the_prior_is_what_imitation_left_and_stays():
    model, _ = fit(Reinforce, {**POLICY, "kl": 0.1, "imitate": 0.5}, GRID, 10)
    assert not any(p.requires_grad for p in model.prior.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(model.policy.parameters(), model.prior.parameters(), strict=True))


def test_a_policy_of_another_shape_or_without_likelihood_is_refused():
    other = {"policy": {**POLICY["policy"], "spec": Spec(shape=(3,), vocab=4).to_json()}}
    with pytest.raises(GenctlError, match="the policy writes"):
        build(Reinforce, other, ROW)
    with pytest.raises(GenctlError, match="layers"):
        build(Reinforce, {"policy": {"family": "gpt", "model": {"layers": 0}}}, ROW)
    with pytest.raises(GenctlError, match="rewards"):
        build(Reinforce, {**POLICY, "reward": "fame"}, ROW)


@pytest.mark.parametrize("reward", catalog.entries("rewards"))
def test_rewards_lie_in_the_unit_interval(reward):
    judge = catalog.load("rewards", reward).judge
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))
    for spec in (Spec(shape=(4,), vocab=4), Spec(shape=(4,), vocab=4, end=0)):
        r = judge(every, spec)
        assert r.shape == (256,)
        assert r.min() >= 0
        assert r.max() <= 1
    assert judge(torch.tensor([[0, 1, 2, 3]]), Spec(shape=(4,), vocab=4)).item() == 1


def test_a_policy_from_a_checkpoint_is_copied_in_and_the_file_is_not_needed_again(tmp_path):
    """A Part that is a path is written out on a fresh start; the run then samples and goes on without that file."""

    def run(name, tree, **request):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree))
        return training.train(training.Request(recipe=str(path), out=tmp_path / name, **request), Quiet())

    short = {"steps": 2, "batch": 8, "sample_every": 100, "valid_batches": 0}
    run("gpt", {"family": "gpt", "data": {"name": "grammar", "count": 100}, "model": POLICY["policy"]["model"], "train": short})
    tree = {"family": "reinforce", "data": {"name": "grammar", "count": 100}, "train": {**short, "lr": 0.0, "steps": 1}}
    run("climb", {**tree, "model": {"policy": {"path": str(tmp_path / "gpt")}, "kl": 0.1}})
    policy = checkpoint.load(durable.locate(tmp_path / "gpt", print))[0].state_dict()
    (tmp_path / "gpt").rename(tmp_path / "gone")
    model, plan, _, _ = checkpoint.load(durable.locate(tmp_path / "climb", print))
    assert plan.model.policy.family == "gpt"
    for part in (model.policy, model.prior):
        assert all(torch.equal(v, policy[k]) for k, v in part.state_dict().items())
    training.train(training.Request(resume=tmp_path / "climb", overrides=[("train.steps=2", None)]), Quiet())
