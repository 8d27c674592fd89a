"""Plots as SVG text: horizontal bars with intervals, in groups, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LABEL_WIDTH, _BAR_HEIGHT, _GAP, _TOP = 760, 210, 18, 10, 46
# Blue for what the page is about, greys for what it is compared with; told apart without colour too.
_COLOURS = ("#2f6fde", "#8a8f98", "#b9bdc4", "#d7dadf")


@dataclass(frozen=True, slots=True)
class Bar:
    """A value of a series with its interval; low and high are the value itself where there is none."""

    series: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that stand together under one label."""

    label: str
    bars: tuple[Bar, ...]


def bar_chart(title: str, groups: Sequence[Group], *, digits: int = 3) -> str:
    """Return a chart; the axis begins at 0, or below it where a value does."""
    least = min([0.0, *(bar.low for group in groups for bar in group.bars)])
    most = max([1e-9, *(bar.high for group in groups for bar in group.bars)])
    scale = (_WIDTH - _LABEL_WIDTH - 70) / (most - least)
    series = list(dict.fromkeys(bar.series for group in groups for bar in group.bars))
    colours = {name: _COLOURS[min(number, len(_COLOURS) - 1)] for number, name in enumerate(series)}
    parts: list[str] = []
    y = float(_TOP + (18 if len(series) > 1 else 0))
    for group in groups:
        middle = y + len(group.bars) * _BAR_HEIGHT / 2 + 4
        parts.append(_text(_LABEL_WIDTH - 8, middle, group.label, anchor="end"))
        for bar in group.bars:
            parts += _bar(bar, y, colours[bar.series], least, scale, digits)
            y += _BAR_HEIGHT
        y += _GAP
    legend = _legend(series, colours) if len(series) > 1 else []
    return _document(title, [*legend, *parts], int(y))


def _bar(bar: Bar, y: float, colour: str, least: float, scale: float, digits: int) -> list[str]:
    zero, end = _LABEL_WIDTH - least * scale, _LABEL_WIDTH + (bar.value - least) * scale
    low, high = (_LABEL_WIDTH + (bound - least) * scale for bound in (bar.low, bar.high))
    middle = y + _BAR_HEIGHT / 2
    drawn = [
        f'<rect x="{min(zero, end):.1f}" y="{y + 2:.1f}" width="{abs(end - zero):.1f}" '
        f'height="{_BAR_HEIGHT - 4}" fill="{colour}"/>'
    ]
    if high > low:
        drawn.append(f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" class="interval"/>')
    return [*drawn, _text(max(high, end) + 6, middle + 4, f"{bar.value:.{digits}f}")]


def _legend(series: Sequence[str], colours: dict[str, str]) -> list[str]:
    parts, x = [], float(_LABEL_WIDTH)
    for name in series:
        parts.append(f'<rect x="{x:.1f}" y="{_TOP - 10}" width="12" height="12" fill="{colours[name]}"/>')
        parts.append(_text(x + 18, _TOP, name))
        x += 34 + 7.2 * len(name)
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, parts: Sequence[str], height: int) -> str:
    style = (
        "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}"
        ".interval{stroke:#24292f;stroke-width:2}"
        "@media(prefers-color-scheme:dark){text{fill:#d8dee6}.interval{stroke:#d8dee6}}"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">'
    )
    label = f'<text x="8" y="20" class="title">{escape(title)}</text>'
    return (
        "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{style}</style>", label, *parts, "</svg>"]) + "\n"
    )
