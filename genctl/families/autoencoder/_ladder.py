"""A ladder of latent Gaussians: what lies above says what to expect below, and a posterior joins that with what x says.

Sønderby et al. 2016, Ladder Variational Autoencoders, https://arxiv.org/abs/1602.02282. A code holds, from the top layer down, the
standard normals e_i of z_i = mu_i + sigma_i e_i, where mu_i and sigma_i are functions of the layers above: its prior is N(0, I).
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._networks import NetworkConfig, check
from genctl.nets.conv import down, pyramid, up
from genctl.nets.mlp import ACTIVATIONS, mlp


class Up(nn.Module):
    """x (B, ...) to (B, 2 D): the mean and log-variance that x alone gives every z, the top layer first."""

    def __init__(self, rungs: Sequence[nn.Module], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.rungs, self.heads = nn.ModuleList(rungs), nn.ModuleList(heads)

    def forward(self, x: Tensor) -> Tensor:
        said: list[Tensor] = []
        for rung, head in zip(self.rungs, self.heads, strict=True):
            x = rung(x)
            said.insert(0, head(x))
        mu, logvar = zip(*(s.chunk(2, 1) for s in said), strict=True)
        return torch.cat([t.flatten(1) for t in (*mu, *logvar)], 1)


class Down(nn.Module):
    """A code, with a label behind it, (B, D + told) to what is said of x: from a learned constant, layer by layer.

    heads    mu and log-variance of z_i from the vectors or planes h_i that come down
    joins    z_i to what is added to h_i
    rungs    that to h_{i-1}; the last, to what is said of x
    sizes    numbers in each z_i
    """

    def __init__(
        self,
        shape: Sequence[int],
        heads: Sequence[nn.Module],
        joins: Sequence[nn.Module],
        rungs: Sequence[nn.Module],
        sizes: Sequence[int],
        told: int,
    ) -> None:
        super().__init__()
        self.heads, self.joins, self.rungs = nn.ModuleList(heads), nn.ModuleList(joins), nn.ModuleList(rungs)
        self.sizes = list(sizes)
        self.top = nn.Parameter(torch.zeros(tuple(shape)))
        self.tell = nn.Linear(told, math.prod(shape), bias=False) if told else None

    def begin(self, n: int, told: Tensor | None) -> Tensor:
        h = self.top.expand(n, *self.top.shape)
        return h if self.tell is None else h + self.tell(told).view_as(h)

    def expected(self, h: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """mu_i and the log-variance of z_i given the layers above, (B, ...)."""
        mu, logvar = self.heads[i](h).chunk(2, 1)
        return mu, logvar.clamp(-10, 10)

    def forward(self, code: Tensor) -> Tensor:
        e, told = code.split([sum(self.sizes), code.shape[1] - sum(self.sizes)], 1)
        h = self.begin(len(code), told)
        for i, own in enumerate(e.split(self.sizes, 1)):
            mu, logvar = self.expected(h, i)
            h = self.rungs[i](h + self.joins[i](mu + torch.exp(0.5 * logvar) * own.view_as(mu)))
        return h

    def infer(self, mu: Tensor, logvar: Tensor, eps: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A code (B, D) drawn from q(e | x) by noise eps, and the mean and log-variance of each e_i given those above.

        mu, logvar    what x says of z: the precision-weighted joint of that and of what is expected is q (eq. 17-19), here in units of
                      what is expected: N(m, v) times N(0, 1)
        """
        h, found = self.begin(len(mu), told), []
        for i, (said, doubt, own) in enumerate(zip(*(t.split(self.sizes, 1) for t in (mu, logvar, eps)), strict=True)):
            centre, spread = self.expected(h, i)
            log_v = doubt - spread.flatten(1)
            m = (said - centre.flatten(1)) * torch.exp(-0.5 * spread.flatten(1))
            mean, logvar_e = m * torch.sigmoid(-log_v), -F.softplus(-log_v)  # m / (1 + v), log v / (1 + v)
            e = mean + torch.exp(0.5 * logvar_e) * own
            found.append((e, mean, logvar_e))
            if i + 1 < len(self.sizes):
                h = self.rungs[i](h + self.joins[i](centre + torch.exp(0.5 * spread) * e.view_as(centre)))
        e, mean, logvar_e = (torch.cat(t, 1) for t in zip(*found, strict=True))
        return e, mean, logvar_e


def ladder(config: NetworkConfig, latents: Sequence[int], spec: Spec, shape: Sequence[int], told: int) -> tuple[Up, Down]:
    """Both ways, a layer of `latents` numbers (planes of a picture, for conv) behind each of the hidden layers.

    shape    of what is said of x
    told     classes of a label beside x, or 0

    Raises GenctlError (config).
    """
    check(config, spec)
    if config.network not in ("mlp", "conv") or len(latents) != len(config.hidden):
        what = f"model.latents: {len(latents)} for {len(config.hidden)} hidden layers of network {config.network}"
        raise GenctlError("config", what, "as many latents as hidden layers, of mlp or conv")
    climb, descend, link, tops, sizes = (_conv if config.network == "conv" else _mlp)(config, latents, spec, shape, told)
    heads = [[link(width, 2 * k) for width, k in zip(config.hidden, latents, strict=True)] for _ in range(2)]
    joins = [link(k, width) for width, k in zip(config.hidden, latents, strict=True)]
    return Up(climb, heads[0]), Down(tops, heads[1][::-1], joins[::-1], descend[::-1], sizes[::-1], told)


Parts = tuple[list[nn.Module], list[nn.Module], Callable[[int, int], nn.Module], tuple[int, ...], list[int]]


def _mlp(config: NetworkConfig, latents: Sequence[int], spec: Spec, shape: Sequence[int], told: int) -> Parts:
    """Two linear layers a rung. Way up, way down (bottom first), a layer between widths, the shape at the top, sizes of z."""
    act, norm, hidden = config.activation, config.norm, config.hidden
    climb: list[nn.Module] = [mlp([a, b, b], act, last=True, norm=norm) for a, b in itertools.pairwise([spec.size + told, *hidden])]
    descend: list[nn.Module] = [mlp([b, b, a], act, norm=norm) for a, b in itertools.pairwise([math.prod(shape), *hidden])]
    climb[0], descend[0] = nn.Sequential(nn.Flatten(), climb[0]), nn.Sequential(descend[0], nn.Unflatten(1, tuple(shape)))
    return climb, descend, nn.Linear, (hidden[-1],), list(latents)


def _conv(config: NetworkConfig, latents: Sequence[int], spec: Spec, shape: Sequence[int], told: int) -> Parts:
    """A halving of the picture a rung."""
    act, norm, blocks, hidden = config.activation, config.norm, config.blocks, config.hidden
    sides = pyramid(*spec.shape[1:], len(hidden))
    ways = list(itertools.pairwise([spec.shape[0] + told, *hidden]))
    climb: list[nn.Module] = [nn.Sequential(*down(way, act, norm, blocks)) for way in ways]
    ways[0] = (shape[0], hidden[0])
    descend: list[nn.Module] = [
        nn.Sequential(ACTIVATIONS[act](), *up(sides[i : i + 2], way, act, norm, blocks)) for i, way in enumerate(ways)
    ]
    sizes = [k * h * w for k, (h, w) in zip(latents, sides[1:], strict=True)]
    return climb, descend, lambda a, b: nn.Conv2d(a, b, 1), (hidden[-1], *sides[-1]), sizes
