"""Evaluate the demo model: accuracies with and without a bar, and the loss per skill on fresh documents.

Reads   a model folder (the shipped one by default).
Prints  a table, or JSON with --json. Exit code 1 if a bar is missed.
Run     python scripts/eval_demo_model.py [--model DIR] [--json]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from neuron_signatures.demo import model_dir
from neuron_signatures.demo.evaluate import Accuracy, bars, reported, skill_losses


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    model, tokenizer = load(args.model)
    accuracies = [*bars(model, tokenizer), *reported(model, tokenizer)]
    losses = skill_losses(model, tokenizer)
    print(as_json(accuracies, losses) if args.json else as_table(accuracies, losses))
    return 0 if all(accuracy.passed for accuracy in accuracies) else 1


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=model_dir(), help="folder of the model")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


def load(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        sys.exit(f"{folder}: no model there (config.json is missing); give its folder with --model")
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def as_table(accuracies: list[Accuracy], losses: dict[str, float]) -> str:
    lines = ["| measure | right | of | share | bar |", "|---|---|---|---|---|"]
    for a in accuracies:
        bar = "" if a.bar is None else f"{a.bar:.0%}" + ("" if a.passed else " MISSED")
        lines.append(f"| {a.name} | {a.correct} | {a.total} | {a.value:.1%} | {bar} |")
    lines += ["", "| skill | loss on fresh documents (nats per token) |", "|---|---|"]
    lines += [f"| {skill} | {loss:.3f} |" for skill, loss in losses.items()]
    return "\n".join(lines)


def as_json(accuracies: list[Accuracy], losses: dict[str, float]) -> str:
    measured = [{**a._asdict(), "value": round(a.value, 4), "passed": a.passed} for a in accuracies]
    rounded = {skill: round(loss, 4) for skill, loss in losses.items()}
    return json.dumps({"accuracies": measured, "skill_losses": rounded}, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
