#!/usr/bin/env python3
"""Draws coloured terminal output as an SVG picture, on black or on white: COMMAND | picture.py [--ground white] TITLE > FILE.svg"""
import argparse
import re
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL, LINE, MARGIN, TOP = 8.4, 18, 16, 44
LEVELS = (0, 95, 135, 175, 215, 255)
# Ground, foreground, and the title, which has the grey that can be read on both.
GROUNDS = {"black": ("#000000", "#dcdfe4", "#767676"), "white": ("#ffffff", "#1c1c1c", "#767676")}


def cube(code):
    """A colour of the 256, as RGB: those from 16 on, the only ones that every terminal shows alike."""
    if 16 <= code < 232:
        return "#%02x%02x%02x" % tuple(LEVELS[(code - 16) // weight % 6] for weight in (36, 6, 1))
    if 232 <= code < 256:
        return "#%02x%02x%02x" % ((8 + 10 * (code - 232),) * 3)
    sys.exit(f"picture: the look of colour {code} is the theme's, so no picture can show it")


def wide(char):
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def looks(codes, look):
    """The look after an escape sequence with these numbers."""
    codes = iter(codes)
    for code in codes:
        if code == 0: look = {}
        elif code == 1: look = {**look, "bold": True}
        elif code == 4: look = {**look, "underline": True}
        elif code == 7: look = {**look, "reverse": True}
        elif code == 38 and next(codes) == 5: look = {**look, "colour": cube(next(codes))}
        else: sys.exit(f"picture: SGR {code} is not drawn")
    return look


def runs(line):
    """Yields (column, text, look) for each run of one look; characters without width stay with their run."""
    column, look = 0, {}
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b["):
            look = looks([int(code or 0) for code in part[2:-1].split(";")], look)
        else:
            for match in re.finditer(r"\S+(?: \S+)*", part):
                yield column + sum(map(wide, part[:match.start()])), match.group(), look
            column += sum(map(wide, part))


options = argparse.ArgumentParser(description=__doc__)
options.add_argument("title")
options.add_argument("--ground", choices=GROUNDS, default="black")
options = options.parse_args()
ground, foreground, dim = GROUNDS[options.ground]

lines = sys.stdin.read().rstrip("\n").split("\n")
plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
width = max(sum(map(wide, line)) for line in plain) * CELL + 2 * MARGIN
height = len(lines) * LINE + TOP + MARGIN
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}">')
print(f'<rect width="100%" height="100%" rx="8" fill="{ground}"/>')
for place, colour in enumerate(("#e06c75", "#e5c07b", "#98c379")):
    print(f'<circle cx="{22 + place * 18}" cy="20" r="5.5" fill="{colour}"/>')
print(f'<text x="{width / 2:.0f}" y="25" fill="{dim}" font-family="sans-serif" font-size="13" text-anchor="middle">{escape(options.title)}</text>')
print(f'<g font-family="\'DejaVu Sans Mono\',Menlo,Consolas,monospace" font-size="14" fill="{foreground}" xml:space="preserve">')
for row, line in enumerate(lines):
    for column, text, look in runs(line):
        cells, left = sum(map(wide, text)), MARGIN + column * CELL
        colour = look.get("colour")
        if look.get("reverse"):
            print(f'<rect x="{left:.1f}" y="{TOP + row * LINE}" width="{cells * CELL:.1f}" height="{LINE}" fill="{colour or foreground}"/>')
            colour = ground
        style = f' fill="{colour}"' if colour else ""
        style += ' font-weight="bold"' if look.get("bold") else ""
        style += ' text-decoration="underline"' if look.get("underline") else ""
        print(f'<text x="{left:.1f}" y="{TOP + 14 + row * LINE}" textLength="{cells * CELL:.1f}"{style}>{escape(text)}</text>')
print("</g></svg>")
