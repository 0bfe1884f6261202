"""Executes the notebooks in docs/notebooks, for the test and to write their outputs again:

python tests/notebook_outputs.py
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SECONDS = 300
"""For one cell."""


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with new outputs. Raises `CellExecutionError` if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        client.execute(env=_environment(folder), stderr=subprocess.DEVNULL)  # ipykernel 7.4 warns of TCP on loopback
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """The plain texts of each code cell."""
    return [
        [output.text if "text" in output else output.data["text/plain"] for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def split_numbers(text: str) -> tuple[str, list[float]]:
    """A text without its numbers, checksums and the spaces that align columns, and the numbers."""
    text, number = re.sub(r"sha256 \w+", "sha256", text), r"(?<![\w.])-?\d*\.?\d+"
    return re.sub(r"\s+", " ", re.sub(number, "#", text)).strip(), [float(n) for n in re.findall(number, text)]


def _environment(folder: str) -> dict[str, str]:
    """One thread, no network, and nothing of the user's own settings."""
    own = {"IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "NEURON_SIGNATURES_CACHE": folder}
    return {
        **os.environ, **own, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # Streamlit sets another one in a test process
    }  # fmt: skip


def main() -> None:
    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
