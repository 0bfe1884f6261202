"""A copy of the project for commands that write into it, and the commands of its pages."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from paths import ROOT


def copy_project(folder: Path) -> Path:
    """The project without results, with the Python of the tests as its virtual environment."""
    kept = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "tests")
    shutil.copytree(ROOT, folder, ignore=lambda path, names: {*kept(path, names), *_results(path)})
    (folder / "runs").mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def commands_of(page: str, heading: str) -> list[str]:
    """The lines of all code blocks of a section, without comments."""
    section = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.S)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def _results(path: str) -> set[str]:
    return {"runs"} if Path(path) == ROOT else set()
