#!/usr/bin/env python3
"""Draws coloured terminal output as an SVG picture: COMMAND | picture.py TITLE > FILE.svg"""
import re
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL, LINE, MARGIN, TOP = 8.4, 18, 16, 44
COLOURS = {30: "#4b5263", 31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 34: "#61afef", 35: "#c678dd", 36: "#56b6c2", 37: "#dcdfe4",
           90: "#7f848e", 91: "#ff7a85", 92: "#b5e890", 93: "#ffd787", 94: "#7cc5ff", 95: "#dd9bf2", 96: "#7fd8e4", 97: "#ffffff"}


def wide(char):
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def runs(line):
    """Yields (column, text, css) for each run of one look; characters without width stay with their run."""
    column, look = 0, {}
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            for code in [int(c or 0) for c in part[2:-1].split(";")]:
                if code == 0: look = {}
                elif code == 1: look["font-weight"] = "bold"
                elif code == 2: look["opacity"] = "0.6"
                elif code == 3: look["font-style"] = "italic"
                elif code == 22: look.pop("font-weight", None); look.pop("opacity", None)
                elif code == 39: look.pop("fill", None)
                elif code in COLOURS: look["fill"] = COLOURS[code]
        else:
            for match in re.finditer(r"\S+(?: \S+)*", part):
                before = part[:match.start()]
                yield column + sum(map(wide, before)), match.group(), ";".join(f"{k}:{v}" for k, v in look.items())
            column += sum(map(wide, part))


lines = sys.stdin.read().rstrip("\n").split("\n")
plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
width = max(sum(map(wide, line)) for line in plain) * CELL + 2 * MARGIN
height = len(lines) * LINE + TOP + MARGIN
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}">')
print(f'<rect width="100%" height="100%" rx="8" fill="#21252b"/>')
for place, colour in enumerate(("#e06c75", "#e5c07b", "#98c379")):
    print(f'<circle cx="{22 + place * 18}" cy="20" r="5.5" fill="{colour}"/>')
print(f'<text x="{width / 2:.0f}" y="25" fill="#7f848e" font-family="sans-serif" font-size="13" text-anchor="middle">{escape(sys.argv[1])}</text>')
print('<g font-family="\'DejaVu Sans Mono\',Menlo,Consolas,monospace" font-size="14" fill="#dcdfe4" xml:space="preserve">')
for row, line in enumerate(lines):
    for column, text, css in runs(line):
        cells = sum(map(wide, text))
        style = f' style="{css}"' if css else ""
        print(f'<text x="{MARGIN + column * CELL:.1f}" y="{TOP + 14 + row * LINE}" textLength="{cells * CELL:.1f}"{style}>{escape(text)}</text>')
print("</g></svg>")
