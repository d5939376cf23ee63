"""genctl: train, sample and score every family of generative model from one command line.

The Python API is three lines::

    import genctl
    model = genctl.load("runs/vae-digits")
    images = model.sample(16, seed=0)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genctl.tasks.sample import Sampler as Sampler

__version__ = "0.1.0"


def load(path: str, device: str = "cpu") -> "Sampler":
    """A trained model from a run, a checkpoint directory or one safetensors file, ready to sample.

    Raises GenctlError (ids ckpt-*, no-input) when the file is missing, damaged or not genctl's.
    """
    from genctl.tasks.sample import Sampler

    return Sampler.load(path, device)


def __dir__() -> list[str]:
    return ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "GenctlError":
        from genctl.errors import GenctlError

        return GenctlError
    raise AttributeError(f"module 'genctl' has no attribute {name!r}")
