"""The convolutions of VGG-19, whose activations say what is in a picture and what it is made of.

Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556, configuration E. The weights that are usually meant were learned on
ImageNet: a safetensors file in torchvision's layout (`features.0.weight`, ...). Without them the filters are random, which tells textures
apart almost as well (Ustyuzhaninov et al. 2016, https://arxiv.org/abs/1606.00021).
"""

import itertools
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.errors import GenctlError, safe_text

DEPTHS = (2, 2, 4, 4, 4)  # convolutions between halvings
NAMES = [f"conv{block + 1}_{k + 1}" for block, depth in enumerate(DEPTHS) for k in range(depth)]
KEYS = [sum(2 * d + 1 for d in DEPTHS[:block]) + 2 * k for block, depth in enumerate(DEPTHS) for k in range(depth)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
WIDTH = 64


class VGG(nn.Module):
    """(B, 3 or 1, H, W) in [0, 1] -> {layer: (B, C, H', W')}, the activations of the layers named. Never trained.

    last     the deepest layer that is asked for, as in conv5_1
    width    channels of the first block, 64 in the paper; each block has twice as many as the one before, at most eight times that
    """

    mean: Tensor
    std: Tensor

    def __init__(self, last: str, width: int = WIDTH) -> None:
        super().__init__()
        count = NAMES.index(last) + 1
        blocks = [int(name[4]) - 1 for name in NAMES[:count]]
        widths = [3, *(width * min(2**b, 8) for b in blocks)]
        self.before = blocks
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths)])
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            with torch.no_grad():
                nn.init.kaiming_normal_(conv.weight)
                conv.weight -= conv.weight.mean(
                    (1, 2, 3), keepdim=True
                )  # blind to how bright all is: the mean of ReLUs would drown the rest
                conv.bias.zero_()
        self.requires_grad_(False)

    def forward(self, x: Tensor, layers: frozenset[str]) -> dict[str, Tensor]:
        x = (x.expand(-1, 3, -1, -1) - self.mean) / self.std
        found, block = {}, 0
        for name, conv, here in zip(NAMES, self.convs, self.before, strict=False):
            if here > block and min(x.shape[2:]) > 1:
                x = F.avg_pool2d(x, 2)  # Gatys et al. 2016, section 2: averages give smoother pictures than maxima
            block = here
            x = F.relu(conv(x))
            if name in layers:
                found[name] = x
        return found

    def read(self, path: str) -> None:
        """Takes the weights of a file. Raises GenctlError (no-input, data-format)."""
        place = Path(path).expanduser()
        try:
            held = safetensors.torch.load_file(place)
            for key, conv in zip(KEYS, self.convs, strict=False):
                for part in ("weight", "bias"):
                    tensor = held[f"features.{key}.{part}"]
                    own = getattr(conv, part)
                    if tensor.shape != own.shape:
                        raise ValueError(f"features.{key}.{part} is {list(tensor.shape)}, wanted {list(own.shape)}")
                    own.copy_(tensor)
        except FileNotFoundError:
            raise GenctlError("no-input", f"model.weights: nothing at {safe_text(place)}", "leave it empty for random filters") from None
        except Exception as e:  # whatever a damaged file makes the reader say
            what = f"{safe_text(place)}: not VGG-19 in safetensors, as torchvision names it: {safe_text(e)}"
            raise GenctlError("data-format", what, "features.0.weight to features.28.weight") from None
