"""Which scores of a run a step of `score` has made."""

from __future__ import annotations

from pathlib import Path

from neuron_signatures.llm.choose import short_name
from neuron_signatures.runs.scores.meta import ScoreSettings, read_settings
from neuron_signatures.runs.scores.names import LOGS, scored_name
from neuron_signatures.scoring.stage.request import WITHOUT_MODEL
from neuron_signatures.steps.stages import Settings, scored_sets, scorers_of


def scores_of(settings: Settings, run_dir: Path) -> list[ScoreSettings]:
    """The begun scores that a step with these settings would continue."""
    sets, scorers = scored_sets(settings), scorers_of(settings)
    return [
        about
        for about in all_scores(run_dir)
        if about.scorer in scorers and (sets is None or about.set in sets) and about.name == _name(about, settings)
    ]


def all_scores(run_dir: Path) -> list[ScoreSettings]:
    found = (read_settings(run_dir, name) for name in LOGS.names(run_dir))
    return [about for about in found if about is not None]


def asked_a_model(about: ScoreSettings) -> bool:
    return bool(about.settings.get("llm", "none") != "none")


def _name(about: ScoreSettings, settings: Settings) -> str:
    """The name that the step gives to scores of this set by this scorer."""
    kind, _, model = str(settings.get("llm", "none")).partition(":")
    asked = "" if about.scorer in WITHOUT_MODEL else short_name(model) or kind
    sixty = "sixty" if settings.get("sampling") == "sixty" else ""
    added = "-".join(filter(None, (asked, sixty, settings.get("label"))))
    return scored_name(about.set, about.scorer, model=added, split=settings.get("part", "report"))
