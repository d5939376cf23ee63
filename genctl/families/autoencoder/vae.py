"""Variational autoencoder: a latent Gaussian, decoded; trained on a bound of the likelihood.

Kingma and Welling 2014, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114.
`log_prob` is the importance-weighted estimate of Burda et al. 2016, https://arxiv.org/abs/1509.00519, eq. 8.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._networks import NetworkConfig, beside, decoder, encoder
from genctl.maths import noise
from genctl.nets.likelihoods import Bernoulli, Gaussian, Logistic


class VAE(Family):
    """p(x) = E_{z ~ N(0, I)} p(x | z), with q(z | x) a diagonal Gaussian."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "IS-k"

    class Config(NetworkConfig):
        latent: int = Field(16, ge=1, le=4096)
        """Dimensions of z."""
        likelihood: Literal["auto", "bernoulli", "gaussian", "logistic"] = "auto"
        """p(x | z). auto: bernoulli for data in [0, 1], gaussian with one learned sigma otherwise; logistic: of 8-bit pixels."""
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
        importance: int = Field(200, ge=1, le=100_000)
        """Samples of z that `log_prob` averages over."""

    class Draw(contract.Draw):
        sweeps: int = Field(100, ge=1, le=100_000)
        """For imputing: how often z and what is missing are drawn given each other."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.classes = self.labelled(config.conditional)
        self.says = self.likelihood()
        self.encoder = encoder(config, spec, 2 * config.latent, self.classes)
        self.decoder = decoder(config, self.says.shape, config.latent + self.classes)
        self.code = Spec(shape=(config.latent,))

    def likelihood(self) -> Bernoulli | Gaussian | Logistic:
        """p(x | z), as configured. Raises GenctlError (config)."""
        name, spec = self.config.likelihood, self.spec
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
        """q(z | x): mu and logvar (B, D)."""
        mu, logvar = self.encoder(x if told is None else beside(self.config, x, told)).chunk(2, 1)
        return mu, logvar.clamp(-20, 20)

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
        mu, logvar = self.posterior(batch.x, told)
        warm = min(1.0, at.fraction / self.config.kl_warmup) if self.config.kl_warmup and self.training else 1.0
        beta, k = self.config.beta * warm, self.config.iwae if at.fraction >= self.config.iwae_from else 1
        every = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)  # (B, D)
        kl = every.sum(1).mean()
        if k == 1:
            z = mu + torch.exp(0.5 * logvar) * noise.randn(*mu.shape, device=mu.device)
            reconstruction = -self.log_likelihood(batch.x, z, told).mean()
            free = self.config.free_bits if self.training else 0.0
            paid = every.clamp(min=free).sum(1).mean() if free else kl
            return Loss(reconstruction + beta * paid, reconstruction_nats=reconstruction, kl_nats=kl)
        eps = noise.randn(len(mu), k, mu.shape[1], device=mu.device)
        z = mu[:, None] + torch.exp(0.5 * logvar)[:, None] * eps
        prior_over_q = 0.5 * (eps.square() - z.square() + logvar[:, None]).sum(2)
        again = None if told is None else told.repeat_interleave(k, 0)
        log_p = self.log_likelihood(batch.x.repeat_interleave(k, 0), z.flatten(0, 1), again).view(-1, k)
        bound = (log_p + beta * prior_over_q).logsumexp(1) - math.log(k)
        return Loss(-bound.mean(), reconstruction_nats=-log_p.mean(), kl_nats=kl)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """The mean of p(x | z) for grey images, a draw of it for everything else."""
        return self.says.draw(self.out(self.prior(n), self.told(given)))

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.config.latent, device=self.device)

    def encode(self, batch: Batch) -> Tensor:
        """The posterior mean (B, D)."""
        return self.posterior(batch.x, self.told(batch.given))[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """The mean of p(x | z)."""
        return self.says.mean(self.out(code, self.told(given)))

    def log_prob(self, batch: Batch) -> Tensor:
        """log 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q(z | x): a lower bound in expectation, tight as k grows."""
        if not self.says.fits(self.spec):
            what = f"this model's p(x | z) is one of {self.says.what}, the data is not: it has no likelihood of x"
            raise GenctlError("power", what, "data.binarize=fixed or model.likelihood=logistic for pixels")
        told = self.told(batch.given)
        mu, logvar = self.posterior(batch.x, told)
        sigma = torch.exp(0.5 * logvar)
        terms = []
        for _ in range(self.config.importance):
            eps = noise.randn(*mu.shape, device=mu.device)
            z = mu + sigma * eps
            prior_over_q = 0.5 * (eps.square() - z.square() + logvar).sum(1)
            terms.append(self.log_likelihood(batch.x, z, told) + prior_over_q)
        return torch.stack(terms).logsumexp(0) - math.log(len(terms))

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Pseudo-Gibbs: z ~ q(z | x), then what is missing ~ p(x | z), in turn (Rezende et al. 2014, appendix F).

        https://arxiv.org/abs/1401.4082
        """
        told = self.told(batch.given)
        x = torch.where(batch.mask, batch.x, self.says.draw(self.out(self.prior(len(batch)), told)))
        for _ in range(draw.sweeps):
            mu, logvar = self.posterior(x, told)
            z = mu + torch.exp(0.5 * logvar) * noise.randn(*mu.shape, device=mu.device)
            x = torch.where(batch.mask, batch.x, self.says.draw(self.out(z, told)))
        return x
