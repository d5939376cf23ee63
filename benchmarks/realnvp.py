"""RealNVP of 8 couplings 128x2, batch 512, training on 2 and on 64 dimensions: our step through the loop against normflows.

    python benchmarks/realnvp.py [--threads 2] [--rounds 5]     goal: 1.8 times normflows in 2 dimensions, 1.5 times in 64

Peers: normflows (where it is installed), and textbook masked couplings. Adam everywhere, its fused kernel for ours alone, as shipped.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peers.masked_coupling import MaskedCouplings
from benchmarks.timing import arguments, interleave, table
from genctl.contract import Batch, Progress, Spec
from genctl.families.flow.realnvp import RealNVP
from genctl.recipe import Train
from genctl.training import loop

COUPLINGS, HIDDEN, BATCH, STEPS = 8, 128, 512, 20


def ours(x: torch.Tensor, compiled: bool):
    """The loop's own turn: loss, backward, guards, norm, fused AdamW, logs."""
    net = RealNVP(RealNVP.Config(couplings=COUPLINGS, hidden=[HIDDEN, HIDDEN]), Spec(shape=(x.shape[1],))).train()
    stage, at = net.stages()[0], Progress(0, 10**6)
    with torch.no_grad():
        stage.feed(Batch(x=x), at)
    names = {id(p): k for k, p in net.named_parameters()}
    seat = loop.Seat(stage.players[0], names, loop.Setting(Train(steps=10**6, batch=BATCH, compile=compiled)))

    def work() -> int:
        for i in range(STEPS):
            seat.play(Batch(x=x[i * BATCH : (i + 1) * BATCH]), at, i)
        return STEPS * BATCH

    return work


def plainly(net: torch.nn.Module, loss, x: torch.Tensor):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def work() -> int:
        for i in range(STEPS):
            optimizer.zero_grad()
            loss(x[i * BATCH : (i + 1) * BATCH]).backward()
            optimizer.step()
        return STEPS * BATCH

    return work


def normflows(x: torch.Tensor):
    try:
        import normflows as nf
    except ImportError:
        return None
    dim, layers = x.shape[1], []
    for _ in range(COUPLINGS):
        layers += [
            nf.flows.AffineCouplingBlock(nf.nets.MLP([dim // 2, HIDDEN, HIDDEN, dim], init_zeros=True)),
            nf.flows.Permute(dim, mode="swap"),
        ]
    net = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return plainly(net, net.forward_kld, x)


def main() -> None:
    args = arguments(no_compile="leave out torch.compile, which needs a C++ compiler")
    for dim in (2, 64):
        x = torch.randn(20 * BATCH, dim)
        book = MaskedCouplings(dim, COUPLINGS, HIDDEN)
        systems = {"textbook masked couplings": plainly(book, lambda b, book=book: -book.log_prob(b).mean(), x), "genctl": ours(x, False)}
        if not args.no_compile:
            systems["genctl, compiled"] = ours(x, True)
        if (peer := normflows(x)) is not None:
            systems["normflows"] = peer
        title = f"RealNVP {COUPLINGS} couplings {HIDDEN}x2, {dim}-D, batch {BATCH}, {args.clock}"
        rates = interleave(systems, args.rounds, args.cpu_clock)
        print(table(title, "samples/s", rates, "normflows" if "normflows" in rates else "textbook masked couplings"))


if __name__ == "__main__":
    main()
