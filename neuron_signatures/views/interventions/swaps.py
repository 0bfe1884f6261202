"""Tables of swaps: answers before and after, the curve over k, cells, pairs, and shared lists."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from neuron_signatures.runs.intervention_records import (
    Answer,
    BandRow,
    Cell,
    CurveRow,
    SharedList,
    ShareRow,
    SwapPair,
    SwapRecord,
    SwapSummary,
)
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.interventions.labels import pair_title
from neuron_signatures.views.interventions.sheets import (
    Sheet,
    Value,
    columns,
    counted,
    neurons_of,
    share_text,
)

_RANK = "Rank of the token in the prediction; 0 is the most likely token."


def answers_sheet(pair: SwapPair) -> Sheet:
    """Both answers before and after the edit."""
    rows: list[list[Value]] = [
        [visible(b.token), whose, b.probability, a.probability, b.rank, a.rank, b.logit, a.logit, a.logit - b.logit]
        for whose, b, a in zip(("source", "destination"), pair.before, pair.after, strict=True)
    ]
    shown = columns(
        ("answer", "text"), ("of", "text", "The prompt whose answer it is."), ("p before", "share"),
        ("p after", "share"), ("rank before", "count", _RANK), ("rank after", "count", _RANK),
        ("logit before", "signed", "Before the soft cap."), ("logit after", "signed", "Before the soft cap."),
        ("change", "signed", "Of the logit."),
    )  # fmt: skip
    return Sheet("Before and after", shown, rows)


def top_sheet(before: Sequence[Answer], after: Sequence[Answer], names: tuple[str, str] = ("before", "after")) -> Sheet:
    """The most likely tokens of both predictions, side by side."""
    rows = [
        [i, *(x for a in pair for x in (("", None) if a is None else (visible(a.token), a.probability)))]
        for i, pair in enumerate(zip_longest(before, after))
    ]
    first, second = names
    shown = columns(
        ("rank", "count"), (first, "text"), (f"p {first}", "share"), (second, "text"), (f"p {second}", "share")
    )
    return Sheet("Most likely tokens", shown, rows).without_empty()


def curve_points(pair: SwapPair) -> list[CurveRow]:
    """The curve, which begins with the unedited prompt."""
    if pair.curve and pair.curve[0].k == 0:
        return list(pair.curve)
    source, destination = pair.before
    clean = CurveRow(
        k=0, difference=pair.difference_before, predicted=0.0, source_probability=source.probability,
        destination_probability=destination.probability, source_rank=source.rank, destination_rank=destination.rank,
    )  # fmt: skip
    return [clean, *pair.curve]


def curve_sheet(pair: SwapPair) -> Sheet:
    """The swap's curve over k beside what attribution predicted and what random cells do."""
    band = {b.k: b for b in pair.band}
    start = pair.difference_before
    rows = [
        [p.k, "flips" if p.k == pair.smallest_k else "", p.difference, start + p.predicted,
         *_band(band.get(p.k), start)[:2],
         p.source_probability, p.destination_probability, p.source_rank, p.destination_rank,
         *_band(band.get(p.k), start)[2:]]
        for p in curve_points(pair)
    ]  # fmt: skip
    shown = columns(
        ("k", "count", "Cells set, in order of choice."),
        ("note", "text"),
        ("difference", "signed", "Logit of the source's answer - logit of the destination's."),
        ("predicted", "signed", "The difference that attribution predicted."),
        ("random 5 %", "signed", "The difference with random cells of the same norms."),
        ("random 95 %", "signed"),
        ("p source", "share", "Of the source's answer."),
        ("p destination", "share", "Of the destination's answer."),
        ("rank source", "count", _RANK),
        ("rank destination", "count", _RANK),
        ("random mean", "signed"),
        ("random sets", "count"),
    )
    return Sheet("Curve", shown, rows).without_empty()


def cells_sheet(cells: Sequence[Cell], tokens: Sequence[str], title: str = "Cells") -> Sheet:
    """The changed activations in order of choice. `tokens` are those of the prompt."""
    rows = [
        [i + 1, f"L{c.layer}N{c.neuron}", c.pos, visible(tokens[c.pos]) if c.pos < len(tokens) else "",
         brief(c.role), c.act, c.value, c.predicted, c.delta_norm]
        for i, c in enumerate(cells)
    ]  # fmt: skip
    shown = columns(
        ("#", "count", "Order of choice."), ("neuron", "text"), ("pos", "count"), ("token", "text"),
        ("role", "text", "Which position it is: entity, last, or counted from one of them."),
        ("act", "signed", "Activation of the unedited prompt."), ("new value", "signed"),
        ("predicted", "signed", "Effect that attribution predicted for this cell alone."),
        ("norm", "size", "Norm of the change in the residual stream."),
    )  # fmt: skip
    return Sheet(title, shown, rows, neurons_of(cells)).without_empty()


