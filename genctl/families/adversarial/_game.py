"""What GANs have in common: a generator and a critic that move in turn, what each is paid, and what keeps the critic from running away.

The game is that of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661; its pay-offs and penalties stand with their sources in
maths/adversarial.py. Classes: Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import adversarial, noise, ranks
from genctl.maths.augment import KINDS, augment
from genctl.nets.norm import spectral

PayOff = Literal["minimax", "non-saturating", "hinge", "least-squares", "wasserstein", "relativistic"]


class GameConfig(Settings):
    """The keys that all of them take."""

    latent: int = Field(64, ge=1, le=4096)
    """Dimensions of z."""
    conditional: bool = False
    """Draw and judge given the class label: one-hot beside z; the critic projects it on its features."""
    loss: PayOff = "non-saturating"
    """The game's pay-off."""
    n_critic: int = Field(1, ge=1, le=100)
    """The critic's turns in a step."""
    r1: float = Field(0.0, ge=0, le=10_000)
    """Weight gamma of the penalty on the critic's gradient at real examples; 0: none."""
    r2: float = Field(0.0, ge=0, le=10_000)
    """The same at drawn examples."""
    r1_every: int = Field(1, ge=1, le=1000)
    """Steps between these penalties, which are then so many times as heavy."""
    gradient_penalty: float = Field(0.0, ge=0, le=10_000)
    """Weight lambda of the penalty that holds the critic's gradient between real and drawn examples to length 1."""
    clip_weights: float = Field(0.0, ge=0, le=10)
    """The critic's weights are cut to [-c, c] after each of its turns; 0: they are not."""
    spectral: bool = False
    """Every layer of the critic divided by its largest singular value (Miyato et al. 2018, https://arxiv.org/abs/1802.05957)."""
    ada: float = Field(0.0, ge=0, lt=1)
    """Pictures only: the share of real examples (less that of the others) that the critic may call real before it is shown changed ones,
    as often as holds it there; 0.6 is usual, 0 shows it none (Karras et al. 2020, https://arxiv.org/abs/2006.06676, section 3)."""
    ada_steps: int = Field(4000, ge=1, le=10_000_000)
    """Turns of the critic in which that goes from never to always, at the fastest."""
    augment: list[Literal["flip", "turn", "shift", "scale", "rotate", "colour"]] = Field(default_factory=lambda: list(KINDS))
    """How they may be changed."""
    feature_matching: float = Field(0.0, ge=0, le=10_000)
    """Weight, in the generator's loss, of how far the mean features of drawn examples are from those of real ones."""


