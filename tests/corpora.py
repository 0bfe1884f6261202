"""Hand-made corpora for tests: a source in memory, a tokenizer with one token per letter, and a run folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from neuron_signatures.records.corpus.index import build_corpus
from neuron_signatures.records.corpus.settings import CorpusSettings
from neuron_signatures.records.corpus.sources.items import Item, Source
from neuron_signatures.runs.records.corpus import Corpus
from neuron_signatures.runs.records.corpus_meta import CorpusMeta
from neuron_signatures.runs.results import ResultsWriter

BOS, EOS = 1, 2
LETTERS = "abcdefghijklmnopqrstuvwxyz .0123456789"


@dataclass(frozen=True)
class Texts:
    """A source of texts in memory; None is a row without text. `fail_at` raises `error` there."""

    texts: Sequence[str | None]
    fail_at: int | None = None
    error: BaseException | None = None

    def describe(self) -> dict[str, Any]:
        return {"kind": "texts"}

    def items(self) -> Iterator[Item]:
        for i, text in enumerate(self.texts):
            if i == self.fail_at:
                assert self.error is not None
                raise self.error
            yield Item(f"text {i}", skipped="no_text") if text is None else Item(f"text {i}", text)


@functools.cache
def letters() -> PreTrainedTokenizerFast:
    """One token per character of LETTERS, from id 4 on."""
    vocab = {"<unk>": 0, "<bos>": BOS, "<eos>": EOS, "<pad>": 3} | {c: i for i, c in enumerate(LETTERS, start=4)}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )


def new_run(folder: Path) -> Path:
    """A folder for records; a manifest is not needed to write them."""
    (folder / "records").mkdir(parents=True)
    return folder


def build(folder: Path, source: Source, *, resume: bool = False, **settings: Any) -> CorpusMeta:
    """Write a corpus of the source, with one token per letter."""
    if not (folder / "records").is_dir():
        new_run(folder)
    return build_corpus(
        source, CorpusSettings(**{"sequence_length": 8, **settings}), letters(), ResultsWriter(folder, "records"),
        resume=resume,
    )  # fmt: skip


def window_texts(corpus: Corpus) -> list[str]:
    """The text of each window, with the positions that do not count in brackets."""
    found = []
    for w in range(corpus.n_windows):
        text = "".join(corpus.strings(corpus.token_ids(w)))
        n = int(corpus.window_counted_from[w])
        found.append(f"[{text[:n]}]{text[n:]}")
    return found
