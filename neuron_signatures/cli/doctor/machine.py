"""torch and its devices, memory, disks and the terminal."""

from __future__ import annotations

import locale
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from neuron_signatures.cli.doctor.child import Probed
from neuron_signatures.cli.doctor.finding import Finding, shown
from neuron_signatures.cli.doctor.libraries import has_torch
from neuron_signatures.cli.doctor.probe import ANSWER, PROMPT
from neuron_signatures.runs.files import human_bytes
from neuron_signatures.runs.host_memory import available_bytes, total_bytes

_LITTLE_DISK, _NO_DISK = 5_000_000_000, 200_000_000
_LITTLE_MEMORY: Final = 2_000_000_000
_NVIDIA: Final = Path("/proc/driver/nvidia/gpus")
_BF16: Final = (8, 0)
"""Compute capability from which GPUs compute in bf16."""


def torch_findings(probed: Probed) -> list[Finding]:
    """The build of torch, and its GPUs."""
    if not has_torch():
        what = "torch is not installed: the viewers work, and no stage that loads a model"
        return [Finding("torch", "note", what, "pip install -r requirements.txt")]
    found = probed.found.get("torch")
    if found is None:
        step = "python -m pip install --force-reinstall torch, or remove .venv and run make demo"
        return [Finding("torch", "problem", f"torch is installed, but cannot be imported: {probed.failure}", step)]
    build = "built for the CPU" if found["cuda"] is None else f"built for CUDA {found['cuda']}"
    lines = [Finding("torch", "ok", f"torch {found['version']}, {build}, {found['threads']} threads")]
    lines += [Finding("torch", "note", shown(text)) for text in found["warnings"]]
    return lines + (_gpus(found["devices"]) or [_no_gpu(found)])


def forward_findings(probed: Probed) -> list[Finding]:
    """What the demo model says."""
    found = probed.found.get("forward")
    if found is None:
        if "torch" not in probed.found:
            return []  # said already
        step = "pip install --force-reinstall -r requirements.txt"
        return [Finding("torch", "problem", f"the demo model does not run: {probed.failure}", step)]
    says = f"the demo model answers {found['token']!r} ({found['probability']:.3f}) on {found['device']}"
    text = f"{says} in {found['seconds']:.1f} s"
    if found["token"] == ANSWER:
        return [Finding("torch", "ok", text)]
    step = "Compare --device cpu; install torch again"
    return [Finding("torch", "problem", f"{text}; it should be {ANSWER!r} after {PROMPT!r}", step)]


def memory_findings() -> list[Finding]:
    total, free = total_bytes(), available_bytes()
    if total is None or free is None:
        return [
            Finding("memory", "ok", "this system does not say how much memory is free: no model is quantised for it")
        ]
    text = f"RAM {human_bytes(total)}, {human_bytes(free)} free"
    if free < _LITTLE_MEMORY:
        return [Finding("memory", "note", text, "Close other programs before a model of some GB is loaded")]
    return [Finding("memory", "ok", text)]


def disk_findings(places: Mapping[str, Path]) -> list[Finding]:
    """Free space at places by what they hold, and at the temporary folder; one line for each file system."""
    lines, by_device = list[Finding](), dict[int, tuple[Path, list[str]]]()
    for what, path in {**places, "temporary files": Path(tempfile.gettempdir())}.items():
        there = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
        by_device.setdefault(there.stat().st_dev, (there, []))[1].append(f"{what} ({shown(str(path))})")
    for there, names in by_device.values():
        free = shutil.disk_usage(there).free
        text = f"{human_bytes(free)} free for {', '.join(names)}"
        if free < _NO_DISK:
            lines.append(Finding("disk", "problem", text, "Free some space"))
        elif free < _LITTLE_DISK:
            lines.append(Finding("disk", "note", text, "A model of seven billion parameters takes 15 GB"))
        else:
            lines.append(Finding("disk", "ok", text))
    return lines


def terminal_findings(environ: Mapping[str, str]) -> list[Finding]:
    """What viewers can show here."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    size, is_terminal = shutil.get_terminal_size(), sys.stdout.isatty()
    term = shown(environ.get("TERM", "") or "not set", environ)
    colours = "no colours (NO_COLOR)" if "NO_COLOR" in environ else "colours"
    text = f"{encoding}, {locale.getpreferredencoding(False).lower()}, TERM {term}, {colours}"
    lines = []
    if encoding != "utf8":
        what = f"{text}: characters outside of it are shown as escapes"
        lines.append(Finding("terminal", "note", what, "export LANG=C.UTF-8, or set PYTHONUTF8=1"))
    elif is_terminal and environ.get("TERM", "") in ("", "dumb", "unknown"):
        what = f"{text}: `browse` needs a terminal with full-screen programs"
        lines.append(Finding("terminal", "note", what, "export TERM=xterm-256color, or browse --print text"))
    else:
        lines.append(Finding("terminal", "ok", text))
    if is_terminal and (size.columns < 80 or size.lines < 24):
        what = f"{size.columns} columns and {size.lines} lines"
        lines.append(Finding("terminal", "note", what, "`browse` shows more in 80 columns and 24 lines"))
    return lines


def _gpus(devices: list[dict[str, Any]]) -> list[Finding]:
    found = []
    for n, gpu in enumerate(devices):
        major, minor = gpu["capability"]
        text = (
            f"cuda:{n} {shown(gpu['name'])}: {human_bytes(gpu['total'])}, {human_bytes(gpu['free'])} free, "
            f"compute capability {major}.{minor}"
        )
        if (major, minor) < _BF16:
            what = f"{text}: no bf16 in hardware, which is the default"
            found.append(Finding("torch", "note", what, "Use --model_dtype fp16 or fp32"))
        else:
            found.append(Finding("torch", "ok", text))
    return found


def _no_gpu(found: dict[str, Any]) -> Finding:
    """Why torch sees no GPU."""
    if found["mps"]:
        return Finding("torch", "ok", "Apple's GPU (mps); how much of its memory is free is unknown")
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    nvidia = _NVIDIA.is_dir() and any(_NVIDIA.iterdir())
    if nvidia and found["cuda"] is None:
        step = "pip install --force-reinstall torch from the index of your CUDA version (pytorch.org)"
        return Finding("torch", "problem", "an NVIDIA GPU is here, but this torch is built for the CPU", step)
    if nvidia and hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("torch", "note", "CUDA_VISIBLE_DEVICES hides the GPUs", "unset CUDA_VISIBLE_DEVICES")
    if nvidia:
        step = "Compare `nvidia-smi` with the CUDA of torch: the driver may be too old for it"
        return Finding("torch", "problem", "an NVIDIA GPU is here, and torch cannot use it", step)
    return Finding("torch", "ok", "no GPU: models run on the CPU")
