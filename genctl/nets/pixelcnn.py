"""Gated masked convolutions in two stacks, so that a pixel sees all pixels above it and those to its left, without a blind spot.

Van den Oord et al. 2016, Conditional image generation with PixelCNN decoders, https://arxiv.org/abs/1606.05328, section 2. The picture
is shifted once, down for the vertical and right for the horizontal stack; every layer then reads `k // 2` places back and its own.

Drawing keeps what does not change: when a row begins, the vertical stack computes that row alone from its last `k // 2` rows; a pixel
computes one column of the horizontal stack from its last `k // 2` columns. The work a pixel is constant.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Caches = dict[str, Tensor]


def gate(x: Tensor) -> Tensor:
    """tanh(a) sigmoid(b) of the two halves of dimension 1 (eq. 2)."""
    a, b = x.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class Layer(nn.Module):
    """One gated layer of both stacks (figure 2)."""

    def __init__(self, channels: int, kernel: int, classes: int) -> None:
        super().__init__()
        self.back = kernel // 2
        self.vertical = nn.Conv2d(channels, 2 * channels, (self.back + 1, kernel), padding=(0, self.back))
        self.horizontal = nn.Linear((self.back + 1) * channels, 2 * channels, bias=False)  # of the last columns and its own, in order
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        self.told = nn.Embedding(classes, 4 * channels) if classes else None

    def forward(self, v: Tensor, h: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """v and h (B, C, H, W) to the same."""
        up, link = self.row(F.pad(v, (0, 0, self.back, 0)), label)
        weight = self.horizontal.weight.view(2 * h.shape[1], -1, 1, h.shape[1]).transpose(1, 3)  # as a convolution's
        across = F.conv2d(F.pad(h, (self.back, 0)), weight) + link
        return up, h + self.out(gate(across))

    def row(self, v: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """From `back` rows and those to compute, (B, C, back + R, W): the new v (B, C, R, W), and what h is told (B, 2C, R, W)."""
        up = self.vertical(v)
        link: Tensor = self.link(up)
        if self.told is not None and label is not None:
            first, second = self.told(label)[:, :, None, None].chunk(2, 1)
            up, link = up + first, link + second
        return gate(up), link

    def pixel(self, h: Tensor, seen: Tensor, link: Tensor) -> Tensor:
        """One column: h (n, C), the last columns and it in a row, seen (n, (back + 1) C), and link (n, 2C); the new h (n, C)."""
        across = torch.addmm(link, seen, self.horizontal.weight.T)
        across[:, : h.shape[1]].tanh_()  # with glu the gate in two operations: a pixel costs as much as it has
        return F.linear(F.glu(across, 1), self.out.weight.flatten(1), self.out.bias).add_(h)


class GatedPixelCNN(nn.Module):
    """(B, inputs, H, W) to the parameters of each pixel, (B, outputs, H, W), a function of the pixels before it in raster order."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: int,
        layers: int,
        kernel: int,
        first: int,
        hidden: int,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.reach, self.channels = first // 2, channels
        self.above = nn.Conv2d(inputs, channels, (self.reach + 1, first), padding=(0, self.reach))
        self.beside = nn.Conv2d(inputs, channels, (1, self.reach + 1))
        self.layers = nn.ModuleList(Layer(channels, kernel, classes) for _ in range(layers))
        self.back = kernel // 2
        self.hidden, self.last = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        down = F.pad(x[:, :, :-1], (0, 0, self.reach + 1, 0))
        right = F.pad(x[:, :, :, :-1], (self.reach + 1, 0))
        v, h = self.above(down), self.beside(right)
        for layer in self.layers:
            v, h = layer(v, h, label)
        h = F.dropout(F.relu(h), self.dropout, self.training) if self.dropout else F.relu(h)
        out: Tensor = self.last(F.relu(self.hidden(h)))
        return out

    # --- drawing ---

    def begin(self, n: int, width: int, label: Tensor | None = None) -> Caches:
        """What is kept before the first pixel of n pictures."""
        w = self.above.weight
        deep = len(self.layers)
        kept = {
            "image": w.new_zeros(n, w.shape[1], self.reach + 1, width),  # the last rows of the picture, all but the current one
            "now": w.new_zeros(n, w.shape[1], width + self.reach + 1),  # the current row, behind `reach + 1` zeros
            "rows": w.new_zeros(n, deep, self.channels, self.back, width),  # the last rows of each vertical layer's input
            "columns": w.new_zeros(n, deep, self.back * self.channels),  # the last columns of each horizontal layer's input
            "links": w.new_zeros(n, width, deep, 2 * self.channels),  # what the vertical stack tells the current row
        }
        return self.row(kept if label is None else {**kept, "label": label})

    def row(self, kept: Caches) -> Caches:
        """The caches at the start of a row: the vertical stack computes it."""
        v = self.above(kept["image"])
        rows, links = [], []
        for k, layer in enumerate(self.layers):
            seen = torch.cat([kept["rows"][:, k], v], 2)
            rows.append(seen[:, :, 1:])
            v, link = layer.row(seen, kept.get("label"))  # type: ignore[operator]
            links.append(link.squeeze(2).transpose(1, 2))
        fresh = {"rows": torch.stack(rows, 1), "links": torch.stack(links, 2)} if rows else {}
        return {**kept, **fresh, "columns": torch.zeros_like(kept["columns"])}

    def pixel(self, kept: Caches, column: int) -> tuple[Tensor, Caches]:
        """The parameters (n, outputs) of the pixel in `column` of the current row, and the caches behind it."""
        window = kept["now"][:, :, column : column + self.reach + 1]
        h = F.linear(window.flatten(1), self.beside.weight.flatten(1), self.beside.bias)
        columns = []
        for layer, before, link in zip(self.layers, kept["columns"].unbind(1), kept["links"][:, column].unbind(1), strict=True):
            seen = torch.cat([before, h], 1)
            columns.append(seen[:, self.channels :])
            h = layer.pixel(h, seen, link)  # type: ignore[operator]
        out = F.relu(F.linear(F.relu(h), self.hidden.weight.flatten(1), self.hidden.bias))
        out = F.linear(out, self.last.weight.flatten(1), self.last.bias)
        return out, {**kept, "columns": torch.stack(columns, 1)} if columns else kept

    def put(self, kept: Caches, column: int, x: Tensor) -> Caches:
        """The caches once the pixel in `column` is known to be x (n, inputs); a full row moves up into the picture."""
        now = kept["now"].clone()
        now[:, :, column + self.reach + 1] = x
        if column + 1 < kept["image"].shape[3]:
            return {**kept, "now": now}
        image = torch.cat([kept["image"][:, :, 1:], now[:, :, None, self.reach + 1 :]], 2)
        return {**kept, "image": image, "now": torch.zeros_like(now)}
