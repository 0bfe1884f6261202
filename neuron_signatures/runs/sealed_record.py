"""Reading a stage record that is a pydantic model with its own checksum."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from neuron_signatures.runs.bounded_json import RECORD_BYTES, parse_json
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.manifest_file import first_error
from neuron_signatures.runs.opening import NotReadableError, read_regular
from neuron_signatures.runs.seal import seal_fits

Model = TypeVar("Model", bound=BaseModel)


def read_sealed(path: Path, kind: type[Model], *, again: str) -> Model:
    """The record in a file, validated. Raises `FileNotFoundError`, and `BadRunError` with the next step `again` if it
    cannot be read, is damaged or has changed."""
    try:
        raw = read_regular(path, max_bytes=RECORD_BYTES)
        record = kind.model_validate(parse_json(raw))
    except FileNotFoundError:
        raise
    except OSError as e:
        raise BadRunError(f"cannot be read ({e.strerror or e})", where=str(path), next_step=again) from e
    except NotReadableError as e:
        raise BadRunError(str(e), where=str(path), next_step=again) from e
    except ValidationError as e:
        raise BadRunError(first_error(e), where=str(path), next_step=again) from e
    except ValueError as e:
        raise BadRunError(f"not valid JSON ({e})", where=str(path), next_step=again) from e
    if not seal_fits(raw):
        what = "the record differs from its own checksum: it has changed"
        raise BadRunError(what, where=str(path), next_step=again)
    return record
