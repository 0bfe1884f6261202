"""Continuations of neutral prompts with the most specific unit of each class, for people to read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pandas as pd
import torch

from neuron_signatures.models.batching import memory_faults, work_on
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.site_edits import site_edited
from neuron_signatures.runs.results import ResultsWriter
from neuron_signatures.runs.skills.columns import STEERED_TEXTS as COLUMNS
from neuron_signatures.runs.skills.names import STEERED_TEXTS
from neuron_signatures.runs.stage_results import write_table
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.skills.steer.claim import Family, family_of
from neuron_signatures.skills.steer.edits import RowChanges
from neuron_signatures.skills.steer.plan import Case, Plan
from neuron_signatures.skills.steer.request import SteerRequest
from neuron_signatures.skills.steer.texts import Encoding, neutral_texts

_MAX_CHARACTERS: Final = 2000
"""Of a stored continuation."""


def write_continuations(
    writer: ResultsWriter,
    model: LoadedModel,
    plan: Plan,
    request: SteerRequest,
    encoding: Encoding,
    doses: Mapping[Family, float],
) -> None:
    """Write `steered_texts.parquet`: the first unit of each class, source and edit at the dose of the claim."""
    prompts = neutral_texts(request.neutral, encoding, n_prompts=request.generate.n).prompts
    new = request.generate.max_new_tokens
    clean = [continuation(model, ids, new) for ids in prompts]
    rows = []
    for case in _first_units(plan, doses):
        unit = case.specific
        change = RowChanges(plan.weights[unit.bank], [plan.change(case)])
        for ids, before in zip(prompts, clean, strict=True):
            with site_edited(model.hf, plan.weights[unit.bank].place, change):
                after = continuation(model, ids, new)
            rows.append(
                {
                    "source": unit.bank.source, "site": unit.bank.site, "layer": unit.bank.layer, "unit": unit.unit,
                    "label": unit.label, "class": unit.for_class, "edit": case.edit, "dose": case.dose,
                    "prompt": _text(model, ids), "clean": before, "steered": after,
                }
            )  # fmt: skip
    write_table(writer, STEERED_TEXTS, pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)


@torch.no_grad()
def continuation(model: LoadedModel, token_ids: tuple[int, ...], max_new_tokens: int) -> str:
    """The most likely tokens after a prompt, with the changes of the caller."""
    ids = torch.tensor([list(token_ids)], device=model.device)
    with memory_faults(work_on(model.hf, "generation", token_ids)), _quiet(model.hf):
        out: Any = model.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, do_sample=False,
        )  # fmt: skip
    return _text(model, out[0, ids.shape[1] :].tolist())[:_MAX_CHARACTERS]


def _first_units(plan: Plan, doses: Mapping[Family, float]) -> Iterator[Case]:
    seen: set[Family] = set()
    for case in plan.cases():
        family = family_of(case)
        if family not in seen and case.dose == doses[family]:
            seen.add(family)
            yield case


def _text(model: LoadedModel, ids: Any) -> str:
    text: Any = model.tokenizer.decode(list(ids), skip_special_tokens=True)
    return encodable(text)


@contextlib.contextmanager
def _quiet(hf: Any) -> Iterator[None]:
    """generate() warns of a model without a padding token; with one prompt, there is no padding."""
    config = hf.generation_config
    before = config.pad_token_id
    config.pad_token_id = before if before is not None else 0
    try:
        yield
    finally:
        config.pad_token_id = before
