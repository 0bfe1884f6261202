"""Table downloads: CSV without formulas, Parquet, and JSON that is safe inside a web page."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.runs.plain import csv_text, strict

if TYPE_CHECKING:
    import pandas as pd


def downloads(frame: pd.DataFrame, name: str, key: str) -> None:
    """Download buttons for one table; a file is built when its button is pressed."""
    for ending, mime, make in (
        ("csv", "text/csv", csv_bytes),
        ("parquet", "application/vnd.apache.parquet", parquet_bytes),
        ("json", "application/json", json_bytes),
    ):
        st.download_button(
            f"Table ({ending.upper() if ending != 'parquet' else 'Parquet'})", functools.partial(make, frame),
            f"{name}.{ending}", mime, key=f"{key}_{ending}", on_click="ignore",
        )  # fmt: skip


def downloads_with_record(
    ctx: PageContext, frame: pd.DataFrame, record: Mapping[str, Any], name: str, what: str
) -> None:
    """Downloads of a table with a record of the run and of how it was made; `what` describes the record."""
    m = ctx.run.manifest
    run = {"run": ctx.run_dir.name, "run_created_at_utc": m.created_at_utc, "model": m.model_name}
    with st.popover("Download"):
        downloads(with_record(frame, {**run, **record}), name, f"{name}_downloads")
        st.caption(f"Column `how` records {what} and the settings (first row).")


def with_record(frame: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """The table with a last column `how`, whose first row holds the record as JSON in every file format."""
    how = json.dumps(strict(record), allow_nan=False)
    return frame.assign(how=[how] + [None] * (len(frame) - 1) if len(frame) else [])


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8 CSV; text that looks like a formula starts with an apostrophe, undefined numbers are empty."""
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "iufb":
            safe[column] = [csv_text(v) if isinstance(v, str) else v for v in safe[column]]
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text.encode()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Parquet, with lone surrogates as escapes, in text and in lists of text."""
    out = io.BytesIO()
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype == object:  # pandas validates its other text columns
            safe[column] = [strict(v) for v in safe[column]]
    safe.to_parquet(out, index=False)
    return out.getvalue()


def json_bytes(frame: pd.DataFrame) -> bytes:
    """Strict JSON, a list of records, with `<`, `>` and `&` as escapes, so that it is safe inside HTML."""
    records = strict(frame.to_dict("records"))
    text = json.dumps(records, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()
