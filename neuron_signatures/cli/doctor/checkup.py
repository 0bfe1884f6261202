"""All checks, and what to run next."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_signatures.cli.doctor.child import Probe, Probed
from neuron_signatures.cli.doctor.finding import Finding, shown
from neuron_signatures.cli.doctor.libraries import has_torch, library_findings
from neuron_signatures.cli.doctor.machine import (
    disk_findings,
    forward_findings,
    memory_findings,
    terminal_findings,
    torch_findings,
)
from neuron_signatures.cli.doctor.places import (
    PORT,
    Runs,
    address_findings,
    hub_findings,
    key_findings,
    port_finding,
    runs_findings,
)

_NOT_RUN: Final = Probed({}, "not tried")


@dataclass(frozen=True)
class Checkup:
    """What was found, and the commands to run next."""

    findings: list[Finding]
    next: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is a problem."""
        return all(f.level != "problem" for f in self.findings)

    def fields(self) -> dict[str, Any]:
        return {"ok": self.ok, "findings": [f._asdict() for f in self.findings], "next": self.next}

    def lines(self) -> list[str]:
        lines, section = list[str](), ""
        for f in self.findings:
            if f.section != section:
                lines += [*([""] if section else []), f.section]
                section = f.section
            lines.append(f"  {f.level:8} {f.text}")
            lines += [f"  {'':8} -> {f.next_step}"] if f.next_step else []
        problems, notes = (sum(f.level == level for f in self.findings) for level in ("problem", "note"))
        counts = f"{problems} {'problem' if problems == 1 else 'problems'}, {notes} {'note' if notes == 1 else 'notes'}"
        return [*lines, "", counts, "next", *(f"  {step}" for step in self.next)]


def check_up(runs_root: Path, *, quick: bool, port: int = PORT) -> Checkup:
    """Look at everything. `quick` runs no model. Asks no other machine, and writes nothing."""
    try_torch = has_torch()
    hub = Probe("hub")
    models = Probe("torch", "converted", *(() if quick else ("forward",))) if try_torch else None
    found = library_findings()
    runs, there = runs_findings(runs_root)
    rest = [*runs, port_finding(port), *memory_findings(), *terminal_findings(os.environ)]
    keys = [*key_findings(os.environ), *address_findings(os.environ)]
    probed, hub_probed = _NOT_RUN if models is None else models.result(), hub.result()
    found += torch_findings(probed)
    found += [] if quick else forward_findings(probed)
    places = {"runs": runs_root}
    if "hub" in hub_probed.found:
        places["the Hub's cache"] = Path(hub_probed.found["hub"]["cache"])
    found += [*hub_findings(hub_probed, probed), *keys, *disk_findings(places), *rest]
    found = [f._replace(text=shown(f.text), next_step=shown(f.next_step)) for f in found]
    return Checkup(found, _next_steps(found, there, runs_root, has_models=try_torch))


def _next_steps(found: list[Finding], runs: Runs, root: Path, *, has_models: bool) -> list[str]:
    first = next((f for f in found if f.level == "problem" and f.next_step), None)
    program = f"{Path(sys.executable).name} -m neuron_signatures"
    steps = [f"{first.next_step}   (the first problem above)"] if first is not None else []
    if not has_models:
        steps.append("pip install -r requirements.txt   (stages that load a model)")
    if not runs.names:
        steps.append("make demo   (the pipeline on the included demo model; three minutes)")
        return steps
    name = runs.names[0]
    run = shown(str(root / name))
    return [
        *steps,
        f"{program} browse --run_dir {run}   (in the terminal)",
        f"{program} explore --runs_root {shown(str(root))} --run {shown(name)}   (in a web page)",
    ]
