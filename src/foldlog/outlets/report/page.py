"""The page: one HTML file with its style, its script and its data, which asks nobody for anything.

Its parts are files beside this module, in `assets`: `page.html`, `page.css`, and the scripts, which run in
the order given here. Nothing that was recorded is ever markup: the data is JSON in a script element that no
text in it can end, and the scripts put it on the page as text. A policy in the page holds them to that.
"""

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final

import orjson

from foldlog.outlets.report.data import PageData
from foldlog.outlets.report.run import Run
from foldlog.outlets.report.texts import Text

SCRIPTS: Final = (
    "model.js", "dom.js", "figures.js", "tree.js", "facts.js", "timeline.js", "charts.js", "calls.js",
    "transcript.js", "search.js", "main.js",
)  # fmt: skip


def chunks(run: Run) -> Iterator[str]:
    """The page of a run, in pieces."""
    style = _asset("page.css")
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    data = PageData(run).json()
    parts = {"policy": policy, "style": style, "data": embedded(data, data["text_chars"]), "script": script}
    before, *pieces = _asset("page.html").split("{{")
    yield before
    for piece in pieces:
        name, _, after = piece.partition("}}")
        yield parts[name]
        yield after


def embedded(value: Any, text_chars: int) -> str:
    """A value as JSON for a script element: whatever texts it holds, none of them can end the element."""

    def default(found: Any) -> Any:
        if isinstance(found, Text):
            return found.shown(text_chars)
        raise TypeError

    text = orjson.dumps(value, default=default).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """The name by which the policy allows one style or script, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
