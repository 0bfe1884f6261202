"""Tables of steering: what each amount does to the prediction and to the text."""

from __future__ import annotations

from neuron_signatures.runs.intervention_records import Dose, SteerRecord
from neuron_signatures.runs.tokens import escape
from neuron_signatures.views.interventions.labels import difference_name
from neuron_signatures.views.interventions.sheets import Sheet, columns

_LONGEST = 2000


def unsteered(record: SteerRecord) -> Dose | None:
    return next((d for d in record.doses if d.alpha == 0), None)


def is_broken(record: SteerRecord, dose: Dose) -> bool:
    """Whether the text of this amount is beyond the point where text breaks."""
    low, high = record.breaks_below, record.breaks_above
    return (low is not None and dose.alpha <= low) or (high is not None and dose.alpha >= high)


def dose_name(alpha: float) -> str:
    """`+4`, `-2.5`, `0`."""
    return f"{alpha:+g}" if alpha else "0"


def dose_remark(record: SteerRecord, dose: Dose) -> str:
    if dose.alpha == 0:
        return "unsteered"
    if is_broken(record, dose):
        return "breaks"
    return "turns" if dose.alpha == record.turns_at else ""


def doses_sheet(record: SteerRecord) -> Sheet:
    """One row per amount, beside random directions or neurons of the same norm."""
    start = unsteered(record)
    base = None if start is None else start.prediction.difference
    rows = [
        [dose_name(d.alpha), dose_remark(record, d), d.prediction.difference,
         None if base is None else d.prediction.difference - base, d.prediction.probability,
         d.perplexity, *_null(d, base), d.prediction.rank, d.prediction.kl, d.prediction.logprob]
        for d in record.doses
    ]  # fmt: skip
    shown = columns(
        ("alpha", "text"), ("note", "text"), (difference_name(record.target), "signed", "Before the soft cap."),
        ("change", "signed", "From the unsteered model."), ("p", "share", "Of the target."),
        ("perplexity", "size", "Of the text under the unsteered model."),
        ("p vs random", "p", "Against random edits of the same norm; not corrected for the number of amounts."),
        ("random 5 %", "signed", "The difference with random edits of the same norm."), ("random 95 %", "signed"),
        ("random mean", "signed"), ("sets", "count"), ("rank", "count", "Of the target; 0 is the most likely token."),
        ("KL", "size", "Nats."), ("log p", "signed", "Of the target, in nats."),
    )  # fmt: skip
    return Sheet("Doses", shown, rows).without_empty()


def dose_texts(record: SteerRecord) -> list[tuple[str, str]]:
    """Amount and text of each dose that has a text; the unsteered one is first."""
    doses = sorted(record.doses, key=lambda d: d.alpha != 0)
    return [(_text_label(record, d), dose_text(d)) for d in doses if d.text]


def dose_text(dose: Dose) -> str:
    """The text of an amount on one line; line breaks are `⏎`."""
    return escape(dose.text[:_LONGEST].replace("\n", "⏎"))


def _text_label(record: SteerRecord, dose: Dose) -> str:
    remark = dose_remark(record, dose)
    return f"alpha {dose_name(dose.alpha)}" + (f" {remark}" if remark else "")


def _null(d: Dose, base: float | None) -> tuple[float | int | None, ...]:
    """The difference with random edits: p, 5 and 95 %, mean, n."""
    if d.null is None or base is None:
        return (None,) * 5
    n = d.null
    return (n.p, *(None if x is None else base + x for x in (n.low, n.high, n.mean)), n.n)
