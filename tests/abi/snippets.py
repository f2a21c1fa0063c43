# SPDX-License-Identifier: Apache-2.0
"""The snippets of sdk/README.md. A comment before a fence says what it is:

    <!-- file: NAME -->       a file of the project that the guide builds
    <!-- compile: c++17 -->   stands for itself
    <!-- json: DOCUMENT -->   an example of that document
    <!-- schema: NAME -->     a schema of options
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "sdk" / "README.md"
_FENCE = re.compile(r"(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.M | re.S)


def snippets():
    """(kind, name, language, text) of each fence; kind "" where there is no comment."""
    found = []
    for match in _FENCE.finditer(GUIDE.read_text(encoding="utf-8")):
        kind, _, name = (match["mark"] or "").partition(": ")
        found.append((kind, name, match["language"], match["text"]))
    return found


def files():
    return {name: text for kind, name, _, text in snippets() if kind == "file"}


def documents():
    return {name: text for kind, name, _, text in snippets() if kind == "json"}
