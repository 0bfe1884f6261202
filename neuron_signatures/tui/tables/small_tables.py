"""The smaller tables: prompts, layers, top neurons, one neuron over all prompts, hits of a search, runs, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.listing import RunSummary
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.plain import strict
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tokens import width
from neuron_signatures.tui.layout.bars import signed_bar, strip
from neuron_signatures.tui.layout.text import (
    Column,
    Piece,
    beginning,
    number,
    rooms,
    safe,
    sign_style,
    size,
    token_text,
)
from neuron_signatures.views.acts import LayerLine, NeuronAct, OnPrompt
from neuron_signatures.views.ranked import ListRef
from neuron_signatures.views.search import TokenHit


class PromptTable:
    """The run's prompts."""

    empty = "the run holds no prompt"

    def __init__(self, prompts: Sequence[PromptRecord]) -> None:
        self.prompts = prompts

    def __len__(self) -> int:
        return len(self.prompts)

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "id", 22), Column("n", "tokens", 6, right=True, drop=2),
            Column("last", "last token", 14, drop=1), Column("text", "text", 0, drop=3),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        p = self.prompts[i]
        return {
            "#": Piece(str(i + 1), "dim"), "id": Piece(safe(p.probe_id)), "n": Piece(str(p.seq_len)),
            "last": Piece(token_text(p.tokens[-1]), "token"), "text": Piece(beginning(p.text)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        p = self.prompts[i]
        return {"prompt_index": i, "prompt_id": p.probe_id, "seq_len": p.seq_len, "text": p.text, "tokens": p.tokens}


class LayerTable:
    """One line per layer on one prompt; the bar shows its largest |act| with its sign."""

    empty = "reading ..."

    def __init__(self, prompt: PromptRecord, rows: Sequence[LayerLine]) -> None:
        self.prompt = prompt
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> Sequence[Column]:
        return (
            Column("layer", "layer", 5, right=True), Column("max", "largest", 10, right=True),
            Column("neuron", "neuron", 8, right=True), Column("pos", "pos", 5, right=True, drop=2),
            Column("token", "token", 16, drop=1), Column("mean", "mean |act|", 10, right=True, drop=4),
            Column("bar", "bar", 0, drop=3, least=9),
            *((Column("bad", "not finite", 10, right=True),) if any(r.n_nonfinite for r in self.rows) else ()),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        r = self.rows[i]
        scale = max((x.max_abs or 0 for x in self.rows), default=0)
        bar = signed_bar(r.value, scale, room["bar"]) if r.value is not None and "bar" in room else ""
        return {
            "layer": Piece(str(r.layer), "title"), "max": Piece(number(r.value) or "none", sign_style(r.value)),
            "neuron": Piece("" if r.neuron is None else str(r.neuron)),
            "pos": Piece("" if r.pos is None else str(r.pos), "dim"),
            "token": Piece("" if r.pos is None else token_text(self.prompt.tokens[r.pos]), "token"),
            "mean": Piece(size(r.mean_abs)), "bar": Piece(bar, sign_style(r.value)),
            "bad": Piece(str(r.n_nonfinite) if r.n_nonfinite else "", "warn"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        r = self.rows[i]
        return {**strict(r._asdict()), "token": None if r.pos is None else self.prompt.tokens[r.pos]}


class TopTable:
    """The neurons with the largest |act| at one token."""

    empty = "no finite activation at this token"

    def __init__(self, rows: Sequence[NeuronAct]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> Sequence[Column]:
        return (
            Column("rank", "#", 3, right=True), Column("neuron", "neuron", 11), Column("act", "act", 10, right=True),
            Column("bar", "bar", 0, drop=1, least=9),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        at, act = self.rows[i]
        bar = signed_bar(act, abs(self.rows[0].act), room["bar"]) if "bar" in room else ""
        return {
            "rank": Piece(str(i + 1), "dim"), "neuron": Piece(at.label, "title"),
            "act": Piece(number(act), sign_style(act)), "bar": Piece(bar, sign_style(act)),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        at, act = self.rows[i]
        return {"rank": i + 1, "layer": at.layer, "neuron": at.neuron, "act": act}


class StackTable:
    """One neuron on every prompt, one line each, drawn to a scale common to all that are there."""

    empty = "reading ..."

    def __init__(self, run: Run, rows: list[OnPrompt], *, include_bos: bool) -> None:
        self.run = run
        self.include_bos = include_bos
        self.rows = rows
        self.scale = 0.0
        for r in rows:
            self._grow(r)

    def add(self, rows: Sequence[OnPrompt]) -> None:
        self.rows.extend(rows)
        for r in rows:
            self._grow(r)

    def sort(self, *, by_peak: bool) -> None:
        """By the largest |act|, or in the order of the run."""
        self.rows.sort(key=lambda r: (-(r.stats.peak_abs or 0) if by_peak else 0, r.prompt_index))

    def __len__(self) -> int:
        return len(self.rows)

    def has_strip(self, columns: int) -> bool:
        """Whether there is room for the marks of the tokens."""
        return "strip" in rooms(self.columns(), columns)

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "prompt", 20), Column("max", "max", 10, right=True),
            Column("maxtok", "at", 10, drop=3), Column("min", "min", 10, right=True, drop=1),
            Column("mintok", "at", 10, drop=4),
            Column("strip", "tokens", 0, drop=2, least=24),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        p = self.rows[i]
        if p.fault:
            return {
                "#": Piece(str(p.prompt_index + 1), "dim"), "id": Piece(safe(p.prompt.probe_id)),
                "max": Piece("unread", "warn"), "strip": Piece(safe(p.fault), "warn"),
            }  # fmt: skip
        s, tokens = p.stats, p.prompt.tokens
        levels = strip(p.values, self.scale or None, room["strip"]) if "strip" in room else ""
        if levels and not self.include_bos and self.run.begins_with_bos(p.prompt):
            levels = "B" + levels[1:]
        return {
            "#": Piece(str(p.prompt_index + 1), "dim"), "id": Piece(safe(p.prompt.probe_id)),
            "max": Piece(number(s.max), sign_style(s.max)), "min": Piece(number(s.min), sign_style(s.min)),
            "maxtok": Piece("" if s.max_pos is None else token_text(tokens[s.max_pos]), "token"),
            "mintok": Piece("" if s.min_pos is None else token_text(tokens[s.min_pos]), "token"),
            "strip": Piece(levels),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        p = self.rows[i]
        return {
            "prompt_index": p.prompt_index, "prompt_id": p.prompt.probe_id, "stats": p.stats._asdict(),
            "tokens": p.prompt.tokens, "acts": None if p.fault else strict(p.values), "fault": p.fault or None,
        }  # fmt: skip

    def _grow(self, r: OnPrompt) -> None:
        self.scale = max(self.scale, r.stats.peak_abs or 0.0)


class HitTable:
    """Where a token that was searched for stands."""

    empty = "no token matches"

    def __init__(self, run: Run, rows: Sequence[TokenHit]) -> None:
        self.run = run
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> Sequence[Column]:
        return (
            Column("#", "#", 5, right=True), Column("id", "prompt", 20), Column("pos", "pos", 5, right=True, drop=1),
            Column("token", "token", 14), Column("around", "around it", 0, drop=2),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        h = self.rows[i]
        tokens = self.run.prompts[h.prompt_index].tokens
        here = f"[{token_text(h.token)}]"
        before = token_text("".join(tokens[max(0, h.pos - 8) : h.pos]))
        after = token_text("".join(tokens[h.pos + 1 : h.pos + 9]))
        before = before[-max(1, (room.get("around", 0) - width(here)) // 2) :]
        return {
            "#": Piece(str(h.prompt_index + 1), "dim"), "id": Piece(safe(h.prompt_id)), "pos": Piece(str(h.pos)),
            "token": Piece(token_text(h.token), "token"),
            "around": Piece(f"{before}{here}{after}", "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return self.rows[i]._asdict()


def no_runs(root: Path) -> str:
    """What to run where there is no run yet."""
    return f"no runs in {root}; make one with: python -m neuron_signatures.poc1_dump_activations"


class RunTable:
    """The runs of a folder, broken ones too."""

    def __init__(self, rows: Sequence[RunSummary], empty: str = "reading ...") -> None:
        self.rows = rows
        self.empty = empty

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> Sequence[Column]:
        return (
            Column("name", "run", 0, least=18), Column("status", "status", 8), Column("model", "model", 14, drop=2),
            Column("prompts", "prompts", 7, right=True, drop=3), Column("tokens", "tokens", 8, right=True, drop=5),
            Column("bytes", "size", 9, right=True, drop=4),
            Column("stages", "stages, or fault", 0, drop=1, least=14),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        r = self.rows[i]
        return {
            "name": Piece(safe(r.name), "title"), "status": Piece(r.status, "warn" if r.status == "broken" else ""),
            "model": Piece(safe(r.model)), "prompts": Piece("" if r.n_prompts is None else str(r.n_prompts)),
            "tokens": Piece("" if r.n_tokens is None else str(r.n_tokens), "dim"),
            "bytes": Piece(human_bytes(r.n_bytes)),
            "stages": Piece(safe(r.problem), "warn") if r.problem else Piece(", ".join(r.stages) or "none yet", "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return dict(self.rows[i].__dict__)


class RefTable:
    """The ranked lists of a run."""

    def __init__(self, refs: Sequence[ListRef], empty: str) -> None:
        self.refs = refs
        self.empty = empty

    def __len__(self) -> int:
        return len(self.refs)

    def row_of(self, stem: str, otherwise: int) -> int:
        """Where the list of this name stands; `otherwise` if it is not there."""
        return next((i for i, r in enumerate(self.refs) if r.stem == stem), otherwise)

    def columns(self) -> Sequence[Column]:
        return (
            Column("kind", "kind", 10), Column("title", "list", 0, least=20), Column("made", "made (UTC)", 16, drop=1),
        )  # fmt: skip

    def cells(self, i: int, room: Mapping[str, int]) -> Mapping[str, Piece]:
        r = self.refs[i]
        title = f"broken: {r.problem}" if r.problem else f"of another dump? {r.title}" if r.doubt else r.title
        return {
            "kind": Piece(r.kind, "title"), "title": Piece(safe(title), "warn" if r.problem or r.doubt else ""),
            "made": Piece(safe(r.created_at_utc[:16].replace("T", " ")), "dim"),
        }  # fmt: skip

    def record(self, i: int) -> dict[str, Any]:
        return self.refs[i]._asdict()