def summary_lines(summary: SwapSummary) -> list[tuple[str, str]]:
    """Label and text of the numbers over all pairs."""
    share = f"{share_text(summary.share)} [{share_text(summary.share_low)}, {share_text(summary.share_high)}]"
    k = "undefined" if summary.median_k is None else f"{summary.median_k:g}"
    if summary.median_k_low is not None and summary.median_k_high is not None:
        k += f" [{summary.median_k_low:g}, {summary.median_k_high:g}]"
    return [
        ("flipped", f"{summary.n_flipped:,} of {counted(summary.n_pairs, 'pair')}: {share}"),
        ("median k", f"{k} of the flipped pairs"),
        ("against random", f"{counted(summary.n_random_beaten, 'pair')} with p ≤ .05 against random sets"),
    ]


def pairs_sheet(record: SwapRecord) -> Sheet:
    """All pairs; a row opens one."""
    rows = [
        [i + 1, brief(p.id), pair_title(p), p.smallest_k, p.k, p.difference_before, p.difference_after,
         "held out" if p.held_out else "", p.controls.random.p if p.controls and p.controls.random else None]
        for i, p in enumerate(record.pairs)
    ]  # fmt: skip
    shown = columns(
        ("#", "count"), ("pair", "text"), ("answers", "text", "The destination's → the source's."),
        ("smallest k", "count", "Fewest cells that make the source's answer the most likely token; empty: none did."),
        ("k", "count", "Cells set."), ("before", "signed", "Logit difference."), ("after", "signed"),
        ("role", "text"), ("p", "p", "Against random sets."),
    )  # fmt: skip
    return Sheet("All pairs", shown, rows).without_empty()


def shares_sheet(summary: SwapSummary) -> Sheet:
    """Share of the pairs that the first k cells flip, at every k at which it changes."""
    rows = _changing([[r.k, r.share, r.low, r.high] for r in summary.flipped_by_k])
    shown = columns(("k", "count"), ("flipped", "share"), ("95 % from", "share"), ("to", "share"))
    return Sheet("Pairs flipped by the first k cells", shown, rows)


def shared_lines(shared: SharedList) -> list[tuple[str, str]]:
    """Label and text: what the shared list was chosen on, and how it does on the other pairs."""
    chosen = f"{counted(len(shared.cells), 'neuron')} chosen on {counted(shared.n_selection, 'pair')}"
    rows = [("shared list", chosen)]
    for what, of, n, k in (
        ("selection", shared.selection, shared.n_selection, shared.chosen_k),
        ("held out", shared.held_out, shared.n_held_out, shared.chosen_k),
        ("random sets", shared.held_out_random, shared.n_held_out, shared.chosen_k),
        ("fewest cells", shared.held_out, shared.n_held_out, shared.fewest_k),
    ):
        row = next((r for r in of if r.k == k), None)
        if row is not None:
            share = f"{share_text(row.share)} [{share_text(row.low)}, {share_text(row.high)}]"
            pairs = counted(n, "pair") if of is shared.selection else counted(n, "held-out pair")
            why = ", the fewest for the selection" if what == "fewest cells" else ""
            rows.append((what, f"{share} of {pairs} flipped by {counted(k, 'cell')}{why}"))
    if shared.held_out_median_k is not None:
        rows.append(("median k", f"{shared.held_out_median_k:g} of the flipped held-out pairs"))
    return rows


def shared_shares_sheet(shared: SharedList) -> Sheet:
    """Share of pairs flipped by the shared list, at every k at which one changes: selection, held out, random sets."""
    by_k = [{r.k: r for r in rows} for rows in (shared.selection, shared.held_out, shared.held_out_random)]
    ks = sorted({k for rows in by_k for k in rows})
    selection, held_out, random = by_k
    rows = [
        [k, *_share(held_out.get(k)), getattr(random.get(k), "share", None), getattr(selection.get(k), "share", None)]
        for k in ks
    ]
    rows = _changing(rows)
    shown = columns(
        ("k", "count"), ("held out", "share"), ("95 % from", "share"), ("to", "share"),
        ("random, held out", "share", "Flipped by random sets of the same size and norm."),
        ("selection", "share", "On the pairs that the list was chosen on: an optimistic number."),
    )  # fmt: skip
    return Sheet("Pairs flipped by the shared list", shown, rows).without_empty()


def shared_cells_sheet(shared: SharedList) -> Sheet:
    rows: list[list[Value]] = [
        [i + 1, f"L{c.layer}N{c.neuron}", brief(c.role), c.predicted] for i, c in enumerate(shared.cells)
    ]
    shown = columns(("#", "count"), ("neuron", "text"), ("role", "text"),
                    ("predicted", "signed", "Mean over the selection pairs."))  # fmt: skip
    return Sheet("Neurons of the shared list", shown, rows, neurons_of(shared.cells))


def _changing(rows: list[list[Value]]) -> list[list[Value]]:
    """The first and the last row, and those that differ from the row before in more than k."""
    last = len(rows) - 1
    return [row for i, row in enumerate(rows) if i in (0, last) or row[1:] != rows[i - 1][1:]]


def _band(row: BandRow | None, start: float) -> tuple[float | int | None, ...]:
    """The difference with random cells: 5 and 95 %, mean, number of sets."""
    if row is None:
        return None, None, None, None
    return start + row.low, start + row.high, start + row.mean, row.n


def _share(row: ShareRow | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if row is None else (row.share, row.low, row.high)
