"""A run of the demo model for tests of stage 3, and its commonest flags."""

from __future__ import annotations

import json
from pathlib import Path

from paths import ROOT

from neuron_signatures.poc1_dump_activations import main as dump

NEUTRAL = {
    "prompts": [{"text": "The opposite of hot is", "continuation": " cold"}, {"text": "In Texas there is"}],
    "held_out": "The capital of Texas is Austin, and the capital of Ohio is Columbus.",
}


def demo_run(folder: Path) -> Path:
    """A dump of the probe prompts through the demo model, in float32 to keep rounding small."""
    flags = ["--model_name", "demo", "--model_dtype", "fp32", "--save_dtype", "fp32", "--device", "cpu", "--quiet"]
    prompts = str(ROOT / "docs" / "probe_prompts_list.json")
    assert dump([*flags, "--prompts_json", prompts, "--out_dir", str(folder / "run")]) == 0
    return folder / "run"


def argv_of(run_dir: Path, *flags: str, neutral: Path | None = None) -> list[str]:
    """Flags of a short command: the fewest random sets, two neutral prompts (in the file `neutral`, which is made)."""
    neutral = neutral or run_dir.parent / "neutral.json"
    neutral.write_text(json.dumps(NEUTRAL))
    return ["--run_dir", str(run_dir), "--n_random", "100", "--neutral_json", str(neutral), "--quiet", *flags]


def files(run_dir: Path) -> list[str]:
    """Names in `interventions/`."""
    folder = run_dir / "interventions"
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
