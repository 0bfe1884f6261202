"""Documents of a Hugging Face dataset, streamed: nothing is stored on disk, and only what is read is downloaded."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuron_signatures.models.faults import condense, quiet_http, quiet_libraries
from neuron_signatures.records.corpus.sources.formats import no_column
from neuron_signatures.records.corpus.sources.items import NO_TEXT, Item
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError

if TYPE_CHECKING:
    from datasets import IterableDataset

_LIBRARIES = {"aiohttp", "datasets", "fsspec", "httpx", "httpx2", "huggingface_hub", "pyarrow", "requests", "urllib3"}
_FAULTS = (OSError, ValueError, RuntimeError, EOFError, KeyError, zlib.error)
_TIMEOUT = 15.0
_GROUP = 64  # rows that are read at a time
_RESUME = "Try again with --resume: what was read is kept"


@dataclass(frozen=True)
class DatasetSource:
    """A split of a dataset: the id of a Hub repository, or a local folder with data files.

    `revision` and `config` None mean the repository's own. The commit is resolved once, recorded, and all is read
    from it. Raises `UsageError` for a name, split or column that does not exist, `EnvironmentProblem` if the package
    `datasets` is missing, the Hub refuses or does not answer, or the stream breaks.
    """

    name: str
    split: str
    text_column: str
    revision: str | None = None
    config: str | None = None

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "dataset", "dataset": self.name, "config": self.config, "split": self.split,
            "text_column": self.text_column, "revision": self.commit,
        }  # fmt: skip

    @functools.cached_property
    def commit(self) -> str | None:
        """The commit of the Hub repository; None for a folder."""
        _need_datasets()
        if Path(self.name).is_dir():
            return None
        from huggingface_hub import HfApi

        with self._faults(), quiet_http():
            sha = HfApi().dataset_info(self.name, revision=self.revision, timeout=_TIMEOUT).sha
        return str(sha) if sha else None

    def items(self) -> Iterator[Item]:
        with self._faults(), _quiet():
            stream = self._open()
            self._check_columns(stream)
        rows, number = iter(stream), 0
        while True:
            group, fault = self._group(rows, number)
            for row in group:
                number += 1
                yield self._item(row, number)
            if fault is not None:
                raise fault
            if not group:
                return

    def _group(self, rows: Iterator[dict[str, Any]], n_read: int) -> tuple[list[dict[str, Any]], ProjectError | None]:
        """The next rows, fewer if the stream breaks or ends, and why it broke."""
        found: list[dict[str, Any]] = []
        try:
            with self._faults(lambda: n_read + len(found)), _quiet():
                for row in itertools.islice(rows, _GROUP):
                    found.append(row)  # keeps the rows before a fault
        except ProjectError as e:
            return found, e
        return found, None

    def _open(self) -> IterableDataset:
        _need_datasets()
        import datasets

        return datasets.load_dataset(
            self.name, self.config, split=self.split, revision=self.commit, streaming=True
        )  # fmt: skip

    def _check_columns(self, stream: IterableDataset) -> None:
        names = stream.column_names
        if names is not None and self.text_column not in names:
            raise no_column(self.text_column, names, self._where)

    def _item(self, row: dict[str, Any], number: int) -> Item:
        name = f"{self.name}:{self.split}:{number}"
        if self.text_column not in row:
            raise no_column(self.text_column, row, self._where)
        text = row[self.text_column]
        if text is None:
            return Item(name, skipped=NO_TEXT)
        if not isinstance(text, str):
            raise UsageError(f"{self.text_column!r} is {type(text).__name__}, not text", where=self._where)
        return Item(name, text)

    @property
    def _where(self) -> str:
        return f"dataset {self.name}"

    @contextlib.contextmanager
    def _faults(self, n_read: Callable[[], int] = lambda: 0) -> Iterator[None]:
        """Turn what the libraries raise into one line."""
        try:
            yield
        except ProjectError:
            raise
        except Exception as e:
            if isinstance(e, _FAULTS) or type(e).__module__.partition(".")[0] in _LIBRARIES:
                raise self._explain(e, n_read()) from e
            raise

    def _explain(self, error: Exception, n_read: int) -> ProjectError:
        from huggingface_hub import constants

        text, where = condense(error), self._where
        if n_read:
            return EnvironmentProblem(f"the stream broke after {n_read} rows ({text})", where=where, next_step=_RESUME)
        if (refusal := self._refusal(error, text)) is not None:
            return refusal
        for sign, step in _WRONG_NAMES.items():
            if sign in text:
                return UsageError(text, where=where, next_step=step)
        if Path(self.name).is_dir():
            return EnvironmentProblem(f"cannot be read ({text})", where=where)
        reason = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else text
        step = "Check the network; --corpus local, demo or a file needs none"
        return EnvironmentProblem(f"cannot be read from {constants.ENDPOINT} ({reason})", where=where, next_step=step)

    def _refusal(self, error: Exception, text: str) -> ProjectError | None:
        """What the Hub's refusal means; None if it did not refuse."""
        from huggingface_hub import constants, get_token
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        where = self._where
        token = "HF_TOKEN has no access" if get_token() else "HF_TOKEN is not set"
        if isinstance(error, GatedRepoError) or "gated dataset" in text:
            step = f"Accept its terms on {constants.ENDPOINT}/datasets/{self.name}, and set HF_TOKEN"
            return EnvironmentProblem(f"access is gated and {token}", where=where, next_step=step)
        if isinstance(error, RevisionNotFoundError):
            return UsageError(f"--dataset_revision {self.revision!r} does not exist", where=where)
        if isinstance(error, HFValidationError):
            return UsageError("neither a folder nor the id of a dataset", where=where)
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if isinstance(error, RepositoryNotFoundError) or status in (401, 403, 404):
            what = f"not found on {constants.ENDPOINT}, or private, and {token}"
            return EnvironmentProblem(what, where=where, next_step="Check the name; set HF_TOKEN for a private one")
        return None


# What `datasets` 5.2 says about a wrong split, a wrong and a missing config, and an empty folder.
_WRONG_NAMES = {
    "Bad split": "Choose one with --split",
    "Unknown split": "Choose one with --split",
    "BuilderConfig": "Choose one with --dataset_config",
    "Config name is missing": "Choose one with --dataset_config",
    "contain any data files": "Give a folder with data files",
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the notices of the libraries off stderr; what they raise says the same."""
    logger = logging.getLogger("datasets")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with quiet_libraries():
            yield
    finally:
        logger.setLevel(level)


def _need_datasets() -> None:
    try:
        import datasets  # noqa: F401
    except ImportError as e:
        step = "Install it with `pip install datasets`, or give --corpus local, demo or a file"
        raise EnvironmentProblem("--dataset needs the package datasets", next_step=step) from e