class Game(Family):
    """x = G(z, label), z ~ N(0, I). A family sets `generator` and `critic`, and ends with `ready()`.

    generator    (B, latent + classes) -> (B, *shape), a logit where data lies in [0, 1]
    critic       (B, *shape) -> (B, 1); all but its last layer are its features, which the label is projected on
    """

    generator: nn.Module
    critic: nn.Sequential

    def __init__(self, config: GameConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.classes = self.labelled(config.conditional)
        self.code = Spec(shape=(config.latent,))
        self.wide = config.latent + self.classes

    def verdict(self, features: int) -> nn.Linear:
        """The critic's last layer; where only differences of logits count it has no bias."""
        return nn.Linear(features, 1, bias=self.config.loss not in adversarial.SHIFTLESS)

    def ready(self) -> None:
        """What the networks get once they stand: a vector a class, spectral norms, changes of what the critic sees."""
        last: Any = self.critic[-1]
        self.told = nn.Embedding(self.classes, last.in_features) if self.classes else None
        if self.config.ada and self.spec.kind != "image":
            raise GenctlError("config", f"model.ada changes pictures; this data is {self.spec.kind}", "model.ada=0")
        self.adaptive = Adaptive(self.config) if self.config.ada else None
        if self.config.spectral:
            for m in [*self.critic.modules(), *([self.told] if self.told else [])]:
                if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv3d | nn.Embedding):
                    spectral(m)

    # --- the two halves ---

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """G(z): (B, *shape) in the data's scale."""
        out: Tensor = self.generator(self.labelled_code(code, given))
        return torch.sigmoid(out) if self.spec.levels else out

    def labelled_code(self, code: Tensor, given: Given | None) -> Tensor:
        """z and the label one-hot behind it: (B, latent + classes)."""
        return torch.cat([code, F.one_hot(given["label"], self.classes).float()], 1) if given and self.classes else code

    def features(self, x: Tensor) -> Tensor:
        """(B, F) of the critic's last layer but one."""
        out: Tensor = self.critic[:-1](2 * x - 1 if self.spec.levels else x)
        return out

    def seen(self, x: Tensor) -> Tensor:
        """x as the critic is shown it in training."""
        return x if self.adaptive is None else self.adaptive(x, 0.5 if self.spec.levels else 0.0)

    def logit(self, features: Tensor, given: Given | None) -> Tensor:
        """What the critic makes of features: (B,)."""
        out: Tensor = self.critic[-1](features)[:, 0]
        return out if self.told is None or not given else out + (self.told(given["label"]) * features).sum(1)

    def judge(self, x: Tensor, given: Given | None = None) -> Tensor:
        """D(x): logits (B,), large for real."""
        return self.logit(self.features(x), given)

    # --- the game ---

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        c, real = self.config, batch.x
        with torch.no_grad():
            fake = self.seen(self.decode(self.prior(len(batch)), batch.given))
            real = self.seen(real)

        def judge(x: Tensor) -> Tensor:
            return self.judge(x, batch.given)

        on_real, on_fake = judge(real), judge(fake)
        total = game = adversarial.CRITIC[c.loss](on_real, on_fake)
        if at.step % c.r1_every == 0:
            for weight, x in ((c.r1, real), (c.r2, fake)):
                if weight:
                    total = total + weight * c.r1_every * adversarial.slope(judge, x)
        if c.gradient_penalty:
            total = total + c.gradient_penalty * adversarial.gradient_penalty(judge, real, fake)
        told_apart = (on_real > on_fake).float().mean()
        if self.adaptive is not None:
            self.adaptive.note(on_real)
        changed = {} if self.adaptive is None else {"changed": self.adaptive.p.clone()}
        return Loss(total, game=game, real_logit=on_real.mean(), fake_logit=on_fake.mean(), told_apart=told_apart, **changed)

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        c = self.config
        features = self.features(self.seen(self.decode(self.prior(len(batch)), batch.given)))
        fake = self.logit(features, batch.given)
        if c.loss not in adversarial.PAIRED and not c.feature_matching:
            return Loss(adversarial.GENERATOR[c.loss](fake, fake))
        with torch.no_grad():
            known = self.features(self.seen(batch.x))
            real = self.logit(known, batch.given)
        game = adversarial.GENERATOR[c.loss](real, fake)
        if not c.feature_matching:
            return Loss(game)
        apart = adversarial.feature_matching(known, features)
        return Loss(game + c.feature_matching * apart, game=game, features_apart=apart)

    def after_critic(self) -> None:
        """Weights are clipped (Arjovsky et al. 2017, algorithm 1, line 7), changes become likelier or rarer."""
        if self.adaptive is not None:
            self.adaptive.adapt()
        if c := self.config.clip_weights:
            for p in self.judges():
                p.clamp_(-c, c)

    def judges(self) -> list[nn.Parameter]:
        """What the critic learns."""
        return [*self.critic.parameters(), *(self.told.parameters() if self.told else [])]

    def forgers(self) -> list[nn.Parameter]:
        """What the generator learns."""
        return list(self.generator.parameters())

    def stages(self) -> list[Stage]:
        critic = Player(name="critic", params=self.judges(), loss=self.critic_loss, repeat=self.config.n_critic, after=self.after_critic)
        generator = Player(name="generator", params=self.forgers(), loss=self.generator_loss)
        return [Stage(name="game", players=[critic, generator])]

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """G(z); for binary data its values are probabilities of 1."""
        x = self.decode(self.prior(n), given)
        return noise.bernoulli(x) if self.spec.levels == 2 else x

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.config.latent, device=self.device)


class Adaptive(nn.Module):
    """Changes pictures with a probability p that rises while the critic calls too many real ones real, and falls while it does not."""

    p: Tensor
    signs: Tensor
    EVERY, MOST = 4, 0.8  # turns between moves of p; beyond that p the changes show in samples (section 2.2)

    def __init__(self, config: GameConfig) -> None:
        super().__init__()
        self.target, self.kinds, self.step = config.ada, config.augment, self.EVERY / config.ada_steps
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(3))  # their sum, how many, turns

    def forward(self, x: Tensor, middle: float) -> Tensor:
        """x about `middle`, changed about it."""
        if not self.training:
            return x
        return augment(2 * (x - middle), self.p, self.kinds) / 2 + middle if middle else augment(x, self.p, self.kinds)

    @torch.no_grad()
    def note(self, on_real: Tensor) -> None:
        """r_t = E sign D(x), eq. 1."""
        self.signs += torch.stack([on_real.sign().sum(), on_real.new_tensor(float(len(on_real))), on_real.new_zeros(())])

    def adapt(self) -> None:
        """Once a turn."""
        self.signs[2] += 1
        if self.signs[2] >= self.EVERY:
            total, count, _ = ranks.total(self.signs.clone())
            self.p.add_(self.step * (total / count - self.target).sign()).clamp_(0, self.MOST)
            self.signs.zero_()


def halvings(size: Sequence[int], smallest: int = 4) -> list[tuple[int, ...]]:
    """Sizes of a picture or clip from full down to `smallest` or less on its longest side, each half of the one before, rounded up."""
    sizes = [tuple(size)]
    while max(sizes[-1]) > smallest:
        sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
    return sizes
