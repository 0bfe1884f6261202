"""`words.sqlite`: the texts of a run, each once, and their full-text index (FTS5, ranked by BM25).

A run folder can come from a stranger. The file is opened read-only and as one that nobody changes, and it is used only
if its schema is exactly the one below: it can then hold no view, trigger or table that runs anything.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.search.words import words_of
from neuron_signatures.runs.tokens import encodable

APPLICATION_ID: Final = 0x4E536931
USER_VERSION: Final = 1
MAX_TEXT: Final = 1 << 20
"""Characters of one text that readers accept; twenty times the longest that is written."""
MAX_BYTES: Final = 8 << 30
"""Of the file."""
SECONDS: Final = 5.0
"""Longest time of a query."""
AGAIN: Final = "Make the index again"
_STEPS: Final = 20_000  # instructions of SQLite between looks at the clock
_SCHEMA: Final = (
    "CREATE TABLE text(id INTEGER PRIMARY KEY, content TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE words USING fts5(body, content='', tokenize='unicode61 remove_diacritics 2')",
)


def create(conn: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    conn.execute(f"PRAGMA application_id={APPLICATION_ID}")
    conn.execute(f"PRAGMA user_version={USER_VERSION}")
    for statement in _SCHEMA:
        conn.execute(statement)


def add_texts(conn: sqlite3.Connection, texts: Iterable[tuple[int, str]]) -> None:
    """Add texts under new ids."""
    for id_, text in texts:
        content = encodable(text)
        conn.execute("INSERT INTO text VALUES (?, ?)", (id_, content))
        conn.execute("INSERT INTO words(rowid, body) VALUES (?, ?)", (id_, " ".join(words_of(content))))


def optimise(conn: sqlite3.Connection) -> None:
    """Merge the parts of the full-text index, which makes queries faster."""
    conn.execute("INSERT INTO words(words) VALUES ('optimize')")


def in_memory() -> sqlite3.Connection:
    """An empty database for texts in memory, for any thread that has it for itself."""
    conn = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    create(conn)
    return conn


def open_untrusted(path: Path) -> sqlite3.Connection:
    """A file for reading. Raises `BadRunError` if it is not one of ours, or its pages contradict each other."""
    if path.stat().st_size > MAX_BYTES:
        raise _bad(path, f"is larger than {MAX_BYTES} bytes")
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False, isolation_level=None
    )
    try:
        conn.execute("PRAGMA trusted_schema=OFF")
        conn.execute("PRAGMA cell_size_check=ON")
        conn.execute("PRAGMA mmap_size=0")
        conn.execute("PRAGMA temp_store=MEMORY")
        conn.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 64 << 20)
        _check(conn, path)
    except sqlite3.Error as e:
        conn.close()
        raise damaged(path, e) from e
    except BaseException:
        conn.close()
        raise
    return conn


def copy_of(conn: sqlite3.Connection) -> sqlite3.Connection:
    """The same database in memory, where texts can be added."""
    copy = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    conn.backup(copy)
    return copy


@contextmanager
def limited(conn: sqlite3.Connection, path: Path, *, seconds: float = SECONDS) -> Iterator[None]:
    """Within the block, queries end after some seconds with `UsageError`; a damaged file raises `BadRunError`."""
    end = time.monotonic() + seconds
    conn.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as e:
        if time.monotonic() > end:
            what = f"the search took more than {seconds:g} s"
            raise UsageError(what, where="query", next_step="Look for rarer or fewer words") from e
        raise damaged(path, e) from e
    except sqlite3.Error as e:
        raise damaged(path, e) from e
    finally:
        conn.set_progress_handler(None, 0)


def contents(conn: sqlite3.Connection, ids: Sequence[int], path: Path) -> dict[int, str]:
    """The texts with these ids. Raises `BadRunError` if one is missing or no text."""
    found: dict[int, str] = {}
    for id_ in dict.fromkeys(ids):
        row = conn.execute("SELECT content FROM text WHERE id = ?", (id_,)).fetchone()
        if row is None or not isinstance(row[0], str) or len(row[0]) > MAX_TEXT:
            raise _bad(path, f"has no text {id_}, or one that is too long")
        found[id_] = row[0]
    return found


def damaged(path: Path, e: Exception) -> BadRunError:
    return _bad(path, f"cannot be read ({' '.join(str(e).split())[:120]})")


def _check(conn: sqlite3.Connection, path: Path) -> None:
    head = tuple(conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if head != (APPLICATION_ID, USER_VERSION):
        raise _bad(path, f"is not an index of words of this version ({head[0]:#x}, version {head[1]})")
    if _schema(conn) != _schema_of_ours():
        raise _bad(path, "has other tables than an index of words")
    fault = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise _bad(path, f"is damaged: {' '.join(str(fault).split())[:120]}")


def _schema(conn: sqlite3.Connection) -> list[tuple[str, ...]]:
    return conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()


def _schema_of_ours() -> list[tuple[str, ...]]:
    """With the tables that FTS5 makes for itself, as this version of SQLite does."""
    conn = in_memory()
    try:
        return _schema(conn)
    finally:
        conn.close()


def _bad(path: Path, what: str) -> BadRunError:
    return BadRunError(what, where=str(path), next_step=AGAIN)
