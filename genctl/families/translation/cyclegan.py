"""CycleGAN: from one kind of picture to another and back, learned without pairs: what goes there and comes back must be what it was.

Zhu et al. 2017, https://arxiv.org/abs/1703.10593. Data `unpaired` puts a picture `other`, drawn by itself, beside each.
"""

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.adversarial._game import PayOff
from genctl.maths import adversarial, noise
from genctl.nets.translation import Patches, ResNet


class CycleGAN(Family):
    """G: other -> x and F: x -> other, each with a critic of patches. `sample` goes by G, `translate` by F."""

    kinds = frozenset({"image"})

    class Config(Settings):
        width: int = Field(64, ge=1, le=512)
        """Channels of the finest layer of G and F."""
        blocks: int = Field(6, ge=1, le=64)
        """Residual blocks of each: 6 for pictures of 128 pixels, 9 for 256."""
        resize: bool = True
        """Doubling by nearest neighbours and a convolution; false: by transposed convolutions, as in the paper."""
        critic: int = Field(64, ge=1, le=512)
        """Channels of the finest layer of the critics."""
        patch: int = Field(3, ge=1, le=6)
        """Halvings in the critics: 3 judges patches of 70 pixels, 2 of 34, 1 of 16."""
        loss: PayOff = "least-squares"
        """The games' pay-off."""
        cycle: float = Field(10.0, ge=0, le=1000)
        """Weight lambda of the mean distance to what went there and back (eq. 2)."""
        identity: float = Field(0.5, ge=0, le=1000)
        """Weight, times lambda, of how far a picture moves that is of the right kind already (section 5.2)."""
        pool: int = Field(50, ge=0, le=100_000)
        """Drawn pictures that are kept: half of what the critics see comes from there (section 4); 0: none."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        other = spec.given.get("other")
        if other is None or other.kind != "image" or other.shape[1:] != spec.shape[1:]:
            raise GenctlError("config", "cyclegan needs a picture 'other' of the same size beside each", "data: {name: unpaired, ...}")
        if config.identity and other.shape != spec.shape:
            raise GenctlError(
                "config", f"model.identity needs pictures of equal channels: {list(spec.shape)}, {list(other.shape)}", "model.identity=0"
            )
        self.conditions = ("other",)
        a, b, bias = spec.shape[0], other.shape[0], config.loss not in adversarial.SHIFTLESS
        self.to_x, self.to_other = (
            ResNet(b, a, config.width, config.blocks, config.resize),
            ResNet(a, b, config.width, config.blocks, config.resize),
        )
        self.judge_x, self.judge_other = Patches(a, config.critic, config.patch, bias), Patches(b, config.critic, config.patch, bias)
        if config.pool:
            self.memory = Memory(
                x=torch.zeros(config.pool, *spec.shape),
                other=torch.zeros(config.pool, *other.shape),
                held=torch.zeros(config.pool, dtype=torch.bool),
            )
        self._fresh: list[
            tuple[Tensor, Tensor, Tensor, Tensor]
        ] = []  # of a turn: drawn x and other, their places, and whether they go there

    def g(self, other: Tensor) -> Tensor:
        """The x of other (B, C, H, W), of any height and width."""
        return torch.sigmoid(self.to_x(2 * other - 1))

    def f(self, x: Tensor) -> Tensor:
        """The other of x."""
        return torch.sigmoid(self.to_other(2 * x - 1))

    # --- the game ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """How far there and back leads from where it began: what validation follows."""
        x, y = batch.x, batch.given["other"]
        return Loss((self.g(self.f(x)) - x).abs().mean() + (self.f(self.g(y)) - y).abs().mean())

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        c, x, y = self.config, batch.x, batch.given["other"]
        fake_x, fake_y = self.g(y), self.f(x)
        game = self.fooled(self.judge_x, x, fake_x) + self.fooled(self.judge_other, y, fake_y)
        cycle = (self.g(fake_y) - x).abs().mean() + (self.f(fake_x) - y).abs().mean()
        total = game + 2 * c.cycle * cycle  # the paper's distances are of pixels in [-1, 1]
        if not c.identity:
            return Loss(total, game=game, cycle_l1=cycle)
        identity = (self.g(x) - x).abs().mean() + (self.f(y) - y).abs().mean()
        return Loss(total + 2 * c.cycle * c.identity * identity, game=game, cycle_l1=cycle, identity_l1=identity)

    def fooled(self, judge: Patches, real: Tensor, fake: Tensor) -> Tensor:
        """What a generator pays for its critic's verdict."""
        loss = self.config.loss
        with torch.no_grad():
            known = judge(2 * real - 1) if loss in adversarial.PAIRED else real.new_zeros(())
        return adversarial.GENERATOR[loss](known, judge(2 * fake - 1))

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        x, y = batch.x, batch.given["other"]
        with torch.no_grad():
            fake_x, fake_y = self.past(self.g(y), self.f(x))
        game = adversarial.CRITIC[self.config.loss]
        logits = [
            judge(2 * t - 1) for judge, t in ((self.judge_x, x), (self.judge_x, fake_x), (self.judge_other, y), (self.judge_other, fake_y))
        ]
        on_x, on_other = (logits[0].mean((1, 2)) > logits[1].mean((1, 2))), (logits[2].mean((1, 2)) > logits[3].mean((1, 2)))
        return Loss(
            (game(*logits[:2]) + game(*logits[2:])) / 2,  # section 7.1: critics learn at half the pace
            told_apart=(on_x.float().mean() + on_other.float().mean()) / 2,
        )

    # --- the pool ---

    def past(self, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """What the critics are shown of pictures just drawn: once the pool is full, half of them are swapped for its own.

        Shrivastava et al. 2017, https://arxiv.org/abs/1612.07828, section 2.3. The pool is moved when the turn is over.
        """
        if not self.config.pool or not self.training:
            return x, other
        places = noise.randint(len(self.memory.held), len(x), device=x.device)
        swap = (noise.rand(len(x), device=x.device) < 0.5) & self.memory.held.all()
        self._fresh.append((x, other, places, swap))
        swapped = swap[:, None, None, None]
        return torch.where(swapped, self.memory.x[places], x), torch.where(swapped, self.memory.other[places], other)

    def remember(self) -> None:
        """Pictures of the turn go where the pool has room, else where they were swapped."""
        if not self._fresh:
            return
        x, other, places, swap = (torch.cat(part) for part in zip(*self._fresh, strict=True))
        self._fresh = []
        room = (~self.memory.held).nonzero()[:, 0]
        filling = min(len(room), len(x))
        rows, to = (torch.arange(filling), room[:filling]) if filling else (swap.nonzero()[:, 0], places[swap])
        for row, place in zip(rows.tolist(), to.tolist(), strict=True):  # one by one: two may want the same place
            self.memory.x[place], self.memory.other[place] = x[row], other[row]
            self.memory.held[place] = True

    def stages(self) -> list[Stage]:
        generators = [*self.to_x.parameters(), *self.to_other.parameters()]
        critics = [*self.judge_x.parameters(), *self.judge_other.parameters()]
        return [
            Stage(
                name="game",
                players=[
                    Player(name="generators", params=generators, loss=self.generator_loss),
                    Player(name="critics", params=critics, loss=self.critic_loss, after=self.remember),
                ],
            )
        ]

    # --- the contract ---

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """The x of each other, (n, C, H, W), of any height and width."""
        return self.g((given or {})["other"])

    def translate(self, batch: Batch, to: str, draw: contract.Draw) -> Tensor:
        """The other of each x."""
        return self.f(batch.x)
