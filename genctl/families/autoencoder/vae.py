"""Variational autoencoder: a latent Gaussian, decoded; trained on a bound of the likelihood.

Kingma and Welling 2014, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114.
`log_prob` is the importance-weighted estimate of Burda et al. 2016, https://arxiv.org/abs/1509.00519, eq. 8.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._networks import NetworkConfig, decoder, encoder
from genctl.maths import noise

LOG2PI = math.log(2 * math.pi)


class VAE(Family):
    """p(x) = E_{z ~ N(0, I)} p(x | z), with q(z | x) a diagonal Gaussian."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "IS-k"

    class Config(NetworkConfig):
        latent: int = Field(16, ge=1, le=4096)
        """Dimensions of z."""
        likelihood: Literal["auto", "bernoulli", "gaussian"] = "auto"
        """p(x | z). auto: bernoulli for data in [0, 1], gaussian with one learned sigma otherwise."""
        beta: float = Field(1.0, ge=0, le=1000)
        """Weight of the KL term (Higgins et al. 2017); 1 is the bound on the likelihood."""
        kl_warmup: float = Field(0.0, ge=0, le=1)
        """The share of training over which beta grows from 0."""
        iwae: int = Field(1, ge=1, le=1000)
        """Draws of z in the training bound; more make it tighter (Burda et al. 2016, eq. 8), 1 is the evidence lower bound."""
        importance: int = Field(200, ge=1, le=100_000)
        """Samples of z that `log_prob` averages over."""

    class Draw(contract.Draw):
        sweeps: int = Field(100, ge=1, le=100_000)
        """For imputing: how often z and what is missing are drawn given each other."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder, self.decoder = encoder(config, spec, 2 * config.latent), decoder(config, spec, config.latent)
        unit = config.likelihood == "bernoulli" or (config.likelihood == "auto" and spec.levels > 0)
        self.log_sigma = None if unit else nn.Parameter(torch.zeros(()))  # of p(x | z)
        self.code = Spec(shape=(config.latent,))
        self.range = (0.0, 1.0) if spec.levels else (None, math.inf)

    # --- the two halves ---

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """q(z | x): mu and logvar (B, D)."""
        mu, logvar = self.encoder(x).chunk(2, 1)
        return mu, logvar.clamp(-20, 20)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) (B,)."""
        out = self.decoder(z)
        if self.log_sigma is None:
            return -F.binary_cross_entropy_with_logits(out, x, reduction="none").flatten(1).sum(1)
        gap = (x - out) * torch.exp(-self.log_sigma)
        return -(0.5 * gap.square() + self.log_sigma + 0.5 * LOG2PI).flatten(1).sum(1)

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The negative evidence lower bound (eq. 10) with the KL weighted by beta; with `iwae` the bound over so many draws."""
        mu, logvar = self.posterior(batch.x)
        warm = min(1.0, at.fraction / self.config.kl_warmup) if self.config.kl_warmup and self.training else 1.0
        beta, k = self.config.beta * warm, self.config.iwae
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()
        if k == 1:
            z = mu + torch.exp(0.5 * logvar) * noise.randn(*mu.shape, device=mu.device)
            reconstruction = -self.log_likelihood(batch.x, z).mean()
            return Loss(reconstruction + beta * kl, reconstruction_nats=reconstruction, kl_nats=kl)
        eps = noise.randn(len(mu), k, mu.shape[1], device=mu.device)
        z = mu[:, None] + torch.exp(0.5 * logvar)[:, None] * eps
        prior_over_q = 0.5 * (eps.square() - z.square() + logvar[:, None]).sum(2)
        log_p = self.log_likelihood(batch.x.repeat_interleave(k, 0), z.flatten(0, 1)).view(-1, k)
        bound = (log_p + beta * prior_over_q).logsumexp(1) - math.log(k)
        return Loss(-bound.mean(), reconstruction_nats=-log_p.mean(), kl_nats=kl)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """The mean of p(x | z) for images, a draw of it for vectors and binary images."""
        return self.drawn(self.decode(self.prior(n)))

    def drawn(self, mean: Tensor) -> Tensor:
        """x (B, *shape) as `sample` gives it, of the mean of p(x | z)."""
        mean = mean.clamp(*self.range)
        if self.spec.levels == 2:
            return noise.bernoulli(mean)
        return mean if self.spec.levels else mean + self.log_sigma.exp() * noise.randn(*mean.shape, device=mean.device)

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.config.latent, device=self.device)

    def encode(self, batch: Batch) -> Tensor:
        """The posterior mean (B, D)."""
        return self.posterior(batch.x)[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """The mean of p(x | z)."""
        out: Tensor = self.decoder(code)
        return torch.sigmoid(out) if self.log_sigma is None else out

    def log_prob(self, batch: Batch) -> Tensor:
        """log 1/k sum_i p(x, z_i) / q(z_i | x), z_i ~ q(z | x): a lower bound in expectation, tight as k grows."""
        if self.spec.levels > 2 or (self.spec.levels == 2) != (self.log_sigma is None):
            what = "coin flips" if self.log_sigma is None else "numbers on the line"
            raise GenctlError(
                "power",
                f"this model's p(x | z) is one of {what}, the data is not: it has no likelihood of x",
                "data.binarize=fixed for pixels",
            )
        mu, logvar = self.posterior(batch.x)
        sigma = torch.exp(0.5 * logvar)
        terms = []
        for _ in range(self.config.importance):
            eps = noise.randn(*mu.shape, device=mu.device)
            z = mu + sigma * eps
            prior_over_q = 0.5 * (eps.square() - z.square() + logvar).sum(1)
            terms.append(self.log_likelihood(batch.x, z) + prior_over_q)
        return torch.stack(terms).logsumexp(0) - math.log(len(terms))

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Pseudo-Gibbs: z ~ q(z | x), then what is missing ~ p(x | z), in turn (Rezende et al. 2014, appendix F).

        https://arxiv.org/abs/1401.4082
        """
        x = torch.where(batch.mask, batch.x, self.drawn(self.decode(self.prior(len(batch)))))
        for _ in range(draw.sweeps):
            mu, logvar = self.posterior(x)
            z = mu + torch.exp(0.5 * logvar) * noise.randn(*mu.shape, device=mu.device)
            x = torch.where(batch.mask, batch.x, self.drawn(self.decode(z)))
        return x
