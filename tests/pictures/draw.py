#!/usr/bin/env python3
"""Draws a dashboard's panels from data that was asked for with its queries, as a page that needs nothing from elsewhere. It is not
Grafana and only resembles it: it shows what there is to see.

Reads JSON from standard input: {"dashboard", "store", "start", "end", "data": {panel's title: [series of its first query, …]}};
writes the page to standard output.
"""

import html
import json
import math
import sys

COLORS = ["#3274d9", "#56a64b", "#e0752d", "#a352cc", "#e02f44", "#1f9e9a", "#b8860b", "#8f3bb8", "#6b7280", "#c15c17"]
COLUMN, ROW, GAP = 45, 28, 8


def shown(value: float, unit: str, decimals=None) -> str:
    """A value as a person would say it."""
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %".replace(".0 %", " %")
    if unit == "currencyUSD":
        return f"${value:.{2 if decimals is None else decimals}f}"
    if unit == "bytes":
        for size, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} B"
    if unit == "s":
        if 0 < value < 1:
            return f"{value * 1000:.3g} ms"
        for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
            if value >= 2 * size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s"
    text = f"{value:.{decimals}f}" if decimals is not None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return text + {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")


def name(legend: str, labels: dict) -> str:
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return "none" if legend.startswith("{{") else legend


def series(panel: dict, data: list) -> list:
    """(name, points) of each line; a point is (time, value)."""
    found = []
    for target, lines in zip(panel["targets"], data):
        for line in sorted(lines, key=lambda line: sorted(line["metric"].items())):
            points = [(float(at), float(value)) for at, value in line["values"]]
            found.append((name(target["legendFormat"], line["metric"]), [point for point in points if math.isfinite(point[1])]))
    return [entry for entry in found if entry[1]]


def top_of(values: list) -> float:
    """A round number that is not below any of these."""
    highest = max(values, default=0) or 1
    power = 10 ** math.floor(math.log10(highest))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= highest * 0.999)


def chart(panel: dict, lines: list, start: float, end: float, width: int, height: int) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    unit, custom = defaults["unit"], defaults["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    below: dict = {}
    areas = []
    for number, (label, points) in enumerate(lines):
        base = [(at, below.get(at, 0.0) if stacked else 0.0) for at, _ in points]
        points = [(at, value + under) for (at, value), (_, under) in zip(points, base)]
        below.update(points)
        areas.append((COLORS[number % len(COLORS)], points, base))
    top = top_of([value for _, points, _ in areas for _, value in points])
    left, bottom, right = 62, 18, 6
    x = lambda at: left + (at - start) / (end - start) * (width - left - right)
    y = lambda value: 6 + (1 - min(value / top, 1)) * (height - bottom - 6)
    out = []
    for share in (0, 0.5, 1):
        at = y(top * share)
        out.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text x="{left - 5}" y="{at + 4:.1f}" text-anchor="end">{shown(top * share, unit)}</text>')
    for share, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        at = start + (end - start) * share
        out.append(f'<text x="{x(at):.1f}" y="{height - 4}" text-anchor="{anchor}">{shown(at - start, "s")}</text>')
    path = lambda points: " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    opacity = custom.get("fillOpacity", 0) / 100
    for color, points, base in areas:
        out.append(f'<polygon points="{path(points)} {path(base[::-1])}" fill="{color}" fill-opacity="{opacity}"/>')
        out.append(f'<polyline points="{path(points)}" stroke="{color}"/>')
    if custom.get("thresholdsStyle", {}).get("mode") == "line":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= top:
                out.append(f'<line class="limit" x1="{left}" x2="{width - right}" y1="{y(step["value"]):.1f}" y2="{y(step["value"]):.1f}"/>')
    return f'<svg width="{width}" height="{height}">{"".join(out)}</svg>'


def legend(lines: list) -> str:
    dots = [f'<span><i style="background:{COLORS[number % len(COLORS)]}"></i>{html.escape(label)}</span>' for number, (label, _) in enumerate(lines)]
    return f'<div class="legend">{"".join(dots)}</div>'


def figure(panel: dict, lines: list) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    out = []
    for _, points in lines:
        value, color = points[-1][1], "text"
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is None or value >= step["value"]:
                color = step["color"]
        color = {"text": "#1f2430", "green": "#37872d", "orange": "#e0752d", "red": "#c4162a"}[color]
        out.append(f'<div class="figure" style="color:{color}">{shown(value, defaults["unit"], defaults.get("decimals"))}</div>')
    return "".join(out)


def box(panel: dict, data: dict, start: float, end: float) -> str:
    at = panel["gridPos"]
    place = f'left:{at["x"] * COLUMN}px;top:{at["y"] * ROW}px;width:{at["w"] * COLUMN - GAP}px;height:{at["h"] * ROW - GAP}px'
    if panel["type"] == "row":
        return f'<h2 style="{place}">{html.escape(panel["title"])}</h2>'
    lines = series(panel, data.get(panel["title"], []))
    if panel["type"] == "stat":
        body = figure(panel, lines)
    else:
        body = chart(panel, lines, start, end, at["w"] * COLUMN - GAP - 14, at["h"] * ROW - GAP - 70) + legend(lines)
    return f'<section style="{place}"><h3>{html.escape(panel["title"])}</h3>{body if lines else "<p>no data</p>"}</section>'


STYLE = """
body { margin: 0; padding: 12px; width: 1080px; background: #f4f5f5; color: #1f2430; font: 12px sans-serif }
h1 { font-size: 20px; margin: 0 } .note { margin: 2px 0 8px; color: #555 }
main { position: relative } main > * { position: absolute; box-sizing: border-box; overflow: hidden }
h2 { font-size: 14px; margin: 0; line-height: 22px } section { background: #fff; border: 1px solid #dcdee0; padding: 4px 6px }
h3 { font-size: 12px; margin: 0 0 4px } svg { display: block } polyline { fill: none; stroke-width: 1.5 } .grid { stroke: #e7e8ea }
.limit { stroke: #c4162a; stroke-dasharray: 6 4 } svg text { font-size: 10px; fill: #555 } .figure { font-size: 26px; text-align: center; padding-top: 16px }
.legend { max-height: 42px; overflow: hidden; line-height: 14px; font-size: 11px } .legend span { margin-right: 10px; white-space: nowrap }
.legend i { display: inline-block; width: 10px; height: 3px; margin-right: 4px; vertical-align: middle }
"""


def page(given: dict) -> str:
    board, start, end = given["dashboard"], given["start"], given["end"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) * ROW
    boxes = "".join(box(panel, given["data"], start, end) for panel in board["panels"])
    note = f"Drawn from the dashboard’s JSON and from what {html.escape(given['store'])} answers to its queries. This is not Grafana."
    return (f'<!doctype html><meta charset="utf-8"><title>{html.escape(board["title"])}</title><style>{STYLE}</style>'
            f'<h1>{html.escape(board["title"])}</h1><p class="note">{note}</p><main style="height:{height}px">{boxes}</main>')


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    print(page(json.load(sys.stdin)))
