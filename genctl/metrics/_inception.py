"""InceptionV3 as FID uses it, from a local safetensors file in the key layout of pytorch-fid.

Szegedy et al. 2016, https://arxiv.org/abs/1512.00567. The FID variant differs from the paper's network in its pooling: averages leave
the padding out, and the last block takes a maximum. Only inference is wanted, so batch normalisation is folded into the convolutions.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text

DIMENSIONS, SIDE, BATCH = 2048, 299, 32
EPS = 1e-3  # of the batch normalisation

Layer = tuple[str, int, tuple[int, int], int]  # name, channels out, kernel (h, w), stride


def _layer(name: str, out: int, h: int, w: int, stride: int = 1) -> Layer:
    return name, out, (h, w), stride


class Conv(nn.Module):
    """Convolution, folded batch normalisation, ReLU."""

    def __init__(self, into: int, out: int, kernel: tuple[int, int], stride: int = 1, padding: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Mixed(nn.Module):
    """Branches side by side, their outputs joined by channel.

    A branch is a row of layers; its last entry may be a list of layers, which all see the same input. `pool` says what the last
    branch looks through first: avg (3 x 3 without the padding), max, or down (max, stride 2). Layers with stride 2 do not pad.
    """

    def __init__(self, into: int, branches: Sequence[Sequence[Any]], pool: str) -> None:
        super().__init__()
        self.plan, self.pool, self.out = branches, pool, 0
        for branch in branches:
            width = into
            for entry in branch:
                made = entry if isinstance(entry, list) else [entry]
                for name, out, (h, w), stride in made:
                    padding = (h // 2, w // 2) if stride == 1 else (0, 0)
                    setattr(self, name, Conv(width, out, (h, w), stride, padding))
                width = sum(layer[1] for layer in made)
            self.out += width

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for i, branch in enumerate(self.plan):
            h = self.look(x) if i == len(self.plan) - 1 else x
            for entry in branch:
                h = (
                    torch.cat([self.get_submodule(e[0])(h) for e in entry], 1)
                    if isinstance(entry, list)
                    else self.get_submodule(entry[0])(h)
                )
            outputs.append(h)
        return torch.cat(outputs, 1)

    def look(self, x: Tensor) -> Tensor:
        if self.pool == "down":
            return F.max_pool2d(x, 3, 2)
        return F.max_pool2d(x, 3, 1, 1) if self.pool == "max" else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _a(into: int, pooled: int) -> Mixed:  # 35 x 35
    double = [_layer("branch3x3dbl_1", 64, 1, 1), _layer("branch3x3dbl_2", 96, 3, 3), _layer("branch3x3dbl_3", 96, 3, 3)]
    fives = [_layer("branch5x5_1", 48, 1, 1), _layer("branch5x5_2", 64, 5, 5)]
    return Mixed(into, [[_layer("branch1x1", 64, 1, 1)], fives, double, [_layer("branch_pool", pooled, 1, 1)]], "avg")


def _b(into: int) -> Mixed:  # 35 x 35 to 17 x 17
    double = [_layer("branch3x3dbl_1", 64, 1, 1), _layer("branch3x3dbl_2", 96, 3, 3), _layer("branch3x3dbl_3", 96, 3, 3, 2)]
    return Mixed(into, [[_layer("branch3x3", 384, 3, 3, 2)], double, []], "down")


def _c(into: int, c: int) -> Mixed:  # 17 x 17
    sevens = [_layer("branch7x7_1", c, 1, 1), _layer("branch7x7_2", c, 1, 7), _layer("branch7x7_3", 192, 7, 1)]
    shapes = ((1, 1), (7, 1), (1, 7), (7, 1), (1, 7))
    double = [_layer(f"branch7x7dbl_{i}", 192 if i == 5 else c, h, w) for i, (h, w) in enumerate(shapes, 1)]
    return Mixed(into, [[_layer("branch1x1", 192, 1, 1)], sevens, double, [_layer("branch_pool", 192, 1, 1)]], "avg")


def _d(into: int) -> Mixed:  # 17 x 17 to 8 x 8
    threes = [_layer("branch3x3_1", 192, 1, 1), _layer("branch3x3_2", 320, 3, 3, 2)]
    shapes = ((1, 1), (1, 7), (7, 1), (3, 3))
    sevens = [_layer(f"branch7x7x3_{i}", 192, h, w, 2 if i == 4 else 1) for i, (h, w) in enumerate(shapes, 1)]
    return Mixed(into, [threes, sevens, []], "down")


def _e(into: int, pool: str) -> Mixed:  # 8 x 8
    def fork(name: str) -> list[Layer]:
        return [_layer(f"{name}a", 384, 1, 3), _layer(f"{name}b", 384, 3, 1)]

    threes = [_layer("branch3x3_1", 384, 1, 1), fork("branch3x3_2")]
    double = [_layer("branch3x3dbl_1", 448, 1, 1), _layer("branch3x3dbl_2", 384, 3, 3), fork("branch3x3dbl_3")]
    return Mixed(into, [[_layer("branch1x1", 320, 1, 1)], threes, double, [_layer("branch_pool", 192, 1, 1)]], pool)


class InceptionV3(nn.Module):
    """(B, 3, 299, 299) in [-1, 1] -> (B, 2048), the averaged last block."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = Conv(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = Conv(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = Conv(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Conv(80, 192, (3, 3))
        width = 192
        blocks: dict[str, Any] = {f"Mixed_5{k}": (_a, p) for k, p in (("b", 32), ("c", 64), ("d", 64))}
        blocks |= {"Mixed_6a": (_b,)} | {f"Mixed_6{k}": (_c, c) for k, c in (("b", 128), ("c", 160), ("d", 160), ("e", 192))}
        blocks |= {"Mixed_7a": (_d,), "Mixed_7b": (_e, "avg"), "Mixed_7c": (_e, "max")}
        self.blocks = list(blocks)
        for name, (make, *settings) in blocks.items():
            block = make(width, *settings)
            width = block.out
            setattr(self, name, block)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))

    def fold(self, weights: Mapping[str, Tensor]) -> "InceptionV3":
        """Takes over weights in pytorch-fid's layout: NAME.conv.weight and NAME.bn.*. Raises KeyError or ValueError."""
        for name, layer in self.named_modules():
            if isinstance(layer, Conv):
                w = weights[f"{name}.conv.weight"].double()
                gain, bias, mean, var = (weights[f"{name}.bn.{k}"].double() for k in ("weight", "bias", "running_mean", "running_var"))
                if w.shape != layer.conv.weight.shape or gain.shape != w.shape[:1]:
                    raise ValueError(f"{name} has shape {list(w.shape)}, not {list(layer.conv.weight.shape)}")
                scale = gain / (var + EPS).sqrt()
                with torch.no_grad():
                    layer.conv.weight.copy_(w * scale[:, None, None, None])
                    assert layer.conv.bias is not None
                    layer.conv.bias.copy_(bias - mean * scale)
        return self.eval().requires_grad_(False)


