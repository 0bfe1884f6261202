"""Commands that make scores of explanations, for viewers to show."""

from __future__ import annotations

import shlex
from pathlib import Path

from neuron_signatures.views.explanations.commands import nothing_text as no_explanations
from neuron_signatures.views.explanations.reading import has_explanations

_STAGE = ("python", "-m", "neuron_signatures.poc6_score_explanations")


def score_command(run_dir: Path, *flags: str) -> str:
    """Makes scores; without flags, by rules, which need no language model."""
    return shlex.join([*_STAGE, "--run_dir", str(run_dir), *(flags or ("--scorers", "rule"))])


def nothing_text(run_dir: Path) -> str:
    """What to run where there are no scores: first what makes the explanations that are scored."""
    if not has_explanations(run_dir):
        return no_explanations(run_dir)
    return f"no scores yet; this command makes some: {score_command(run_dir)}"
