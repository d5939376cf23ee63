"""Drawing pictures of 28x28 pixel by pixel: cached steps against a full forward pass for each pixel, on the same network.

    python benchmarks/pixels.py [--threads 2] [--rounds 5]     goal: 25 times as fast at batch 1, 200 times at batch 16

The peer is ours, and named so: no package on the index draws from such a network with a cache. A pass costs the same for every pixel,
so the naive drawing is timed on the first few pixels of a picture and its pictures a second are extrapolated from them. Both use the
same noise; that they draw the same pixels is checked first: those few one by one, and the rest in one pass over what was drawn.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.timing import arguments, interleave, table
from genctl import catalog
from genctl.contract import Spec
from genctl.maths import decoding, noise

PICTURE = Spec(shape=(1, 28, 28), levels=256, media="image")
MODELS = {
    "pixelcnn": {"output": "softmax", "layers": 8, "channels": 64, "first": 7, "hidden": 64},
    "pixelrnn": {"output": "softmax", "layer": "diagonal", "layers": 1, "width": 64, "first": 7, "hidden": 64},
}
FEW = 8  # pixels that the naive drawing is timed on
DRAW = decoding.Draw()


def build(name: str):
    cls = catalog.family(name)
    return cls(cls.Config.model_validate(MODELS[name], strict=False), PICTURE).eval()


def cached(model, n: int) -> torch.Tensor:
    """Levels (n, 784)."""
    with noise.stream(0):
        return decoding.rows(model, n, PICTURE.size, DRAW, window=PICTURE.size + 1)


def naive(model, n: int) -> torch.Tensor:
    """Levels (n, FEW): a pass over the whole picture for each."""
    x = torch.zeros(n, 1, 28, 28, dtype=torch.long)
    with noise.stream(0):
        for t in range(FEW):
            said = model.params(x, None).flatten(2)[..., t]
            x.view(n, -1)[:, t] = decoding.choose(said, DRAW)
    return x.view(n, -1)[:, :FEW]


def check(model, n: int) -> int:
    """How many of the 784 n pixels differ: a pass over a whole picture says of each pixel what a pass over those before it says."""
    x = cached(model, n)
    assert torch.equal(naive(model, n), x[:, :FEW]), "cached and naive drawing differ"
    said = model.params(x.view(n, 1, 28, 28), None).flatten(2)
    with noise.stream(0):
        return sum(int((decoding.choose(said[..., t], DRAW) != x[:, t]).sum()) for t in range(PICTURE.size))


@torch.no_grad()
def main() -> None:
    args = arguments(only="pixelcnn,pixelrnn")
    for name in args.only.split(","):
        model = build(name)
        for n in (1, 16):
            wrong = check(model, n)

            def ours(model=model, n=n) -> float:
                return len(cached(model, n))

            def peer(model=model, n=n) -> float:
                return naive(model, n).numel() / PICTURE.size

            rates = interleave({"genctl, cached": ours, "genctl, naive": peer}, args.rounds, args.cpu_clock)
            print(table(f"{name}, batch {n}, {args.clock}, {wrong} pixels differ", "pictures/s", rates, "genctl, naive"), flush=True)


if __name__ == "__main__":
    main()
