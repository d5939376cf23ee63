"""Pictures read by two-dimensional LSTMs, row by row or diagonal by diagonal, so that a pixel sees those before it in raster order.

Van den Oord, Kalchbrenner and Kavukcuoglu 2016, Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, section 3. What the
picture tells every pixel (input-to-state) is computed at once; the loop over lines is left with what a line tells the next. Features
stand last: (B, H, W, features).

Drawing keeps what a pixel needs: the states of the line before, and of the pixel beside it. The work a pixel is constant.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Caches = dict[str, Tensor]


def around(x: Tensor, dim: int, before: int, behind: int, taps: int) -> Tensor:
    """Each run of `taps` places along `dim`, side by side in the last dimension, with so many zeros before and behind."""
    wide = F.pad(x, [0, 0] * (-1 - dim) + [before, behind])
    return torch.cat([wide.narrow(dim, k, wide.shape[dim] - taps + 1) for k in range(taps)], -1)


def cell(told: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden and cell state (..., H), of gates (..., 4H) before their squashing and the cell state before (eq. 3)."""
    o, f, i, g = told.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def scan(lines: Sequence[Tensor], weight: Tensor, before: int, behind: int, ends: Sequence[tuple[int, int]] = ()) -> Tensor:
    """Hidden states (D, all places, B, H) of lines one after another, in D directions apart.

    lines     (D, places, B, 4H) each: of every gate, what the picture says
    weight    (D, (before + 1 + behind) * H, 4H): how a place reads the places around it on the line before
    ends      how many places fewer at its front, and more at its end, each line has than the one before it
    """
    d, p, b, size = lines[0].shape
    h = c = lines[0].new_zeros(d, p, b, size // 4)
    states = []
    for line, (fewer, more) in zip(lines, ends or [(0, 0)] * len(lines), strict=True):
        read = around(h, -3, before - fewer, behind + more, before + 1 + behind)
        gates = torch.baddbmm(line.flatten(1, 2), read.flatten(1, 2), weight).view_as(line)
        h, c = cell(gates, F.pad(c[:, fewer:], (0, 0, 0, 0, 0, more)))
        states.append(h)
    return torch.cat(states, 1)


def diagonals(height: int, width: int, device: torch.device) -> tuple[Tensor, list[int], list[tuple[int, int]]]:
    """The places of a picture by diagonals, each from the top: their order (H * W,); how many each holds; its `ends` for `scan`."""
    r, c = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    ends = [(0, 0), *((int(j >= width), int(j < height)) for j in range(1, height + width - 1))]
    sizes = [*itertools.accumulate((more - fewer for fewer, more in ends[1:]), initial=1)]
    return ((r + c) * height + r).flatten().argsort(), sizes, ends


class Layer(nn.Module):
    """x (B, H, W, 2h) + a map of the hidden states (B, H, W, h) of an LSTM that reads x (figure 5).

    directions  LSTMs, whose states are added
    reads       places of the row, up to and with its own, that tell a pixel (the masked input-to-state convolution)
    taps        places of the line before that tell it (state-to-state)
    """

    keeps: tuple[str, ...] = ()

    def __init__(self, h: int, classes: int, directions: int, reads: int, taps: int) -> None:
        super().__init__()
        self.h, self.reads = h, reads
        self.see = nn.Linear(2 * h * reads, 4 * h * directions)
        self.weight = nn.Parameter((2 * torch.rand(directions, taps * h, 4 * h) - 1) * (taps * h) ** -0.5)
        self.up = nn.Linear(h, 2 * h)
        self.told = nn.Embedding(classes, 4 * h * directions) if classes else None
        with torch.no_grad():
            self.see.bias.view(directions, 4, h)[:, 1] = 1  # remember at first

    def forward(self, x: Tensor, label: Tensor | None) -> Tensor:
        told = self.see(around(x, -2, self.reads - 1, 0, self.reads))
        if self.told is not None:
            told = told + self.words(label, len(x))[:, None]
        out: Tensor = x + self.up(self.states(told))
        return out

    def states(self, told: Tensor) -> Tensor:
        """Of what the picture tells the gates (B, H, W, directions * 4h): the hidden states (B, H, W, h)."""
        raise NotImplementedError

    def words(self, label: Tensor | None, n: int) -> Tensor:
        """What the label tells the gates of any pixel, (n, 1, directions * 4h)."""
        words: Tensor = self.see.bias.new_zeros(n, len(self.see.bias)) if self.told is None else self.told(label)
        return words[:, None]

    def begin(self, n: int, width: int, words: Tensor) -> Caches:
        """What is kept before the first pixel, under the names in `keeps`."""
        raise NotImplementedError

    def row(self, kept: Caches, words: Tensor) -> Caches:
        """The caches at the start of another row."""
        raise NotImplementedError

    def pixel(self, x: Tensor, column: int, kept: Caches) -> tuple[Tensor, Caches]:
        """x (n, 2h) of the pixel in `column` to the same, and the caches behind it."""
        raise NotImplementedError


class Row(Layer):
    """Row LSTM (section 3.1): a row reads the one above through `kernel` places, so that a pixel sees a triangle above it."""

    keeps = ("above", "h", "c", "seen")

    def __init__(self, h: int, kernel: int, classes: int) -> None:
        super().__init__(h, classes, directions=1, reads=kernel // 2 + 1, taps=kernel)
        self.back = kernel // 2

    def states(self, told: Tensor) -> Tensor:
        lines = told.permute(1, 2, 0, 3)[:, None].unbind(0)  # (1, W, B, 4h) each
        states = scan(lines, self.weight, self.back, self.back)[0]
        return states.view(*told.shape[1:3], len(told), self.h).permute(2, 0, 1, 3)

    def begin(self, n: int, width: int, words: Tensor) -> Caches:
        zeros = words.new_zeros
        return {
            "above": words.expand(n, width, -1),  # what the row above, and the label, tell the gates
            "h": zeros(n, width, self.h),  # of this row so far, and of the one above behind that
            "c": zeros(n, width, self.h),
            "seen": zeros(n, self.back, 2 * self.h),  # the last places of this row that the layer has read
        }

    def row(self, kept: Caches, words: Tensor) -> Caches:
        above = around(kept["h"], -2, self.back, self.back, 2 * self.back + 1) @ self.weight[0] + words
        return {**kept, "above": above, "seen": torch.zeros_like(kept["seen"])}

    def pixel(self, x: Tensor, column: int, kept: Caches) -> tuple[Tensor, Caches]:
        seen = torch.cat([kept["seen"], x[:, None]], 1)
        h, c = cell(self.see(seen.flatten(1)) + kept["above"][:, column], kept["c"][:, column])
        return x + self.up(h), {**kept, "h": put(kept["h"], column, h), "c": put(kept["c"], column, c), "seen": seen[:, 1:]}


class Diagonal(Layer):
    """Diagonal BiLSTM (section 3.2): one LSTM comes from above and from the left, and one, a row higher, from above and from the right."""

    keeps = ("above", "left", "c", "right", "seen")

    def __init__(self, h: int, classes: int) -> None:
        super().__init__(h, classes, directions=2, reads=1, taps=2)

    def states(self, told: Tensor) -> Tensor:
        n, height, width, _ = told.shape
        order, sizes, ends = diagonals(height, width, told.device)
        left, right = told.chunk(2, -1)
        both = torch.stack([left, right.flip(2)]).flatten(2, 3).transpose(1, 2)  # (2, H * W, B, 4h), the right one mirrored
        lines = torch.split(both.index_select(1, order), sizes, 1)
        states = scan(lines, self.weight, 1, 0, ends).index_select(1, order.argsort())
        left, right = states.transpose(1, 2).reshape(2, n, height, width, self.h)
        out: Tensor = left + F.pad(right.flip(2)[:, :-1], (0, 0, 0, 0, 1, 0))
        return out

    def side(self, x: Tensor, d: int) -> Tensor:
        """What x (..., 2h) tells the gates of the left (0) or the right (1) LSTM."""
        part = slice(4 * self.h * d, 4 * self.h * (d + 1))
        return F.linear(x, self.see.weight[part], self.see.bias[part])

    def begin(self, n: int, width: int, words: Tensor) -> Caches:
        zeros = words.new_zeros
        return {
            "above": words[..., : 4 * self.h].expand(n, width, -1),  # what the row above, and the label, tell the left gates
            "left": zeros(n, width, self.h),  # of this row so far, and of the one above behind that
            "c": zeros(n, self.h),
            "right": zeros(n, width, self.h),  # of the row above
            "seen": zeros(n, width, 2 * self.h),  # what the layer has read of this row
        }

    def row(self, kept: Caches, words: Tensor) -> Caches:
        """The right LSTM reads the row that is whole now, from its end."""
        above, beside = self.weight.chunk(2, 1)
        told = self.side(kept["seen"], 1) + kept["right"] @ above[1] + words[..., 4 * self.h :]
        h = c = torch.zeros_like(kept["c"])
        right = []
        for line in reversed(told.unbind(1)):
            h, c = cell(torch.addmm(line, h, beside[1]), c)
            right.append(h)
        told = kept["left"] @ above[0] + words[..., : 4 * self.h]
        return {**kept, "above": told, "c": torch.zeros_like(c), "right": torch.stack(right[::-1], 1)}

    def pixel(self, x: Tensor, column: int, kept: Caches) -> tuple[Tensor, Caches]:
        told = self.side(x, 0) + kept["above"][:, column]
        if column:
            told = torch.addmm(told, kept["left"][:, column - 1], self.weight[0, self.h :])
        h, c = cell(told, kept["c"])
        out = x + self.up(h + kept["right"][:, column])
        return out, {**kept, "left": put(kept["left"], column, h), "c": c, "seen": put(kept["seen"], column, x)}


def put(row: Tensor, column: int, x: Tensor) -> Tensor:
    """A copy of (n, W, C) with x (n, C) in `column`."""
    row = row.clone()
    row[:, column] = x
    return row


class PixelRNN(nn.Module):
    """(B, inputs, H, W) to the parameters of each pixel, (B, outputs, H, W), a function of the pixels before it in raster order."""

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        h: int,
        layers: int,
        layer: Literal["row", "diagonal"],
        kernel: int,
        first: int,
        hidden: int,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.reach = first // 2
        self.first = nn.Conv2d(inputs, 2 * h, (self.reach + 1, first))
        self.register_buffer("mask", torch.ones(self.reach + 1, first), persistent=False)  # mask A: what stands before a pixel
        self.mask[-1, self.reach :] = 0
        self.layers = nn.ModuleList(Row(h, kernel, classes) if layer == "row" else Diagonal(h, classes) for _ in range(layers))
        self.hidden, self.last = nn.Linear(2 * h, hidden), nn.Linear(hidden, outputs)
        self.behind = int(layer == "diagonal")  # columns behind the picture, so that the last pixel of a row is told to the next one

    def read(self, x: Tensor) -> Tensor:
        """The first convolution: (B, inputs, H, W) to (B, H, W + behind, 2h)."""
        wide = F.pad(x, (self.reach, self.reach + self.behind, self.reach, 0))
        return F.conv2d(wide, self.first.weight * self.mask, self.first.bias).permute(0, 2, 3, 1)

    def say(self, x: Tensor) -> Tensor:
        """Features (..., 2h) to parameters (..., outputs)."""
        out: Tensor = self.last(F.relu(self.hidden(F.relu(x))))
        return out

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        h = self.read(x)
        for layer in self.layers:
            h = layer(h, label)
        return self.say(h[:, :, : x.shape[3]]).permute(0, 3, 1, 2)

    # --- drawing ---

    def begin(self, n: int, width: int, label: Tensor | None = None) -> Caches:
        """What is kept before the first pixel of n pictures."""
        w, said, width = self.first.weight, {} if label is None else {"label": label}, width + self.behind
        kept = {"image": w.new_zeros(n, w.shape[1], self.reach + 1, width + 2 * self.reach), **said}  # its last rows, in zeros
        for i, layer in enumerate(self.layers):
            kept |= named(i, layer.begin(n, width, layer.words(label, n)))  # type: ignore[operator]
        return kept

    def row(self, kept: Caches) -> Caches:
        """The caches at the start of another row."""
        image = kept["image"]
        if self.behind:
            _, kept = self.pixel(kept, image.shape[3] - 2 * self.reach - 1)
        kept = {**kept, "image": torch.cat([image[:, :, 1:], torch.zeros_like(image[:, :, :1])], 2)}
        for i, layer in enumerate(self.layers):
            words = layer.words(kept.get("label"), len(image))  # type: ignore[operator]
            kept |= named(i, layer.row({k: kept[f"{k}{i}"] for k in layer.keeps}, words))  # type: ignore[operator,union-attr]
        return kept

    def pixel(self, kept: Caches, column: int) -> tuple[Tensor, Caches]:
        """The parameters (n, outputs) of the pixel in `column` of the current row, and the caches behind it."""
        window = kept["image"][..., column : column + 2 * self.reach + 1]  # zero, as the mask is, where nothing is drawn yet
        h, kept = F.linear(window.flatten(1), self.first.weight.flatten(1), self.first.bias), dict(kept)
        for i, layer in enumerate(self.layers):
            h, new = layer.pixel(h, column, {k: kept[f"{k}{i}"] for k in layer.keeps})  # type: ignore[operator,union-attr]
            kept |= named(i, new)
        return self.say(h), kept

    def put(self, kept: Caches, column: int, x: Tensor) -> Caches:
        """The caches once the pixel in `column` is known to be x (n, inputs)."""
        image = kept["image"].clone()
        image[:, :, -1, column + self.reach] = x
        return {**kept, "image": image}


def named(i: int, kept: Mapping[str, Tensor]) -> Caches:
    return {f"{k}{i}": v for k, v in kept.items()}
