"""Flows of 8 couplings 128x2, batch 512, on 2 and on 64 dimensions: training, log_prob and sampling against the flow libraries.

    python benchmarks/flows.py [--kind realnvp,spline] [--what train,log_prob,sample] [--threads 2] [--rounds 5]

Goals, times the best peer: realnvp 1.8 in 2 dimensions and 1.5 in 64; spline (8 bins) 2. Peers where they are installed: normflows,
zuko, nflows, with networks as near ours as each allows; and for realnvp textbook masked couplings. Adam everywhere, its fused kernel
for ours alone, as shipped; our training is the loop's own turn: loss, backward, guards, norm, update, logs.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers.masked_coupling import MaskedCouplings
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Draw, Progress, Spec
from genctl.families.flow.realnvp import RealNVP
from genctl.families.flow.spline import Spline
from genctl.maths import noise
from genctl.nets.mlp import mlp
from genctl.recipe import Train
from genctl.training import loop

LAYERS, HIDDEN, BINS, EDGE, BATCH, STEPS = 8, [128, 128], 8, 4.0, 512, 10
System = dict[str, Callable[[], object]]  # train, log_prob and sample: each does one batch


def ours(kind: str, x: torch.Tensor, compiled: bool) -> System:
    spec = Spec(shape=(x.shape[1],))
    if kind == "realnvp":
        net = RealNVP(RealNVP.Config(couplings=LAYERS, hidden=HIDDEN), spec)
    else:
        net = Spline(Spline.Config(layers=LAYERS, hidden=HIDDEN, bins=BINS, edge=EDGE), spec)
    net.train()
    stage, at, batch = net.stages()[0], Progress(0, 10**6), Batch(x=x)
    with torch.no_grad():
        stage.feed(batch, at)
    names = {id(p): k for k, p in net.named_parameters()}
    seat = loop.Seat(stage.players[0], names, loop.Setting(Train(steps=10**6, batch=BATCH, compile=compiled)))
    draw = Draw(chunk=BATCH)

    def sample() -> object:
        with noise.stream(0):
            return net.sample(BATCH, draw)

    found: System = {"train": lambda: seat.play(batch, at, 0)}
    return found if compiled else found | {"log_prob": lambda: net.log_prob(batch), "sample": sample}


def theirs(net: torch.nn.Module, log_prob: Callable[[torch.Tensor], torch.Tensor], sample: Callable[[], object], x: torch.Tensor) -> System:
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def train() -> object:
        optimizer.zero_grad()
        loss = -log_prob(x).mean()
        loss.backward()
        return optimizer.step()

    return {"train": train, "log_prob": lambda: log_prob(x), "sample": sample}


def textbook(kind: str, x: torch.Tensor) -> System | None:
    if kind != "realnvp":
        return None
    net = MaskedCouplings(x.shape[1], LAYERS, HIDDEN[0])
    return {k: v for k, v in theirs(net, net.log_prob, lambda: None, x).items() if k != "sample"}


def normflows(kind: str, x: torch.Tensor) -> System | None:
    import normflows as nf

    dim, layers = x.shape[1], []
    for _ in range(LAYERS):
        if kind == "realnvp":
            couple = nf.flows.AffineCouplingBlock(nf.nets.MLP([dim // 2, *HIDDEN, dim], init_zeros=True))
        else:
            couple = nf.flows.CoupledRationalQuadraticSpline(dim, 1, HIDDEN[0], num_bins=BINS, tail_bound=EDGE)
        layers += [couple, nf.flows.Permute(dim, mode="swap")]
    net = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return theirs(net, net.log_prob, lambda: net.sample(BATCH), x)


def zuko(kind: str, x: torch.Tensor) -> System | None:
    import zuko as z

    dim = x.shape[1]
    if kind == "realnvp":
        net = z.flows.RealNVP(dim, transforms=LAYERS, hidden_features=HIDDEN)
    else:
        net = z.flows.NSF(dim, bins=BINS, transforms=LAYERS, hidden_features=HIDDEN, passes=2)
    return theirs(net, lambda b: net().log_prob(b), lambda: net().sample((BATCH,)), x)


def nflows(kind: str, x: torch.Tensor) -> System | None:
    from nflows import distributions, flows, transforms

    dim, layers = x.shape[1], []

    class Network(torch.nn.Sequential):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(*mlp([a, *HIDDEN, b]))

        def forward(self, x: torch.Tensor, context: None = None) -> torch.Tensor:
            return super().forward(x)

    for i in range(LAYERS):
        mask = (torch.arange(dim) < dim // 2) if i % 2 else (torch.arange(dim) >= dim // 2)
        if kind == "realnvp":
            layers.append(transforms.AffineCouplingTransform(mask.long(), Network))
        else:
            layers.append(
                transforms.PiecewiseRationalQuadraticCouplingTransform(mask.long(), Network, BINS, tails="linear", tail_bound=EDGE)
            )
    net = flows.Flow(transforms.CompositeTransform(layers), distributions.StandardNormal([dim]))
    return theirs(net, net.log_prob, lambda: net.sample(BATCH), x)


PEERS = {"normflows": normflows, "zuko": zuko, "nflows": nflows, "textbook masked couplings": textbook}


def systems(kind: str, x: torch.Tensor, compiled: bool) -> dict[str, System]:
    found = {"genctl": ours(kind, x, False)}
    if compiled:
        found["genctl, compiled"] = ours(kind, x, True)
    for name, make in PEERS.items():
        try:
            made = make(kind, x)
        except ImportError:
            continue
        if made:
            found[name] = made
    return found


def many(work: Callable[[], object], grad: bool) -> Callable[[], float]:
    def run() -> float:
        with torch.set_grad_enabled(grad):
            for _ in range(STEPS):
                work()
        return STEPS * BATCH

    return run


def main() -> None:
    args = arguments(no_compile="leave out torch.compile, which needs a C++ compiler", kind="realnvp,spline", what="train,log_prob,sample")
    for kind in args.kind.split(","):
        for dim in (2, 64):
            made = systems(kind, torch.randn(BATCH, dim), not args.no_compile)
            for what in args.what.split(","):
                rates = interleave({k: many(v[what], what == "train") for k, v in made.items() if what in v}, args.rounds, args.cpu_clock)
                peers = {k: statistics.median(v) for k, v in rates.items() if not k.startswith("genctl")}
                best = max(peers, key=lambda k: peers[k], default="genctl")
                print(table(f"{kind}, {dim}-D, {what}, batch {BATCH}, {args.clock}", "samples/s", rates, best))


if __name__ == "__main__":
    main()
