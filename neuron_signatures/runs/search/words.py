"""The words of a text, as they are indexed and as they are looked for."""

from __future__ import annotations

import re
import unicodedata
import zlib
from typing import Final

_NO_SPACES: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Scripts without spaces between words."""
_WORD: Final = re.compile(rf"[{_NO_SPACES}]|[^\W_{_NO_SPACES}]+")


def words_of(text: str) -> list[str]:
    """The letters and digits of a text, split at everything else, in the composed form of Unicode (NFKC).

    In scripts without spaces between words, each character is a word: what is looked for there is a sequence.
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return [m[0] for m in _WORD.finditer(plain) if m[0].isalnum()]


def word_at(text: str, start: int, stop: int) -> str:
    """The first word of a text that overlaps these characters; empty if none does."""
    for m in _WORD.finditer(text, max(0, start - 100)):
        if m.end() > start:
            return m[0] if m.start() < stop else ""
    return ""


def word_key(word: str) -> int:
    """32 bits of a word without its case and accents, by which words are compared: different words rarely share one."""
    return zlib.crc32(folded(word).encode("utf-8", "surrogatepass"))


def folded(word: str) -> str:
    """A word without case and accents, about as the full-text index has it."""
    if word.isascii():
        return word.lower()
    return "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c)).casefold()
