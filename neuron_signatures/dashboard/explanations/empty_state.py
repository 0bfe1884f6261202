"""What to run where a run has no explanations."""

from __future__ import annotations

from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty
from neuron_signatures.views.explanations.commands import explain_command
from neuron_signatures.views.records.commands import has_records, records_command


def say_nothing_yet(ctx: PageContext) -> None:
    """The command that makes explanations; first the one that makes the records that they are written from."""
    if not has_records(ctx.run_dir):
        empty(
            "This run has no explanations yet. They are written from records of a corpus, which this command makes:",
            records_command(ctx.run_dir),
        )
        return
    empty(
        "This run has no explanations yet. This command finds rules for the recorded neurons, without a language "
        "model:",
        explain_command(ctx.run_dir),
    )
