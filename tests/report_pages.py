"""Reading a report in tests: its elements, its text, and what it would load."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from neuron_signatures.report import main

LOADS = ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "formaction", "background", "cite")
VOID = {"meta", "br", "hr"}


class Page(HTMLParser):
    """The elements of a report with their attributes, its text, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.tags}

    @property
    def style(self) -> str:
        return "".join(re.findall(r"<style>(.*?)</style>", self.html, re.S))

    def loads(self) -> list[str]:
        """Every address in an attribute that a browser may load or open."""
        return [value or "" for _, attrs in self.tags for key, value in attrs.items() if key in LOADS]


def make_report(run_dir: Path, *flags: str) -> Page:
    """The report of a run, written into it by the command."""
    assert main(["--run_dir", str(run_dir), *flags]) == 0
    return Page((run_dir / "report.html").read_text(encoding="utf-8"))


def refuse(capsys, *flags: str) -> tuple[int, str]:
    """The exit code and the one line of a command that fails."""
    code = main(list(flags))
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    return code, err