# --- from our pictures to its input ------------------------------------------------------------------------------------------


def pytorch_fid(x: Tensor) -> Tensor:
    """8-bit pictures in [0, 1] as pytorch-fid feeds them: bilinear, corners not aligned, scaled to [-1, 1]."""
    return 2 * F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1


def tensorflow(x: Tensor) -> Tensor:
    """As the TensorFlow graph of the paper (and torch-fidelity) does: pixel i at i * size / 299, and (255 x - 128) / 128."""
    for dim in (2, 3):
        at = torch.arange(SIDE, dtype=torch.float64) * (x.shape[dim] / SIDE)
        low = at.floor().long().clamp(max=x.shape[dim] - 1)
        part = (at - low).to(x.dtype).reshape([-1 if d == dim else 1 for d in range(4)]).to(x.device)
        first, second = x.index_select(dim, low.to(x.device)), x.index_select(dim, (low + 1).clamp(max=x.shape[dim] - 1).to(x.device))
        x = first + (second - first) * part
    return (255 * x - 128) / 128


RESIZE = {"pytorch-fid": pytorch_fid, "tensorflow": tensorflow}


class Inception:
    """An Extractor: 8-bit grey or RGB pictures in [0, 1] to 2048 features."""

    accuracy: float | None = None

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        sha256: str,
        resize: str = "pytorch-fid",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name, self.sha256, self.resize, self.device, self.dtype = "inception", sha256, resize, torch.device(device), dtype
        with torch.device("meta"):  # its first weights would be thrown away
            net = InceptionV3()
        self.net = net.to_empty(device="cpu").to(dtype).fold(weights).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, x: Tensor) -> Tensor:
        pieces = [self.some(part) for part in torch.split(x, BATCH)]
        return torch.cat(pieces) if pieces else torch.zeros(0, DIMENSIONS)

    def some(self, x: Tensor) -> Tensor:
        eight = (x.to(self.device).clamp(0, 1) * 255).round().to(self.dtype) / 255  # what a PNG holds
        ready = RESIZE[self.resize](eight.expand(-1, 3, -1, -1)).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            out: Tensor = self.net(ready)
        return out.cpu()


