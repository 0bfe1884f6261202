"""The flags of `poc7_compare_skills --mode compare`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from neuron_signatures.cli.parser import Parser
from neuron_signatures.cli.skills.shared import CHOICE

FLAGS = CHOICE | {"dry_run"}


def add_flags(parser: Parser) -> None:
    """What only this mode has."""


def run(args: Namespace, argv: Sequence[str]) -> int:
    """Carry out the command. Returns the exit code."""
    raise NotImplementedError
