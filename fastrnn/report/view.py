"""The frame around the three-dimensional view: choice of network, legend, help."""

from __future__ import annotations

from ..figures.figure import POINT_COLOURS, POINT_NAMES, kind_name
from .markup import text

SHAPES = (
    '<circle cx="6" cy="6" r="5"/>',
    '<polygon points="6,0 12,11 0,11"/>',
    '<rect x="1" y="1" width="10" height="10"/>',
    '<polygon points="6,0 12,6 6,12 0,6"/>',
    '<polygon points="3,1 9,1 12,6 9,11 3,11 0,6"/>',
)
CHOICES = (("trajectories", "trajectories"), ("points", "points"), ("paths", "paths away from saddles"))


def viewer(portraits: list) -> str:
    """Canvas and controls that viewer.js works on; empty without portraits."""
    if not portraits:
        return ""
    options = "".join(
        f'<option value="{i}">{text(kind_name(one.cell, one.activation, one.n))}</option>'
        for i, one in enumerate(portraits)
    )
    boxes = "".join(
        f'<label id="{name}-choice"><input type="checkbox" id="show-{name}" checked> {words}</label>'
        for name, words in CHOICES
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 12 12" fill="{colour}" aria-hidden="true">{shape}</svg>{text(name)}</li>'
        for colour, shape, name in zip(POINT_COLOURS, SHAPES, POINT_NAMES, strict=True)
    )
    return (
        "<p>One network of each kind in its own first three principal components. Drag to turn, wheel or pinch to "
        "zoom, double click to go back; arrow keys, +, - and 0 do the same. A pointer over a point tells its "
        "eigenvalues; so do the keys n and p, point after point, and Escape ends it. Of a degenerate point the "
        "linearization doesn't tell (a continuum of points, or a kink of relu); a slow one is not fixed.</p>\n"
        f'<div class="controls"><label>network <select id="scene">{options}</select></label>{boxes}'
        '<span><button type="button" id="closer" aria-label="zoom in">+</button> '
        '<button type="button" id="farther" aria-label="zoom out">-</button> '
        '<button type="button" id="reset">reset</button></span></div>\n'
        '<div class="viewer"><canvas id="view" tabindex="0" role="img" '
        'aria-label="trajectories and fixed points in three dimensions; n and p go from point to point"></canvas>'
        '<div id="tip" hidden><pre id="tip-text"></pre>'
        '<canvas id="plane" aria-label="eigenvalues in the complex plane"></canvas>'
        '</div></div>\n<p id="told" role="status"></p>\n'
        f'<ul class="legend">{legend}<li id="shade">trajectories: <span id="shade-what"></span> '
        '<span id="shade-low"></span> <i id="shade-bar"></i> <span id="shade-high"></span></li></ul>\n'
        '<p class="soft" id="about"></p>\n'
    )
