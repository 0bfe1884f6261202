"""Errors of a run's files, which name the run instead of its path on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest_file import first_error


@contextlib.contextmanager
def named(path: Path, name: str) -> Iterator[None]:
    """Name the run in errors instead of its path on this machine."""
    try:
        yield
    except BadRunError as e:
        where = e.where.replace(str(path), name) if e.where else name
        raise BadRunError(e.what, where=where, next_step=e.next_step) from e
    except ValidationError as e:
        raise BadRunError(f"holds a value that no answer can have ({first_error(e)})", where=name) from e
    except OSError as e:
        raise BadRunError(f"cannot be read ({e.strerror or type(e).__name__})", where=name) from e
