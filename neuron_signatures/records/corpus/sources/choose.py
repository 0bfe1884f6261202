"""Which source the flags of the stage name."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.records.corpus.sources.demo import DemoSource
from neuron_signatures.records.corpus.sources.files import FileSource
from neuron_signatures.records.corpus.sources.hub_dataset import DatasetSource
from neuron_signatures.records.corpus.sources.items import Source
from neuron_signatures.records.corpus.sources.local import LocalSource
from neuron_signatures.runs.errors import UsageError

DEMO, LOCAL = "demo", "local"
_WAYS = "Give --corpus FILE, FOLDER, local or demo, or --dataset NAME"


def corpus_source(corpus: str, *, text_column: str, max_document: int, seed: int) -> Source:
    """The source of `--corpus`: `demo`, `local`, or a path; a file of these names is given as `./demo`.

    `seed` draws the documents of the demo world. Raises `UsageError` if there is no such file.
    """
    if corpus == DEMO:
        return DemoSource(seed)
    if corpus == LOCAL:
        return LocalSource()
    path = Path(corpus).expanduser()
    if not corpus or not path.exists():
        raise UsageError("there is no such file or folder", where=f"--corpus {corpus!r}", next_step=_WAYS)
    return FileSource(path, text_column, max_document)


def dataset_source(
    name: str, *, split: str, text_column: str, revision: str | None = None, config: str | None = None
) -> Source:
    """The source of `--dataset`. Nothing is loaded yet."""
    return DatasetSource(name, split, text_column, revision, config)
