"""Variational autoencoder: a latent Gaussian, decoded; trained on a bound of the likelihood.

Kingma and Welling 2014, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114.
`log_prob` is the importance-weighted estimate of Burda et al. 2016, https://arxiv.org/abs/1509.00519, eq. 8. Rows of symbols:
Bowman et al. 2016, https://arxiv.org/abs/1511.06349; several layers of z: Sønderby et al. 2016, https://arxiv.org/abs/1602.02282.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._ladder import ladder
from genctl.families.autoencoder._networks import NetworkConfig, beside, decoder, encoder, symbols
from genctl.maths import decoding, noise
from genctl.nets.likelihoods import Bernoulli, Columns, Gaussian, Logistic
from genctl.nets.mlp import Width
from genctl.nets.symbols import Symbols


class VAE(Family):
    """p(x) = E_{z ~ N(0, I)} p(x | z), with q(z | x) a diagonal Gaussian."""

    kinds = frozenset({"vector", "image", "tokens"})
    log_prob_is = "IS-k"

    class Config(NetworkConfig):
        latent: int = Field(16, ge=1, le=4096)
        """Dimensions of z."""
        latents: list[Width] = Field(default_factory=list, max_length=16)
        """In place of `latent`, a ladder: dimensions of a z behind each hidden layer (planes of the picture, for conv); [] is one z."""
        likelihood: Literal["auto", "bernoulli", "gaussian", "logistic"] = "auto"
        """p(x | z). auto: bernoulli for data in [0, 1], gaussian with one learned sigma otherwise, with one a column for tables, whose
        categories have a softmax each; logistic: of 8-bit pixels."""
        mixtures: int = Field(1, ge=1, le=100)
        """For logistic: parts of a pixel's mixture."""
        conditional: bool = False
        """p(x | z, label), q(z | x, label)."""
        beta: float = Field(1.0, ge=0, le=1000)
        """Weight of the KL term (Higgins et al. 2017); 1 is the bound on the likelihood."""
        free_bits: float = Field(0.0, ge=0, le=1000)
        """Nats of KL in each dimension of z that cost nothing, so that none is given up early (Kingma et al. 2016, eq. 15)."""
        kl_warmup: float = Field(0.0, ge=0, le=1)
        """The share of training over which beta grows from 0."""
        iwae: int = Field(1, ge=1, le=1000)
        """Draws of z in the training bound; more make it tighter (Burda et al. 2016, eq. 8), 1 is the evidence lower bound."""
        iwae_from: float = Field(0.0, ge=0, le=1)
        """The share of training before that, with one draw: a bound of many draws costs many times as much and helps most at the end."""
        word_dropout: float = Field(0.0, ge=0, lt=1)
        """For symbols: the share that is hidden from the decoder in training, so that it asks z (Bowman et al. 2016, section 3.1)."""
        importance: int = Field(200, ge=1, le=100_000)
        """Samples of z that `log_prob` averages over."""

    class Draw(decoding.Draw):
        sweeps: int = Field(100, ge=1, le=100_000)
        """For imputing: how often z and what is missing are drawn given each other."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.classes = self.labelled(config.conditional)
        self.says = self.likelihood()
        size = config.latent
        if config.latents:
            self.encoder, self.decoder = ladder(config, config.latents, spec, self.says.shape, self.classes)
            size = sum(self.decoder.sizes)
        else:
            self.encoder = encoder(config, spec, 2 * size, self.classes)
            self.decoder = nn.Identity() if spec.vocab else decoder(config, self.says.shape, size + self.classes)
        self.code = Spec(shape=(size,))

    def likelihood(self) -> Bernoulli | Columns | Gaussian | Logistic | Symbols:
        """p(x | z), as configured. Raises GenctlError (config)."""
        name, spec = self.config.likelihood, self.spec
        if spec.vocab:
            return symbols(self.config, spec, self.config.latent + self.classes, self.config.word_dropout)
        if name == "auto" and spec.blocks:
            return Columns(spec)
        if name == "auto":
            name = "bernoulli" if spec.levels else "gaussian"
        if name == "logistic":
            if not Logistic.fits(spec):
                raise GenctlError("config", "model.likelihood: logistic is for pixels of more than two levels", "model.likelihood=auto")
            return Logistic(spec, self.config.mixtures)
        return Bernoulli(spec) if name == "bernoulli" else Gaussian(spec)

    # --- the two halves ---

    def told(self, given: Given | None) -> Tensor | None:
        """The label one-hot (B, classes), or None."""
        return F.one_hot(given["label"], self.classes).float() if given and self.classes else None

    def posterior(self, x: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        """What x says of z: mu and logvar (B, D). Without a ladder that is q(z | x)."""
        mu, logvar = self.encoder(x if told is None else beside(self.config, self.spec, x, told)).chunk(2, 1)
        return mu, logvar.clamp(-20, 20)

    def infer(self, mu: Tensor, logvar: Tensor, eps: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, D) ~ q(z | x) by noise eps, and the mean and log-variance it was drawn with: on a ladder, given the layers above."""
        if self.config.latents:
            return self.decoder.infer(mu, logvar, eps, told)
        return mu + torch.exp(0.5 * logvar) * eps, mu, logvar

    def out(self, z: Tensor, told: Tensor | None) -> Tensor:
        """What is said of x (B, *says.shape)."""
        out: Tensor = self.decoder(z if told is None else torch.cat([z, told], 1))
        return out

    def log_likelihood(self, x: Tensor, z: Tensor, told: Tensor | None) -> Tensor:
        """log p(x | z) (B,)."""
        return self.says.log_prob(x, self.out(z, told))

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The negative evidence lower bound (eq. 10) with the KL weighted by beta; with `iwae` the bound over so many draws."""
        told = self.told(batch.given)
        warm = min(1.0, at.fraction / self.config.kl_warmup) if self.config.kl_warmup and self.training else 1.0
        beta, k = self.config.beta * warm, self.config.iwae if at.fraction >= self.config.iwae_from else 1
        eps = noise.randn(len(batch), k, *self.code.shape, device=batch.x.device).flatten(0, 1)
        said, x = self.posterior(batch.x, told), batch.x
        if k > 1:
            *said, x = (t.repeat_interleave(k, 0) for t in (*said, x))
            told = None if told is None else told.repeat_interleave(k, 0)
        z, mu, logvar = self.infer(*said, eps, told)
        log_p = self.log_likelihood(x, z, told)
        every = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)  # (B k, D)
        kl = every.sum(1).mean()
        parts = {"reconstruction_nats": -log_p.mean(), "kl_nats": kl}
        if k == 1:
            free = self.config.free_bits if self.training else 0.0
            paid = every.clamp(min=free).sum(1).mean() if free else kl
            return Loss(-log_p.mean() + beta * paid, **parts)
        bound = (log_p + beta * _prior_over_q(eps, z, logvar)).view(-1, k).logsumexp(1) - math.log(k)
        return Loss(-bound.mean(), **parts)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """The mean of p(x | z) for grey images, a draw of it for everything else."""
        out = self.out(self.prior(n), self.told(given))
        return self.says.draw(out, draw) if isinstance(self.says, Symbols) else self.says.draw(out)

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, *self.code.shape, device=self.device)

    def encode(self, batch: Batch) -> Tensor:
        """The posterior mean (B, D); on a ladder, that of each layer given the means above."""
        told = self.told(batch.given)
        mu, logvar = self.posterior(batch.x, told)
        return self.infer(mu, logvar, torch.zeros_like(mu), told)[1]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """The mean of p(x | z), or its likeliest symbols."""
        return self.says.mean(self.out(code, self.told(given)))

    def log_prob(self, batch: Batch) -> Tensor:
        """log 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q(z | x): a lower bound in expectation, tight as k grows."""
        if not self.says.fits(self.spec):
            what = f"this model's p(x | z) is one of {self.says.what}, the data is not: it has no likelihood of x"
            raise GenctlError("power", what, "data.binarize=fixed or model.likelihood=logistic for pixels")
        told = self.told(batch.given)
        said = self.posterior(batch.x, told)
        terms = []
        for _ in range(self.config.importance):
            eps = noise.randn(*said[0].shape, device=batch.x.device)
            z, _, logvar = self.infer(*said, eps, told)
            terms.append(self.log_likelihood(batch.x, z, told) + _prior_over_q(eps, z, logvar))
        return torch.stack(terms).logsumexp(0) - math.log(len(terms))

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Pseudo-Gibbs: z ~ q(z | x), then what is missing ~ p(x | z), in turn (Rezende et al. 2014, appendix F).

        https://arxiv.org/abs/1401.4082. Symbols are drawn given z and those before them, so that it suits an observed beginning.
        """
        told, mask = self.told(batch.given), batch.mask

        def fill(z: Tensor) -> Tensor:
            out = self.out(z, told)
            if isinstance(self.says, Symbols):
                return self.says.fill(batch.x, mask, out, draw)
            return torch.where(mask, batch.x, self.says.draw(out))

        x = fill(self.prior(len(batch)))
        for _ in range(draw.sweeps):
            mu, logvar = self.posterior(x, told)
            x = fill(self.infer(mu, logvar, noise.randn(*mu.shape, device=mu.device), told)[0])
        return x


def _prior_over_q(eps: Tensor, z: Tensor, logvar: Tensor) -> Tensor:
    """log p(z) / q(z | x) (B,) of z drawn with a log-variance by noise eps, the prior being N(0, I)."""
    return 0.5 * (eps.square() - z.square() + logvar).sum(1)
