"""The sections of the report in their order. A later stage adds a module with one function, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from neuron_signatures.reporting.opened import ReportRun
from neuron_signatures.reporting.section import Section
from neuron_signatures.reporting.sections.circuits import circuits
from neuron_signatures.reporting.sections.drift import drift
from neuron_signatures.reporting.sections.explanations import explanations
from neuron_signatures.reporting.sections.glossary import glossary
from neuron_signatures.reporting.sections.interventions import interventions
from neuron_signatures.reporting.sections.neurons import neurons
from neuron_signatures.reporting.sections.provenance import provenance
from neuron_signatures.reporting.sections.question import question
from neuron_signatures.reporting.sections.ranking import ranking
from neuron_signatures.reporting.sections.skills import skills
from neuron_signatures.reporting.sections.unchecked import unchecked

SECTIONS: tuple[Callable[[ReportRun], Section | None], ...] = (
    question, neurons, ranking, circuits, explanations, interventions, skills, drift, unchecked, provenance, glossary,
)  # fmt: skip
"""A section is None where the report has nothing to say about it."""
