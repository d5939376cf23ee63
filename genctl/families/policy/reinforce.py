"""REINFORCE: a policy over rows of symbols climbs the gradient of its expected reward, estimated from its own draws.

Williams 1992, Simple statistical gradient-following algorithms, https://doi.org/10.1007/BF00992696.
The penalty for leaving a frozen prior: Jaques et al. 2017, Sequence Tutor, https://arxiv.org/abs/1611.02796.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from genctl import catalog
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Part, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import decoding, ranks
from genctl.powers import Causal, LogProb, State


class Reinforce(Family):
    """max E_{x ~ pi}[r(x)] - kl KL(pi | prior), pi a model with an exact likelihood."""

    kinds = frozenset({"tokens"})
    log_prob_is = "exact"
    Draw = decoding.Draw

    class Config(Settings):
        policy: Part = Part(family="gpt", model={"layers": 2, "heads": 2, "width": 32})
        """The model that learns: `{family, model}`, or `{path}` to go on from a checkpoint."""
        reward: str = Field("rising", max_length=64)
        """A judge of genctl/rewards."""
        imitate: float = Field(0.0, ge=0, lt=1)
        """The share of training in which the policy first learns the data by likelihood."""
        kl: float = Field(0.0, ge=0, le=1000)
        """Weight of the penalty for leaving the prior, in reward per nat."""
        prior: Part | None = None
        """The frozen prior; none: the policy as it was when reinforcement began."""
        memory: float = Field(0.9, ge=0, lt=1)
        """Decay of the moving mean of the return that is subtracted as the baseline."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.judge = catalog.load("rewards", config.reward).judge
        self.policy = self.inner(config.policy, spec)
        self.prior = self.inner(config.prior or config.policy, spec).requires_grad_(False) if config.kl else None
        self.conditions = self.policy.conditions
        self.register_buffer("baseline", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))  # the weight that the moving mean rests on

    def inner(self, part: Part, spec: Spec) -> Any:
        model = part.build(spec)
        if not (isinstance(model, Family) and isinstance(model, LogProb) and isinstance(model, Causal)):
            raise GenctlError(
                "config", f"reinforce needs a policy that draws symbol by symbol and knows its likelihood; {part.family} does not"
            )
        if (model.spec.shape, model.spec.vocab) != (spec.shape, spec.vocab):
            raise GenctlError(
                "config",
                f"the policy writes {list(model.spec.shape)} of {model.spec.vocab} symbols; this data is {list(spec.shape)} of {spec.vocab}",
            )
        return model

    # --- training ---

    def stages(self) -> list[Stage]:
        params, share = [p for p in self.policy.parameters() if p.requires_grad], self.config.imitate
        climb = Stage(
            name="reinforce",
            share=1 - share,
            feed=self.rollouts,
            enter=self.settle,
            players=[Player(name="policy", params=params, loss=self.climb)],
        )
        learn = Stage(name="imitate", share=share, players=[Player(name="policy", params=params, loss=self.policy.loss)])
        return [learn, climb] if share else [climb]

    def settle(self) -> None:
        """The policy as it stands becomes the prior, where no other was named."""
        if self.prior is not None and self.config.prior is None:
            self.prior.load_state_dict(self.policy.state_dict())

    def rollouts(self, batch: Batch, at: Progress) -> Batch:
        """Draws of the policy with their advantage: return less baseline, which moves after it was used."""
        given = {k: batch.given[k] for k in self.conditions}
        was = self.policy.training
        self.policy.eval()
        x = self.policy.sample(len(batch), decoding.Draw(), given)
        fed = Batch(x=x, given=given)
        reward = self.judge(x, self.spec)
        kl = torch.zeros_like(reward)
        if self.prior is not None:
            kl = self.policy.log_prob(fed) - self.prior.eval().log_prob(fed)
        self.policy.train(was)
        back = reward - self.config.kl * kl
        advantage = back - self.baseline / self.seen.clamp(min=1e-6)
        if self.training:
            total = ranks.total(torch.stack([back.sum(), torch.tensor(float(len(back)), device=back.device)]))
            decay = self.config.memory
            self.baseline.mul_(decay).add_((1 - decay) * total[0] / total[1])
            self.seen.mul_(decay).add_(1 - decay)
        return Batch(x=x, given={**given, "advantage": advantage, "reward": reward, "kl": kl})

    def climb(self, batch: Batch, at: Progress) -> Loss:
        """- mean (r - b) log pi(x), whose gradient is the estimate of Williams' theorem 1."""
        log_pi = self.policy.log_prob(batch)
        kl = {"kl_nats": batch.given["kl"].mean()} if self.prior is not None else {}
        return Loss(-(batch.given["advantage"] * log_pi).mean(), reward=batch.given["reward"].mean(), **kl)

    def units(self) -> list[Any]:
        return list(self.policy.units())

    # --- what the policy can do ---

    def sample(self, n: int, draw: decoding.Draw, given: Given | None = None) -> Tensor:
        x: Tensor = self.policy.sample(n, draw, given)
        return x

    def log_prob(self, batch: Batch) -> Tensor:
        nats: Tensor = self.policy.log_prob(batch)
        return nats

    def impute(self, batch: Batch, draw: decoding.Draw) -> Tensor:
        x: Tensor = self.policy.impute(batch, draw)
        return x

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        begun: tuple[Tensor, State] = self.policy.start(n, given)
        return begun

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        done: tuple[Tensor, State] = self.policy.step(tokens, state)
        return done
