"""Tests the circuits of a command: which prompts their groups are swapped from, and how many copies fit into memory."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from transformers import PreTrainedModel

from neuron_signatures.circuits.case import PreparedCase
from neuron_signatures.circuits.checks.settings import CheckSettings
from neuron_signatures.circuits.checks.stage import Tested, are_finished, write_checks
from neuron_signatures.circuits.checks.swaps import SwapPrompt
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.circuits.reader import read_circuit
from neuron_signatures.runs.progress import ProgressOf
from neuron_signatures.runs.run import Run

log = logging.getLogger(__name__)

_MOST_COPIES: Final = 64
"""Copies per forward pass, from which larger passes are not faster."""
_STREAMS: Final = 12
"""Tensors as wide as the residual stream that a layer of a pass holds at once."""
_MLPS: Final = 6
"""The same, as wide as the MLP."""
_LOGITS: Final = 6
"""The same, as wide as the vocabulary, after the last layer."""


def check_cases(
    run: Run, cases: Mapping[str, PreparedCase], settings: CheckSettings, progress: ProgressOf, *, max_memory: int,
    again: bool,
) -> frozenset[str]:  # fmt: skip
    """Test the circuits of these names, whose traces are finished; returns those that were tested now.

    Groups are swapped from the other cases with another answer. What is tested with the same settings is kept, unless
    `again`. `max_memory` is in bytes, for a forward pass. Raises as `write_checks`.
    """
    new = set()
    for name, case in cases.items():
        if not again and are_finished(run, name, settings):
            log.info("circuit %s is tested", name)
            continue
        others = [c for c in cases.values() if c.prompt.target_id != case.prompt.target_id]
        write_checks(run, _tested(run, name, case, others, settings), _bounded(settings, case, max_memory), progress)
        new.add(name)
    return frozenset(new)


def copies_within(hf: PreTrainedModel, n_tokens: int, max_memory: int) -> int:
    """How many copies of a prompt fit into a forward pass of about `max_memory` bytes; at least one."""
    config, shape = hf.config.get_text_config(), mlp_shape(hf)
    of_layer = n_tokens * (_STREAMS * config.hidden_size + _MLPS * shape.d_mlp + n_tokens * config.num_attention_heads)
    masks = shape.n_layers * n_tokens * shape.d_mlp  # of one byte
    of_copy: int = 4 * (of_layer + _LOGITS * config.vocab_size) + masks
    return max(1, min(_MOST_COPIES, max_memory // of_copy))


def _bounded(settings: CheckSettings, case: PreparedCase, max_memory: int) -> CheckSettings:
    batch = copies_within(case.model.hf, case.prompt.target_pos + 1, max_memory)
    return replace(settings, curves=replace(settings.curves, batch=batch), swaps=replace(settings.swaps, batch=batch))


def _tested(run: Run, name: str, case: PreparedCase, others: list[PreparedCase], settings: CheckSettings) -> Tested:
    """Of the others some are drawn, because their activations are computed again and held."""
    rng = random.Random(settings.swaps.seed)
    drawn = sorted(rng.sample(range(len(others)), min(settings.n_others, len(others))))
    here = _swap_prompt(case)
    return Tested(
        name, read_circuit(run.path, name).graph, case.model, case.problem, here.acts, case.references,
        tuple(_swap_prompt(others[i]) for i in drawn),
    )  # fmt: skip


def _swap_prompt(case: PreparedCase) -> SwapPrompt:
    prompt = case.prompt
    return SwapPrompt(prompt.prompt_id, prompt.token_ids, prompt.target_id, recompute(case.model, prompt.token_ids))
