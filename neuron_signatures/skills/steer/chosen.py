"""The units that are steered: the most specific ones of each class and source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import SITES
from neuron_signatures.runs.skills.names import SKILLS
from neuron_signatures.runs.skills.reader import Skills
from neuron_signatures.skills.specific import SpecificChoice, SpecificUnit, first_units, specific_table

if TYPE_CHECKING:
    import pandas as pd


def specific_units(skills: Skills, choice: SpecificChoice) -> list[SpecificUnit]:
    """In order of class, source and rank. Raises as `specific_table` and `first_units`, and `UsageError` if nothing of
    the choice is in the table."""
    frame = specific_table(skills.run_dir, skills.meta)
    _refuse_unknown(skills, frame, choice)
    found = first_units(frame, skills.banks, choice, skills.run_dir)
    if not found:
        what = "no specific unit of the sources, sites, layers and classes that were asked for"
        raise UsageError(what, where=str(skills.run_dir / SKILLS), next_step="Ask for others")
    return found


def _refuse_unknown(skills: Skills, frame: pd.DataFrame, choice: SpecificChoice) -> None:
    """Raise `UsageError` for sources, sites, layers and classes that are not in the table."""
    for column, wanted in (("source", choice.sources), ("site", choice.sites), ("layer", choice.layers),
                           ("class", choice.classes)):  # fmt: skip
        known = set(frame[column].unique()) | (set(SITES) if column == "site" else set())
        for name in sorted(set(wanted or ()) - known, key=str):
            have = ", ".join(map(str, sorted(known, key=str)))
            what = f"{column} {name} has no specific units; there are {have}"
            raise UsageError(what, where=str(skills.run_dir / SKILLS))
