"""Flags and prompts for dumps of tiny models."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_models import tiny_model_dir

TEXTS = ["the capital of Dallas", "a", "Austin is in the capital of the state and on", "is in", "of an", "Dallas", "b"]


def write_prompts(path: Path, texts=TEXTS, **extra) -> Path:
    path.write_text(json.dumps([{"id": f"p{i}", "text": t, **extra} for i, t in enumerate(texts)]), encoding="utf-8")
    return path


def flags(tmp_path, *more, model="gemma2", out="run", prompts=None) -> list[str]:
    prompts = prompts or write_prompts(tmp_path / "prompts.json")
    given = ["--model_name", str(tiny_model_dir(model)), "--model_dtype", "fp32", "--device", "cpu", "--quiet"]
    return [*given, "--prompts_json", str(prompts), "--out_dir", str(tmp_path / out), *map(str, more)]