def reason_not(spec: Spec) -> str:
    """Why Inception cannot look at this data; empty if it can."""
    if spec.kind != "image" or spec.media != "image":
        return f"Inception looks at images; this data is {spec.kind}"
    return "" if spec.shape[0] in (1, 3) else f"Inception looks at grey or RGB images; these have {spec.shape[0]} channels"


CONVERT = (
    'convert it once: python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.contiguous() for k, v in torch.load('FILE.pth', weights_only=True).items()}, 'FILE.safetensors')\""
)


def read(path: Path, resize: str = "pytorch-fid", device: torch.device | str = "cpu") -> Inception:
    """Inception with a file's weights. Raises GenctlError (no-input, ckpt-format, ckpt-content)."""
    shown = safe_text(path)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise GenctlError("no-input", f"no Inception weights at {shown}: {safe_text(e.strerror)}", "--weights FILE.safetensors") from None
    if path.suffix in (".pth", ".pt", ".pkl") or data[:2] == b"PK" or data[:1] == b"\x80":
        raise GenctlError("ckpt-format", f"{shown} is a PyTorch pickle, which can run code; genctl reads only safetensors", CONVERT)
    try:
        weights = safetensors.torch.load(data)
    except Exception as e:  # whatever the library says of a damaged file is the file's fault
        raise GenctlError("ckpt-content", f"{shown} is not a safetensors file: {safe_text(e)}") from None
    try:
        return Inception(weights, hashlib.sha256(data).hexdigest(), resize, device)
    except KeyError as e:
        raise GenctlError("ckpt-content", f"{shown} lacks {safe_text(e)}: not Inception in pytorch-fid's layout") from None
    except ValueError as e:
        raise GenctlError("ckpt-content", f"{shown}: {safe_text(e)}") from None


def random_weights(seed: int = 0) -> dict[str, Tensor]:
    """Kaiming weights and mild statistics in the same layout, for tests and benchmarks: not FID."""
    g = torch.Generator().manual_seed(seed)
    out: dict[str, Tensor] = {}
    for name, layer in InceptionV3().named_modules():
        if isinstance(layer, Conv):
            shape = layer.conv.weight.shape
            out[f"{name}.conv.weight"] = torch.randn(shape, generator=g) * (2 / shape[1:].numel()) ** 0.5
            out[f"{name}.bn.weight"] = 1 + 0.1 * torch.randn(shape[0], generator=g)
            out[f"{name}.bn.bias"] = 0.1 * torch.randn(shape[0], generator=g)
            out[f"{name}.bn.running_mean"] = 0.1 * torch.randn(shape[0], generator=g)
            out[f"{name}.bn.running_var"] = 1 + 0.1 * torch.rand(shape[0], generator=g)
    out["fc.weight"], out["fc.bias"] = torch.randn(1008, DIMENSIONS, generator=g) * 0.01, torch.zeros(1008)
    return out
