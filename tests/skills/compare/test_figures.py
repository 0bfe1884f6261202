"""Pictures of the tables: all are drawn and named, with the same bytes for the same values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from skills_made import made, write_made

from neuron_signatures.poc7_compare_skills import main
from neuron_signatures.runs.canvas import new_figure, save, shown
from neuron_signatures.runs.skills.meta import ResultMeta, read_meta

FAST = ["--mode", "compare", "--n_draws", "100", "--n_permutations", "100", "--n_halves", "5", "--no_probes",
        "--quiet", "--sources", "sae", "--sites", "res"]  # fmt: skip


@pytest.mark.slow
def test_pictures_are_written_and_named_in_the_record(tmp_path: Path) -> None:
    run_dir = write_made(tmp_path / "run", made())
    folder = run_dir / "skills" / "figures"
    folder.mkdir()
    (folder / "of_an_earlier_comparison.svg").write_text("<svg/>")
    assert main([*FAST, "--run_dir", str(run_dir), "--figures", "svg"]) == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"between_sae_kept.svg", "layers_sae.svg", "frequencies_sae.svg", "skills_sae.svg"} <= set(first)
    assert {"within_sae_arts_left_out.svg", "between_sae_idf.svg"} <= set(first)
    assert "of_an_earlier_comparison.svg" not in first
    assert read_meta(run_dir, "compare", ResultMeta).facts["figures"] == [
        f"figures/{name}" for name in sorted(first, key=list(read_figures(run_dir)).index)
    ]
    assert b"permuted labels" in first["layers_sae.svg"] and b"(24)" in first["between_sae_kept.svg"]


def read_figures(run_dir: Path) -> list[str]:
    return [name.removeprefix("figures/") for name in read_meta(run_dir, "compare", ResultMeta).facts["figures"]]


def test_the_same_values_give_the_same_bytes() -> None:
    files = []
    for _ in range(2):
        figure = new_figure(2.0, 2.0)
        figure.subplots().plot([1, 3, 2])
        files.append(saved(figure))
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["$_$", "a\x1b[31mb", "x" * 200])
def test_names_from_data_are_drawn_as_text(name: str) -> None:
    figure = new_figure(2.0, 2.0)
    figure.subplots().set_title(shown(name))
    assert b"\x1b" not in saved(figure) and len(shown(name)) < 30


def saved(figure: Figure) -> bytes:
    with tempfile.TemporaryFile() as file:
        save(figure, file, "svg")
        file.seek(0)
        return file.read()
