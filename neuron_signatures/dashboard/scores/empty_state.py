"""What to run where a run has no scores."""

from __future__ import annotations

from neuron_signatures.dashboard.explanations.empty_state import say_nothing_yet as say_no_explanations
from neuron_signatures.dashboard.shell.page_context import PageContext
from neuron_signatures.dashboard.widgets.elements import empty
from neuron_signatures.views.explanations.reading import has_explanations
from neuron_signatures.views.scores.commands import score_command


def say_nothing_yet(ctx: PageContext) -> None:
    """The command that makes scores; first the one that makes the explanations that are scored."""
    if not has_explanations(ctx.run_dir):
        say_no_explanations(ctx)
        return
    empty(
        "No explanation of this run has been scored. This command scores look-up rules, without a language model:",
        score_command(ctx.run_dir),
    )
