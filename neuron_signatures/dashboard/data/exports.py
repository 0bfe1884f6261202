"""Tables as files: CSV that no spreadsheet runs, Parquet, and JSON that can stand in a web page."""

from __future__ import annotations

import functools
import io
import json
from typing import TYPE_CHECKING, Any

import streamlit as st

from neuron_signatures.runs.plain import csv_text, strict
from neuron_signatures.runs.tokens import encodable

if TYPE_CHECKING:
    import pandas as pd


def downloads(frame: pd.DataFrame, name: str, key: str) -> None:
    """Buttons for one table; a file is made when its button is pressed."""
    for ending, mime, make in (
        ("csv", "text/csv", csv_bytes),
        ("parquet", "application/vnd.apache.parquet", parquet_bytes),
        ("json", "application/json", json_bytes),
    ):
        st.download_button(
            f"Table ({ending.upper() if ending != 'parquet' else 'Parquet'})", functools.partial(make, frame),
            f"{name}.{ending}", mime, key=f"{key}_{ending}", on_click="ignore",
        )  # fmt: skip


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8 CSV; a text that a spreadsheet would run begins with an apostrophe, an undefined number is empty."""
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype.kind not in "iufb":
            safe[column] = [csv_text(v) if isinstance(v, str) else v for v in safe[column]]
    text: str = safe.to_csv(index=False, lineterminator="\n")
    return text.encode()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Half a surrogate pair, which Parquet cannot hold, becomes an escape, in texts and in lists of them."""
    out = io.BytesIO()
    safe = frame.copy()
    for column in safe.columns:
        if safe[column].dtype == object:  # pandas has its other text columns checked already
            safe[column] = [_encodable(v) for v in safe[column]]
    safe.to_parquet(out, index=False)
    return out.getvalue()


def json_bytes(frame: pd.DataFrame) -> bytes:
    """Strict JSON, a list of records; `<`, `>` and `&` as escapes, so that it can be pasted into a page."""
    records = strict(frame.to_dict("records"))
    text = json.dumps(records, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    return [_encodable(v) for v in value] if isinstance(value, list) else value
