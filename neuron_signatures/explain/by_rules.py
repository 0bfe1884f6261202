"""Look-up rules of many poles, without a language model."""

from __future__ import annotations

import time

from neuron_signatures.explain.answers import Author, rule_entry
from neuron_signatures.explain.outcome import Tally
from neuron_signatures.explain.taking import Taking
from neuron_signatures.runs.explanations.log import ExplanationLog
from neuron_signatures.runs.progress import Bar
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.stopping import HeldStop
from neuron_signatures.scoring.lookup.rule import rule_of

NO_RULE = "no set of tokens and n-grams tells when it is active"


def explain_by_rules(
    poles: Taking, records: Records, author: Author, into: ExplanationLog, tally: Tally, bar: Bar,
    stop: HeldStop,
) -> None:  # fmt: skip
    """Store the rule of each pole. A pole without one is left out."""
    for at in poles:
        started = time.monotonic()
        rule = rule_of(records, at)
        if rule is None:
            tally.leave_out(at.label, NO_RULE)
            bar.extend(int(poles.gave_nothing()))
        else:
            seconds = time.monotonic() - started
            into.append(rule_entry(at, rule, author, seconds=seconds, new_id=into.new_id()))
            tally.statuses["ok"] += 1
        bar.advance(1)
        if stop.wanted:
            return
