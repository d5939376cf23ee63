"""doctor: what this machine, this Python and this environment are."""

import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

import torch

import genctl
from genctl import catalog, device

PACKAGES = ("torch", "typer", "rich", "pyyaml", "safetensors", "numpy", "pydantic", "pillow", "scikit-learn")
VARIABLES = ("GENCTL_DATA", "GENCTL_CACHE", "GENCTL_RUNS", "GENCTL_INCEPTION_WEIGHTS", "GENCTL_DEBUG", "NO_COLOR", "CI")


def doctor() -> dict[str, Any]:
    """Facts by name."""
    found: dict[str, Any] = {
        "genctl": genctl.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    found["cpu"] = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used; bf16 {'yes' if device.cpu_has('bf16') else 'no: refused'}, fp16 {'yes' if device.cpu_has('fp16') else 'no: refused'}"
    )
    found["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "not available"
    found["mps"] = "available" if torch.backends.mps.is_available() else "not available"
    found["device auto"] = device.resolve("auto").why
    found["cache"] = str(catalog.cache_home())
    root = os.environ.get("GENCTL_DATA")
    if root and Path(root).is_dir():
        found["data"] = ", ".join(sorted(p.name for p in Path(root).iterdir() if p.is_dir()))
    return found | {f"${k}": os.environ.get(k, "not set") for k in VARIABLES}
