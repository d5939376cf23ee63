"""--device and --precision to what torch understands, with the reason for the choice. Never a silent fallback."""

import os
import platform
from dataclasses import dataclass
from functools import cache

import torch

from genctl.errors import GenctlError, safe_text

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Place:
    """Where and in what precision to compute. dtype: the autocast dtype, None for float32."""

    device: torch.device
    dtype: torch.dtype | None
    why: str


def resolve(name: str = "auto", precision: str = "fp32") -> Place:
    """Raises GenctlError (device) when the device is not here or computes the precision only in software."""
    device, why = _device(name)
    dtype = PRECISIONS.get(precision)
    if precision not in PRECISIONS:
        raise GenctlError("usage", f"--precision {safe_text(precision)}: expected one of {', '.join(PRECISIONS)}")
    if device.type == "cpu" and dtype is not None and not cpu_has(precision):
        reason = f"this CPU has no {precision} arithmetic (AVX512-BF16 or AMX): torch would emulate it, 70 to 200 times slower than fp32"
        raise GenctlError("device", f"--precision {precision} on cpu: {reason}", "--precision fp32")
    if device.type == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise GenctlError("device", "--precision bf16: this GPU has no bf16 arithmetic", "--precision fp16")
    return Place(device, dtype, why)


def _device(name: str) -> tuple[torch.device, str]:
    if name == "auto":
        if torch.cuda.is_available():
            rank = int(os.environ.get("LOCAL_RANK", 0))
            return torch.device("cuda", rank), f"auto: cuda:{rank} ({torch.cuda.get_device_name(rank)})"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "auto: mps (Apple GPU)"
        return torch.device("cpu"), f"auto: cpu ({torch.get_num_threads()} threads; no CUDA or Apple GPU here)"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and (kind != "cuda" or not index.isdecimal() or len(index) > 4)):
        raise GenctlError("device", f"there is no device '{safe_text(name)}': expected auto, cpu, cuda, cuda:N or mps", "--device auto")
    if kind == "cuda" and not torch.cuda.is_available():
        build = "CPU build of" if not torch.version.cuda else "no driver or GPU for"
        raise GenctlError("device", f"cuda is not available here ({build} torch {torch.__version__})", "--device cpu")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise GenctlError("device", f"{name}: this machine has {torch.cuda.device_count()} CUDA device(s)", "--device cuda:0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise GenctlError("device", "mps is not available here (it needs an Apple GPU and macOS)", "--device cpu")
    return torch.device(name), f"{name}: as asked"


@cache
def cpu_flags() -> frozenset[str]:
    """What /proc/cpuinfo lists; empty where there is none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return frozenset(next((line.split(":")[1].split() for line in f if line.startswith(("flags", "Features"))), []))
    except OSError:
        return frozenset()


def cpu_has(precision: str) -> bool:
    """Whether this CPU computes bf16 or fp16 in hardware."""
    flags = cpu_flags()
    if precision == "bf16":
        return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    return bool(flags & {"amx_fp16", "avx512_fp16", "fphp"}) or (platform.machine() == "arm64" and platform.system() == "Darwin")


def set_threads(n: int | None) -> None:
    """CPU threads for one operation; None leaves torch's choice."""
    if n:
        torch.set_num_threads(n)
