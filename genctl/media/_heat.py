"""Heat maps: numbers as colours, beside what they belong to; as tensors for a PNG, as PNGs with text, and as one HTML page without scripts."""

import base64
import html
import io
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genctl.errors import safe_text
from genctl.media import image

Colour = tuple[int, int, int]
BLUE, RED = (20, 60, 160), (214, 39, 40)
WIDE, LINE, PAD = 900, 22, 3  # of a picture of text, in pixels
SIGNS = {" ": "·", "\n": "¶"}  # where a symbol stands alone
RUNNING = {"\n": "¶\n"}  # where it stands in its text
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }}
.text {{ font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9 }}
table {{ border-collapse: collapse; font: 11px ui-monospace, monospace }}
td {{ width: 14px; height: 14px; padding: 0; border: 1px solid #eee }}
th {{ font-weight: normal; text-align: right; padding: 0 4px; white-space: pre }}
thead th {{ writing-mode: vertical-rl; text-align: left; padding: 4px 0 }}
figure {{ display: inline-block; margin: 0 8px 8px 0 }}
figure img {{ width: 110px; image-rendering: pixelated; border: 1px solid #ddd }}
figcaption {{ font-size: 11px }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def shade(values: Tensor, colour: Colour) -> Tensor:
    """Values (...) in [0, 1] as colours (3, ...) in [0, 1]: from white to `colour`."""
    end = torch.tensor(colour).view(3, *[1] * values.ndim) / 255
    return 1 + values.clamp(0, 1)[None] * (end - 1)


def css(value: float, colour: Colour) -> str:
    """The same as a style: dark letters on light, light ones on dark."""
    red, green, blue = (round(255 * v) for v in shade(torch.tensor(value), colour).tolist())
    return f"background:rgb({red},{green},{blue});color:{'#fff' if value > 0.6 else '#222'}"


def relative(values: Tensor) -> Tensor:
    """Values (..., S) as shares of the largest of their row."""
    return values / values.amax(-1, keepdim=True).clamp(min=1e-12)


# --- PNG ---


def passage(words: Sequence[str], values: Tensor, colour: Colour) -> Tensor:
    """(3, H, W): words one after another, each on the colour of its value in [0, 1]."""
    font, places, x, y = ImageFont.load_default(14), [], PAD, PAD
    for word in words:
        wide = int(font.getlength(word)) + 2 * PAD
        if x + wide > WIDE - PAD and x > PAD:
            x, y = PAD, y + LINE
        places.append((x, y, wide))
        x += wide + 1
    drawn = Image.new("RGB", (WIDE, y + LINE + PAD), "white")
    pen = ImageDraw.Draw(drawn)
    for word, value, (x, y, wide) in zip(words, values.tolist(), places, strict=True):
        back = tuple(round(255 * v) for v in shade(torch.tensor(value), colour).tolist())
        pen.rectangle((x, y, x + wide, y + LINE - 2), fill=back)
        pen.text((x + PAD, y + 2), word, fill="white" if value > 0.6 else "black", font=font)
    return torch.frombuffer(bytearray(drawn.tobytes()), dtype=torch.uint8).view(drawn.height, drawn.width, 3).permute(2, 0, 1) / 255


# --- HTML: every text is escaped, nothing comes from elsewhere ---


def page(title: str, parts: Sequence[str]) -> str:
    return PAGE.format(title=html.escape(title), body="\n".join(parts))


def heading(text: str, note: str) -> str:
    return f"<h2>{html.escape(text)}</h2>\n<p>{html.escape(note)}</p>"


def text(words: Sequence[str], values: Tensor, said: Sequence[str], colour: Colour) -> str:
    """Words on the colours of their values in [0, 1]; what is `said` of each appears under the pointer."""
    spans = [
        f'<span style="{css(v, colour)}" title="{html.escape(s)}">{html.escape(w)}</span>'
        for w, v, s in zip(words, values.tolist(), said, strict=True)
    ]
    return f'<div class="text">{"".join(spans)}</div>'


def table(values: Tensor, words: Sequence[str], colour: Colour) -> str:
    """A square of values (S, S), each row on colours up to its largest, with its words at both sides."""
    names = [html.escape(w) for w in words]
    head = "".join(f"<th>{n}</th>" for n in names)
    rows = [
        f"<tr><th>{n}</th>"
        + "".join(f'<td style="{css(v, colour)}" title="{n} &larr; {m}: {v:.3f}"></td>' for v, m in zip(row, names))
        + "</tr>"
        for n, row, shares in zip(names, values.tolist(), relative(values).tolist(), strict=True)
    ]
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def figure(values: Tensor, caption: str, colour: Colour) -> str:
    """Values (S, S) in [0, 1] as a picture within the page."""
    data = io.BytesIO()
    image.to_pil(shade(values, colour)).save(data, "PNG")
    return f'<figure><img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def shown(piece: str, signs: dict[str, str] = SIGNS) -> str:
    """A symbol as it can be read: spaces and line ends have signs, what is not printable is escaped."""
    return "".join(signs.get(c) or safe_text(c) for c in piece) or "∅"
