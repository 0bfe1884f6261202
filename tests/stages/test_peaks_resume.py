"""A stopped `--mode peaks` goes on with the layers that are left, and writes the same files."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from paths import DEMO_RUN

from neuron_signatures.poc2_analyze_run import main
from neuron_signatures.runs import partial as partial_module
from neuron_signatures.runs.results import read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.verify import verify_run

PARTIAL = "neurons_aggregated_partial.npz"


class Stop(Exception):
    """Stands for a failure of a library."""


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """The small committed run, with layers 1, 3 and 4, without its results."""
    shutil.copytree(DEMO_RUN, tmp_path / "run", ignore=shutil.ignore_patterns("analysis"))
    return tmp_path / "run"


def peaks(run_dir: Path, *flags: str) -> None:
    assert main(["--run_dir", str(run_dir), *flags]) == 0


def refuse(m: pytest.MonkeyPatch, *layers: int) -> None:
    """Make reading these layers fail."""
    real = Run.acts

    def acts(self, prompt, layer=None, **more):
        if layer in layers:
            raise Stop
        return real(self, prompt, layer=layer, **more)

    m.setattr(Run, "acts", acts)


def stopped(run_dir: Path, monkeypatch, *layers: int, flags: tuple[str, ...] = ()) -> None:
    """Run the command until one of these layers is read."""
    with monkeypatch.context() as m:
        refuse(m, *layers)
        with pytest.raises(Stop):
            main(["--run_dir", str(run_dir), *flags])


def content(run_dir: Path) -> dict[str, object]:
    found: dict[str, object] = {p.name: p.read_bytes() for p in (run_dir / "analysis").iterdir()}
    record = read_json(run_dir, "analysis_meta.json")
    return {**found, "analysis_meta.json": {**record, "created_at_utc": None, "record_sha256": None}}


def whole(run_dir: Path, tmp_path: Path, *flags: str) -> dict[str, object]:
    """The files of a command that was not stopped."""
    shutil.copytree(run_dir, tmp_path / "whole", ignore=shutil.ignore_patterns("analysis"))
    peaks(tmp_path / "whole", *flags)
    return content(tmp_path / "whole")


def test_finished_layers_are_not_read_again(run_dir, tmp_path, monkeypatch, caplog):
    stopped(run_dir, monkeypatch, 4)
    assert (run_dir / "analysis" / PARTIAL).is_file() and verify_run(run_dir).faults == []
    with monkeypatch.context() as m:
        refuse(m, 1, 3)
        peaks(run_dir)
    assert "resuming with 2 of 3 layers done" in caplog.text
    assert content(run_dir) == whole(run_dir, tmp_path) and PARTIAL not in content(run_dir)


def test_a_small_run_that_is_not_stopped_stores_nothing(run_dir, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(partial_module.Partial, "save_now", lambda self, arrays: written.append(*arrays))
    peaks(run_dir)
    assert written == []


def test_layers_are_stored_while_a_long_command_runs(run_dir, monkeypatch):
    """As after kill -9, when nothing is stored at the end."""
    monkeypatch.setattr(partial_module, "_EVERY_SECONDS", 0.0)
    stored: list[int] = []
    real = partial_module.Partial.save_now
    monkeypatch.setattr(partial_module.Partial, "save_now", lambda self, a: stored.append(len(a)) or real(self, a))
    monkeypatch.setattr(partial_module, "_MOST_SHARE", 1e9)
    peaks(run_dir)
    assert len(stored) == 3 and stored[2] == 3 * stored[0] and not (run_dir / "analysis" / PARTIAL).exists()


@pytest.mark.parametrize("flags", [("--first_pos", "2"), ("--act_threshold", "0.5"), ("--include_bos",)])
def test_layers_of_other_settings_are_computed_again(run_dir, tmp_path, monkeypatch, caplog, flags):
    stopped(run_dir, monkeypatch, 4)
    caplog.set_level(logging.INFO, logger="neuron_signatures")
    peaks(run_dir, *flags)
    assert "its settings were others" in caplog.text and "resuming" not in caplog.text
    assert content(run_dir) == whole(run_dir, tmp_path, *flags)


def test_another_selection_uses_the_finished_layers(run_dir, tmp_path, monkeypatch):
    stopped(run_dir, monkeypatch, 4)
    with monkeypatch.context() as m:
        refuse(m, 1, 3)
        peaks(run_dir, "--rank_by", "max_act", "--top_k", "3")
    assert content(run_dir) == whole(run_dir, tmp_path, "--rank_by", "max_act", "--top_k", "3")


def changed(array: str, change: Callable[[np.ndarray], np.ndarray]):
    return lambda arrays: {**arrays, array: change(arrays[array])}


@pytest.mark.parametrize(
    "change",
    [
        changed("L1_max_act_token_id", lambda a: a + 10**6),
        changed("L1_mode_peak_token_id", lambda a: a - 10**6),
        changed("L3_mean_act", lambda a: a[:-1]),
        changed("L3_mean_act", lambda a: a.astype("U")),
        changed("L3_nonfinite_of_prompts", lambda a: a[1:]),
        lambda arrays: {k: v for k, v in arrays.items() if k != "L3_mean_act"},
        lambda arrays: {**arrays, "L3_more": arrays["L3_mean_act"]},
        lambda arrays: {k.replace("L3_", "L2_"): v for k, v in arrays.items()},
        lambda arrays: {**arrays, "other": np.zeros(3)},
    ],
)
def test_layers_of_another_form_are_computed_again(run_dir, tmp_path, monkeypatch, caplog, change):
    stopped(run_dir, monkeypatch, 4)
    path = run_dir / "analysis" / PARTIAL
    with np.load(path) as stored:
        arrays = dict(stored)
    with path.open("wb") as f:
        np.savez(f, **change(arrays))
    peaks(run_dir)
    assert "the stored layers are not those of this run" in caplog.text
    assert content(run_dir) == whole(run_dir, tmp_path)


def test_a_damaged_file_gives_a_warning(run_dir, tmp_path, monkeypatch, caplog):
    stopped(run_dir, monkeypatch, 4)
    path = run_dir / "analysis" / PARTIAL
    path.write_bytes(path.read_bytes()[:-50])
    peaks(run_dir)
    assert f"{PARTIAL} is damaged" in caplog.text and content(run_dir) == whole(run_dir, tmp_path)
    assert json.loads((run_dir / "analysis" / "top_neurons.json").read_text())["neurons"]
