"""Line charts as SVG, written by hand: no library, no script, no font and nothing from another host.

Colours are told apart by those who see few of them (Okabe and Ito 2008), and every line has a dash pattern as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from worker.curves import Curve

WIDTH, HEIGHT = 480, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 48
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 4", "1 4")
TICKS = 5


@dataclass(frozen=True, slots=True)
class Series:
    """One line with its name; ``dots`` marks its points."""

    name: str
    curve: Curve
    dots: bool = False


def chart(
    title: str,
    series: list[Series],
    *,
    x: str,
    y: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    diagonal: bool = False,
    level: float | None = None,
) -> str:
    """Return a chart as an SVG document. ``diagonal`` and ``level`` draw a thin line to compare with."""
    legend = 18 * len(series)
    place = _Scale(x_range, y_range)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + legend}" width="{WIDTH}" '
        f'height="{HEIGHT + legend}" role="img" aria-label={quoteattr(title)} font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT + legend}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        *_axes(place, x, y),
    ]
    if diagonal:
        low, high = max(x_range[0], y_range[0]), min(x_range[1], y_range[1])
        parts.append(_line(place.points([low, high], [low, high]), "#888888", "3 3", 1))
    if level is not None:
        parts.append(_line(place.points(list(x_range), [level, level]), "#888888", "3 3", 1))
    for number, each in enumerate(series):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        points = place.points(each.curve.x.tolist(), each.curve.y.tolist())
        parts.append(_line(points, colour, dash, 2))
        if each.dots:
            parts += [f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in points]
        at = HEIGHT + 18 * number
        parts.append(_line([(str(LEFT), str(at)), (str(LEFT + 32), str(at))], colour, dash, 2))
        parts.append(f'<text x="{LEFT + 40}" y="{at + 4}">{escape(each.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """From values to drawing units."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range, self.y_range = x_range, y_range

    def points(self, xs: list[float], ys: list[float]) -> list[tuple[str, str]]:
        return [(f"{self.x(one):.1f}", f"{self.y(other):.1f}") for one, other in zip(xs, ys, strict=True)]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM)


def _axes(place: _Scale, x: str, y: str) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        share = tick / TICKS
        across = place.x_range[0] + share * (place.x_range[1] - place.x_range[0])
        up = place.y_range[0] + share * (place.y_range[1] - place.y_range[0])
        px, py = f"{place.x(across):.1f}", f"{place.y(up):.1f}"
        parts += [
            f'<line x1="{px}" y1="{TOP}" x2="{px}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>',
            f'<line x1="{LEFT}" y1="{py}" x2="{WIDTH - RIGHT}" y2="{py}" stroke="#e4e4e4"/>',
            f'<text x="{px}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{across:.3g}</text>',
            f'<text x="{LEFT - 6}" y="{float(py) + 4:.1f}" text-anchor="end">{up:.3g}</text>',
        ]
    centre, middle = f"{(LEFT + WIDTH - RIGHT) / 2:.1f}", f"{(TOP + HEIGHT - BOTTOM) / 2:.1f}"
    return [
        *parts,
        f'<text x="{centre}" y="{HEIGHT - BOTTOM + 34}" text-anchor="middle">{escape(x)}</text>',
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y)}</text>',
    ]


def _line(points: list[tuple[str, str]], colour: str, dash: str, width: int) -> str:
    drawn = " ".join(f"{x},{y}" for x, y in points)
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{width}"{pattern}/>'
