# SPDX-License-Identifier: Apache-2.0
"""Pictures as SVG: a few shapes with positions in pixels from the top left corner."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

# Distinct at a glance, also for most who see colours differently (after Paul Tol's "muted" and "light").
COLORS = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#ddcc77", "#cc6677", "#882255", "#aa4499",
    "#77aadd", "#ee8866", "#bbcc33", "#99ddff", "#ffaabb", "#aaaa00",
)  # fmt: skip
GREY = "#bbbbbb"


class Picture:
    """Shapes on a white ground; ``str`` gives the file."""

    def __init__(self, width: float, height: float):
        self.width, self.height = width, height
        self._shapes: list[str] = []

    def rectangle(
        self, x: float, y: float, width: float, height: float, color: str, opacity: float = 1, title: str = ""
    ) -> None:
        """A filled rectangle. ``title`` is what viewers show when the pointer rests on it."""
        place = f'x="{x:.2f}" y="{y:.2f}" width="{max(width, 0):.2f}" height="{max(height, 0):.2f}"'
        fill = f"fill={quoteattr(color)}" + (f' fill-opacity="{opacity:g}"' if opacity < 1 else "")
        inside = f"<title>{escape(title)}</title>" if title else ""
        self._shapes.append(f"<rect {place} {fill}>{inside}</rect>")

    def circle(self, x: float, y: float, radius: float, color: str, title: str = "") -> None:
        """A filled circle; ``title`` as for rectangles."""
        inside = f"<title>{escape(title)}</title>" if title else ""
        place = f'cx="{x:.2f}" cy="{y:.2f}" r="{radius:g}"'
        self._shapes.append(f"<circle {place} fill={quoteattr(color)}>{inside}</circle>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, color: str = "#444444", width: float = 1
    ) -> None:
        """A line, ``width`` pixels wide."""
        place = f'x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
        thick = f' stroke-width="{width:g}"' if width != 1 else ""
        self._shapes.append(f"<line {place} stroke={quoteattr(color)}{thick}/>")

    def text(
        self, x: float, y: float, text: str, size: float = 12, anchor: str = "start", color: str = "#000000"
    ) -> None:
        """Text whose base line begins ("start"), is centred ("middle") or ends ("end") at a place."""
        style = f'font-size="{size:g}" text-anchor="{anchor}" fill={quoteattr(color)}'
        self._shapes.append(f'<text x="{x:.2f}" y="{y:.2f}" {style}>{escape(text)}</text>')

    def __str__(self) -> str:
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        begin = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
        ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
        return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', begin, ground, *self._shapes, "</svg>\n"])
