"""The flags that each mode of stage 3 accepts; a flag without effect is an error."""

from __future__ import annotations

from collections.abc import Collection

from neuron_signatures.runs.errors import UsageError

_MODEL = ("model_name", "model_dtype", "device", "device_map", "trust_remote_code", "deterministic")
EVERYWHERE = (
    "run_dir", "mode", "prompt_id", "n_random", "seed", "batch", "neutral_json", "dry_run", "quiet", "json", "help",
    *_MODEL,
)  # fmt: skip
_NEURONS = ("neurons", "from_list", "top_k", "neurons_json")
_TARGET = (
    "target_mode", "target_token", "target_token_id", "foil_token", "foil_token_id", "target_pos", "function",
)  # fmt: skip
FLAGS: dict[str, tuple[str, ...]] = {
    "effect": (
        *_NEURONS, *_TARGET, "all", "edit", "value", "positions", "source_prompt", "source_text", "reference",
        "min_mean_tokens",
    ),
    "swap": (
        "source_prompt", "source_text", "pairs_json", "held_out", "wrong_source", "positions", "target_token",
        "foil_token", "max_k", "block",
    ),
    "steer": (
        *_NEURONS, *_TARGET, "positions", "alpha", "unit", "reference", "direction", "direction_file", "layer",
        "max_new_tokens", "temperature", "edit_generated", "break_factor",
    ),
}  # fmt: skip


def check_flags(mode: str, given: Collection[str]) -> None:
    """Raise `UsageError` for the first flag (without its dashes) that has no effect in this mode."""
    for flag in sorted(given):
        if flag not in EVERYWHERE and flag not in FLAGS[mode]:
            modes = " or ".join(f"--mode {m}" for m, flags in FLAGS.items() if flag in flags)
            name = "--from" if flag == "from_list" else f"--{flag}"
            raise UsageError(f"has no effect with --mode {mode}", where=name, next_step=f"Use it with {modes}")
