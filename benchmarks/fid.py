"""Inception features and the Frechet distance against torch-fidelity where it is installed, else against textbook versions.

    python benchmarks/fid.py [features|distance]      goals: features 1.45x, distance 1.5x at a value equal to 1e-6

The textbook network is ours without the two tricks (batch normalisation beside its convolution, channels first); the textbook
distance is float64 throughout, with the eigenvalues of S1 S2.
"""

import contextlib
import importlib
import importlib.util
import sys
import tempfile
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.timing import interleave, table
from genctl.metrics import _frechet, _inception

PICTURES, ROUNDS, N, D = 8, 3, 10_000, 2048


class Unfolded(nn.Module):
    """A convolution and its batch normalisation, as they are trained."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        out = layer.out_channels
        self.conv = nn.Conv2d(layer.in_channels, out, layer.kernel_size, layer.stride, layer.padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=_inception.EPS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.bn(self.conv(x)))


def textbook_network(weights: dict[str, Tensor]) -> nn.Module:
    net = _inception.InceptionV3()
    for name, layer in list(net.named_modules()):
        if isinstance(layer, _inception.Conv):
            parent, _, last = name.rpartition(".")
            setattr(net.get_submodule(parent), last, Unfolded(layer.conv))
    net.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")}, strict=False)
    return net.eval().requires_grad_(False)


def fidelity() -> types.ModuleType | None:
    """torch-fidelity, with names in torchvision's place: nothing of it is used here."""
    if importlib.util.find_spec("torch_fidelity") is None:
        return None
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
            sys.modules[name] = types.ModuleType(name)
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, sys.modules[name])
        for name in ("CIFAR10", "STL10", "CIFAR100"):
            setattr(sys.modules["torchvision.datasets"], name, type(name, (), {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("torch_fidelity")


def theirs(weights: dict[str, Tensor]) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        path = Path(folder) / "weights.pth"
        torch.save(weights, path)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)).eval()


def features() -> None:
    weights = _inception.random_weights()
    eight = torch.randint(0, 256, (PICTURES, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    ours, plain = _inception.Inception(weights, "", "tensorflow"), textbook_network(weights)

    def textbook() -> float:
        with torch.no_grad():
            plain(_inception.tensorflow(eight.float() / 255))
        return PICTURES

    def genctl() -> float:
        ours(eight.float() / 255)
        return PICTURES

    systems: dict[str, Callable[[], float]] = {"textbook network": textbook, "genctl": genctl}
    peer = "textbook network"
    if fidelity():
        net, peer = theirs(weights), "torch-fidelity"

        def other() -> float:
            with torch.no_grad():
                net(eight)
            return PICTURES

        systems = {peer: other, **systems}
    print(
        table(
            f"Inception features, 32 x 32 pictures, batch {PICTURES}, {torch.get_num_threads()} threads",
            "pictures/s",
            interleave(systems, ROUNDS),
            peer,
        )
    )


def distance() -> None:
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=g) / D**0.5
    x, y = ((torch.randn(N, D, generator=g) + shift).relu_() @ mix for shift in (0.0, 0.2))
    values: dict[str, float] = {}

    def textbook() -> float:
        a, b = x.double().numpy(), y.double().numpy()
        s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
        values["textbook float64"] = float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root)
        return 1

    def genctl() -> float:
        values["genctl"] = _frechet.frechet(x, y)
        return 1

    systems: dict[str, Callable[[], float]] = {"textbook float64": textbook, "genctl": genctl}
    peer = "textbook float64"
    if fidelity():
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        peer = "torch-fidelity"

        def other() -> float:
            found = fid_statistics_to_metric(fid_features_to_statistics(x), fid_features_to_statistics(y), False)
            values[peer] = next(iter(found.values()))
            return 1

        systems = {peer: other, **systems}
    print(
        table(
            f"Frechet distance of two {N:,} x {D} matrices, {torch.get_num_threads()} threads",
            "distances/s",
            interleave(systems, ROUNDS),
            peer,
        )
    )
    for name, value in values.items():
        print(f"{name}: {value:.8f}, relative difference to {peer} {abs(value / values[peer] - 1):.1e}")


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["features", "distance"]
    for what in wanted:
        {"features": features, "distance": distance}[what]()
