# SPDX-License-Identifier: Apache-2.0
"""The benchmark's chart: one row a line, how many times the best peer's speed, on a logarithmic axis."""

import math
from html import escape

WIDTH, LABEL, LINE, TOP = 960, 360, 34, 64


def write(path, report):
    rows = [r for r in report["rows"] if "ratio" in r]
    height = TOP + LINE * max(1, len(rows)) + 40
    top = max([4.0, *(1.3 * max(r["ratio"], r["bar"]) for r in rows)])
    low = min([0.5, *(r["ratio"] / 1.3 for r in rows)])

    def x(value):
        return LABEL + (WIDTH - LABEL - 90) * math.log(value / low) / math.log(top / low)

    versions = report["versions"]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
           '<text x="16" y="24" font-size="16" font-weight="bold">hyperhost convert, times the best peer\'s speed</text>',
           f'<text x="16" y="44" fill="#555">{escape(versions.get("qemu-img", ""))}; {escape(versions["machine"])}; '
           f'medians of {report["runs"]}{"; quick disk" if report["quick"] else ""}</text>']
    for tick in (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256):
        if low <= tick <= top:
            strong = tick == 1
            out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{height - 34}" '
                       f'stroke="{"#333" if strong else "#ddd"}"/>')
            out.append(f'<text x="{x(tick):.1f}" y="{height - 16}" text-anchor="middle" fill="#555">{tick:g}×</text>')
    for index, r in enumerate(rows):
        y = TOP + LINE * index
        left, right = sorted((x(1), x(r["ratio"])))
        colour = "#b3452c" if r["missed"] else "#2c7a4b"
        out.append(f'<text x="{LABEL - 12}" y="{y + 21}" text-anchor="end">{escape(r["name"])}</text>')
        out.append(f'<rect x="{left:.1f}" y="{y + 7}" width="{right - left:.1f}" height="20" fill="{colour}"/>')
        out.append(f'<line x1="{x(r["bar"]):.1f}" x2="{x(r["bar"]):.1f}" y1="{y + 3}" y2="{y + 31}" stroke="#c90" stroke-width="3">'
                   f'<title>bar {r["bar"]}×</title></line>')
        out.append(f'<text x="{max(right, x(r["bar"])) + 8:.1f}" y="{y + 21}">{r["ratio"]:.1f}×</text>')
    if not rows:
        out.append(f'<text x="{LABEL}" y="{TOP + 21}" fill="#555">no row could run</text>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out + ["</svg>", ""]))
