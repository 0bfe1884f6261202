"""The settings that decide which documents, parts and windows a corpus has."""

from __future__ import annotations

from dataclasses import dataclass

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.records.corpus_meta import MAX_SEQUENCE
from neuron_signatures.runs.records.names import PARTS

MAX_DOCUMENT = 1 << 20
"""Characters of one document. A longer text is cut: a tokenizer needs about 150 bytes per character."""
WINDOWS_PER_PACK = 8


@dataclass(frozen=True)
class CorpusSettings:
    """`sequence_length` counts the model's input, including a BOS; `bos_token_id` is None without one.

    `parts` are the percentages of explain, select and report. `stride` None means that windows do not overlap. The
    first `skip_first` positions of the input of each window do not count. With `concatenate`, documents of a part are
    joined by `eos_token_id` to packs of about 8 windows. Reading stops at `max_tokens` text tokens or `max_windows`
    windows, whichever comes first; the last document is cut there.

    Raises `UsageError` for settings that contradict each other.
    """

    sequence_length: int = 128
    stride: int | None = None
    skip_first: int = 1
    parts: tuple[int, int, int] = (50, 20, 30)
    seed: int = 0
    bos_token_id: int | None = None
    concatenate: bool = False
    eos_token_id: int | None = None
    max_tokens: int | None = None
    max_windows: int | None = None
    max_document: int = MAX_DOCUMENT

    def __post_init__(self) -> None:
        if not 2 <= self.sequence_length <= MAX_SEQUENCE:
            raise _refused("--sequence_length", f"{self.sequence_length} is not between 2 and {MAX_SEQUENCE}")
        if not 1 <= self.step <= self.text_length:
            raise _refused("--stride", f"{self.step} is not between 1 and the {self.text_length} tokens of a window")
        if not 0 <= self.skip_first < self.sequence_length:
            raise _refused("--skip_first", f"{self.skip_first} leaves no position of {self.sequence_length}")
        if len(self.parts) != len(PARTS) or sum(self.parts) != 100 or min(self.parts) < 0 or not self.parts[0]:
            what = f"{','.join(map(str, self.parts))} are not the percentages of {', '.join(PARTS)}"
            raise _refused("--parts", what, "Give three whole numbers with the sum 100, such as 50,20,30")
        if not -(1 << 63) <= self.seed < 1 << 63:
            raise _refused("--seed", "not an integer of 64 bits")
        if self.concatenate and self.eos_token_id is None:
            raise _refused("--concatenate", "this tokenizer has no end-of-text token to join documents with")
        for flag, limit in (("--max_tokens", self.max_tokens), ("--max_sequences", self.max_windows)):
            if limit is not None and limit < 1:
                raise _refused(flag, f"{limit} is less than 1")
        if not 1 <= self.max_document <= MAX_DOCUMENT:
            raise _refused("--max_document", f"{self.max_document} is not between 1 and {MAX_DOCUMENT}")

    @property
    def text_length(self) -> int:
        """Text tokens of a full window."""
        return self.sequence_length - (self.bos_token_id is not None)

    @property
    def step(self) -> int:
        """Tokens from one window's start to the next."""
        return self.text_length if self.stride is None else self.stride

    @property
    def first_counted(self) -> int:
        """The first text token of a window that can count."""
        return max(0, self.skip_first - (self.bos_token_id is not None))


def _refused(flag: str, what: str, next_step: str = "") -> UsageError:
    return UsageError(what, where=flag, next_step=next_step)
