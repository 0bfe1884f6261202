"""Text with terminal control sequences, Textual markup, or characters that break column widths."""

from __future__ import annotations

MARKUP = ["[/]", "[bold]", "[@click=app.quit]x[/]", "[red", "\\[x]"]
CONTROLS = [
    "\x1b[31mred", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x9b31m", "\x90q\x9c", "a\rb", "a\nb", "a\tb", "\x07",
    "\x08", "\x7f", "\x00", "\u202eabc", "\u2066x", "\u200b", "\ufeff", "e\u0301", "\u0301", "\U000e0041",
    "\ud800", "\u0937\u093e",
]  # fmt: skip
WIDE = ["漢字漢字", "👍🏽", "한글", "ﾊﾝｶｸ", "ᅡᅠ", "䷀"]
TOKENS = ["<bos>", *MARKUP, *CONTROLS, *WIDE]
