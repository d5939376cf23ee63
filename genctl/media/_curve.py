"""A curve of shares: a point for each of a few counts, side by side, with its standard error, as a PNG."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

from genctl.media import Note, vector

WIDE, HIGH, LEFT, TOP = 420, 260, 50, 20
POINT = 3


def drawn(points: Mapping[int, tuple[float, float]], chance: float, names: tuple[str, str]) -> Image.Image:
    """count -> (share in 0 to 1, its standard error); a grey line at `chance`; names of the two axes."""
    picture = Image.new("RGB", (LEFT + WIDE + TOP, TOP + HIGH + 45), "white")
    pen = ImageDraw.Draw(picture)

    def height(share: float) -> float:
        return TOP + (1 - share) * HIGH

    pen.rectangle((LEFT, TOP, LEFT + WIDE, TOP + HIGH), outline="lightgrey")
    for share in (0, 0.25, 0.5, 0.75, 1):
        pen.text((LEFT - 30, height(share) - 6), f"{share:g}", fill="grey")
    pen.line((LEFT, height(chance), LEFT + WIDE, height(chance)), fill="grey")
    pen.text((LEFT + WIDE - 40, height(chance) - 13), "chance", fill="grey")
    step, colour = WIDE / len(points), vector.COLOURS[0]
    places = [(LEFT + (i + 0.5) * step, height(share)) for i, (share, _) in enumerate(points.values())]
    pen.line(places, fill=colour, width=2)
    for (x, y), (count, (share, se)) in zip(places, points.items(), strict=True):
        pen.line((x, height(min(1, share + se)), x, height(max(0, share - se))), fill=colour)
        pen.ellipse((x - POINT, y - POINT, x + POINT, y + POINT), fill=colour)
        pen.text((x - 3 * len(str(count)), TOP + HIGH + 4), str(count), fill="grey")
    pen.text((LEFT, TOP + HIGH + 22), names[0], fill="black")
    pen.text((LEFT, TOP - 16), names[1], fill="black")
    return picture


def save(points: Mapping[int, tuple[float, float]], chance: float, names: tuple[str, str], stem: Path, note: Note | None = None) -> Path:
    """`drawn` at `stem` plus .png."""
    return vector.save(drawn(points, chance, names), stem.with_suffix(".png"), note)
