"""The flags that each mode of stage 2 accepts; a flag without effect is an error."""

from __future__ import annotations

from collections.abc import Collection

from neuron_signatures.runs.errors import UsageError

_SELECTION = ("top_k", "cumulative_threshold", "per_layer_k")
_TOKENS = ("first_pos", "include_bos", "functional_tokens_json")
_MODEL = ("model_name", "model_dtype", "device", "device_map", "trust_remote_code", "deterministic")
# In peaks mode these need --write_scores, which loads the model.
_SCORES = ("prompt_id", "target_pos", "explicit_tokens", *_MODEL)
# These need --validate.
_VALIDATION = ("sample", "n_random", "rank_signed", "min_effect")

# Of the ablations of single neurons.
_SHARDS = ("shard", "merge", "engine", "ray_address", "n_shards")

EVERYWHERE = ("run_dir", "mode", "quiet", "json", "help")
FLAGS: dict[str, tuple[str, ...]] = {
    "peaks": (*_SELECTION, *_TOKENS, "rank_by", "act_threshold", "write_scores", *_SCORES),
    "influence": (
        *_SELECTION, "write_scores", *_SCORES, "target_mode", "target_token", "target_token_id", "foil_token",
        "foil_token_id", "ctx_idx", "function", "influence_metric", "ig_steps", "ig_max_steps", "ig_path",
        "value_neurons",
        "reference", "min_mean_tokens", "ablation_batch", "layers", "top_from", "validate", *_VALIDATION, "seed",
        *_SHARDS,
    ),
    "signatures": (
        *_TOKENS, "seed", "seed_prompt", "concepts_json", "active_above", "active_share", "min_concept_prompts",
        "min_shared_tokens", "target_window", "min_active", "weak_pole", "max_q", "n_null",
        "semantic_min_consistency", "semantic_max_distinct",
        "semantic_max_depth", "semantic_min_conf", "say_min_functional", "say_min_conf", "say_min_depth",
        "relationship_max_sparsity",
    ),
    "write_scores": ("write_scores", "layers", *_MODEL),
    "contrast": (
        "a", "b", "reduce", "design", "rank_by", "top_k", "first_pos", "include_bos", "max_q", "n_null", "seed",
    ),
}  # fmt: skip


def check_flags(mode: str, given: Collection[str]) -> None:
    """Raise `UsageError` for the first flag (without its dashes) that has no effect in this mode."""
    if mode == "contrast" and "a" not in given:
        raise UsageError(
            "--mode contrast needs --a", next_step="Such as --a 'capital_*@last'; docs/poc2.md has the grammar"
        )
    for flag in sorted(given):
        if flag not in EVERYWHERE and flag not in FLAGS[mode]:
            modes = " or ".join(f"--mode {m}" for m, flags in FLAGS.items() if flag in flags)
            raise UsageError(f"has no effect with --mode {mode}", where=f"--{flag}", next_step=f"Use it with {modes}")
        if flag == "sample" and "top_from" in given:
            what = "has no effect with --top_from, which says what is ablated"
            raise UsageError(what, where="--sample", next_step="Give one of both")
        if flag in _VALIDATION and "validate" not in given:
            raise UsageError("has no effect without --validate", where=f"--{flag}", next_step="Add --validate")
        if mode == "peaks" and flag in _SCORES and "write_scores" not in given:
            what = "has no effect with --mode peaks unless --write_scores is given"
            raise UsageError(what, where=f"--{flag}", next_step="Add --write_scores N, or use --mode influence")
