# SPDX-License-Identifier: Apache-2.0
"""Relative links of Markdown pages that lead nowhere: to a file that is not there, or to a heading that its page does not have."""
import pathlib
import re


def _prose(text):
    """Without fenced blocks and code spans, in which a link is no link."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def _anchors(page):
    """The names that GitHub gives to a page's headings."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ +(.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def of(page):
    """One line for each dead link: "PAGE: TARGET"."""
    dead = []
    for target in re.findall(r"\]\(([^()\s]+)\)", _prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in _anchors(pathlib.Path(file))):
            dead.append(f"{page}: {target}")
    return dead
