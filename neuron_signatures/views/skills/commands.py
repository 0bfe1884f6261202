"""Commands of stage 7, for viewers to show."""

from __future__ import annotations

import shlex
from pathlib import Path

from neuron_signatures.runs.skills.names import Mode

_STAGE = ("python", "-m", "neuron_signatures.poc7_compare_skills")


def skills_command(run_dir: Path, mode: Mode) -> str:
    """Runs one mode; `collect` with the texts and autoencoders of the demo."""
    demo = ("--texts", "demo", "--saes", "demo") if mode == "collect" else ()
    return shlex.join([*_STAGE, "--run_dir", str(run_dir), "--mode", mode, *demo])
