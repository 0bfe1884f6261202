"""Writes the files of one influence ranking: all neurons, the selected ones, their write scores, and the record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Integer

from neuron_signatures.analysis.attribution.influence import DIRECT, OF_LOG_P, Influence
from neuron_signatures.analysis.attribution.metrics import Attribution
from neuron_signatures.analysis.attribution.reference import Reference
from neuron_signatures.analysis.attribution.targets import ResolvedTarget, in_log_probs, in_pre_cap_logits
from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.analysis.selection import Selection, SelectionConfig, select
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.rerun.checked_prompt import CheckedPrompt
from neuron_signatures.runs.manifest import PromptRecord
from neuron_signatures.runs.results import ResultsWriter, meta_name, write_scores_name
from neuron_signatures.runs.stage_record import stage_record
from neuron_signatures.runs.tokens import encodable

PER_ACT = {
    "dla": "w_to_logit", "dla_pre_ln2_post": "w_to_logit", "act_grad": "grad", "relp": "grad",
    "prob_increase_query": "w_to_values",
}  # fmt: skip


def influence_frame(
    influence: Influence, reference: Reference, prompt: PromptRecord, resolved: ResolvedTarget
) -> pd.DataFrame:
    """One row per layer, position and neuron, in this order; the columns of the target are the same in every row.

    `influence` is by the reference zero, `influence_centred` by the reference's `centred_on`; `abs_influence` is by the
    command's reference.
    """
    found = influence.attribution
    n_layers, n_pos, n_neurons = found.scores.shape
    of_pos = np.tile(np.repeat(np.arange(n_pos), n_neurons), n_layers)
    tokens = [prompt.tokens[p] for p in found.positions]
    frame = pd.DataFrame(
        {
            "layer": np.repeat(np.array(found.layers), n_pos * n_neurons),
            "neuron": np.tile(np.arange(n_neurons), n_layers * n_pos),
            "ctx_idx": np.array(found.positions)[of_pos],
            "ctx_token": _coded(of_pos, tokens),
            "activation": found.acts.reshape(-1).numpy(),
            "influence": influence.zero.reshape(-1).numpy(),
            "influence_centred": influence.centred.reshape(-1).numpy(),
            "abs_influence": found.scores.reshape(-1).abs().numpy(),
        }
    )
    if found.per_act is not None:
        frame[PER_ACT[found.metric]] = found.per_act.reshape(-1).numpy()
    target, facts, _ = explained(found, resolved)
    everywhere = np.zeros(len(frame), np.int8)
    return frame.assign(
        prompt_id=_coded(everywhere, [prompt.probe_id]),
        metric=_coded(everywhere, [found.metric]),
        reference=_coded(everywhere, [reference.name]),
        function=_coded(everywhere, [target.function]),
        target_pos=target.pos,
        target_token_id=target.token_id,
        target_token=_coded(everywhere, [facts.target.token]),
        foil_token_id=target.foil_id,
        foil_token=_coded(everywhere, [facts.foil.token]) if facts.foil else None,
    )


def _coded(codes: Integer[np.ndarray, " row"], texts: Sequence[str]) -> pd.Categorical:
    """The text of each code, stored once: a table of all positions of a large model has millions of rows."""
    categories, code_of = np.unique(np.array([encodable(t) for t in texts], dtype=object), return_inverse=True)
    return pd.Categorical.from_codes(code_of.astype(np.int32)[codes], categories)


def explained(found: Attribution, resolved: ResolvedTarget) -> ResolvedTarget:
    """The target that the scores explain: direct metrics always explain the pre-cap logit, prob_increase and
    prob_increase_query the log probability."""
    if found.metric in OF_LOG_P:
        return in_log_probs(resolved)
    return in_pre_cap_logits(resolved) if found.metric in DIRECT else resolved


def select_influence(frame: pd.DataFrame, selection: SelectionConfig) -> tuple[pd.DataFrame, Selection]:
    """The rows with the largest |influence|, with `rank`, `share` and `cumulative_share` of the total |influence|.

    Ties go to the lower (layer, position, neuron).
    """
    pos_and_neuron = frame["ctx_idx"].to_numpy() * (int(frame["neuron"].max()) + 1) + frame["neuron"].to_numpy()
    chosen = select(frame["abs_influence"].to_numpy(), frame["layer"].to_numpy(), pos_and_neuron, selection)
    rows = frame.iloc[chosen.rows].copy()
    rows.insert(0, "rank", range(1, len(rows) + 1))
    at = list(rows.columns).index("abs_influence") + 1
    rows.insert(at, "share", chosen.share)
    rows.insert(at + 1, "cumulative_share", chosen.cumulative_share)
    return rows, chosen


def write_influence(
    writer: ResultsWriter,
    stem: str,
    found: Influence,
    reference: Reference,
    checked: CheckedPrompt,
    resolved: ResolvedTarget,
    selection: SelectionConfig,
    settings: dict[str, Any],
    scorer: TokenScorer | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write `stem.parquet` (all neurons), `stem.csv` and `stem.json` (selected neurons), and last the record.

    With a `scorer`, the write scores of the selected neurons are part of the result. Returns the selected rows and the
    record.
    """
    frame = influence_frame(found, reference, checked.prompt, resolved)
    rows, chosen = select_influence(frame, selection)
    record = influence_record(found, reference, checked, resolved, chosen, {**settings, **asdict(selection)})
    tokens = scorer.score(neurons_of(rows)) if scorer else None
    writer.begin(meta_name(stem), companions=[write_scores_name(stem)])
    writer.table(stem, frame, csv=False)
    writer.table(stem, rows, parquet=False)
    summary = {
        "metric": found.attribution.metric,
        **reference.record(),
        "total": chosen.total,
        "neurons": rows.to_dict("records"),
    }
    writer.json(f"{stem}.json", summary)
    if tokens is not None:
        writer.json(write_scores_name(stem), tokens)
    writer.record(meta_name(stem), record)
    return rows, record


def influence_record(
    found: Influence,
    reference: Reference,
    checked: CheckedPrompt,
    resolved: ResolvedTarget,
    chosen: Selection,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """The stage record: target, the model's prediction there, sums per layer, number of selected rows, warnings."""
    scores = found.attribution
    totals, absolute = scores.scores.double().nansum(-1), scores.scores.double().abs().nansum(-1)
    sums = [
        {"layer": layer, "ctx_idx": pos, "sum": float(totals[i, j]), "abs_sum": float(absolute[i, j])}
        for i, layer in enumerate(scores.layers)
        for j, pos in enumerate(scores.positions)
    ]
    return stage_record(
        checked.run,
        "influence",
        settings,
        metric=scores.metric,
        **reference.record(),
        prompt_id=checked.prompt.probe_id,
        target=target_record(explained(scores, resolved)),
        analysis_dtype=checked.model.spec.dtype,
        analysis_device=str(checked.model.device),
        agreement={"worst": checked.agreement.worst, "tolerance": checked.agreement.tolerance},
        layer_sums=sums,
        total_abs_influence=chosen.total,
        n_neurons=int(scores.scores.numel()),
        n_selected=len(chosen.rows),
        selected_share=float(np.nansum(chosen.share)),
        **found.facts,
        warnings=[*checked.warnings, *resolved.warnings, *found.warnings],
    )


def target_record(resolved: ResolvedTarget) -> dict[str, Any]:
    """Target, foil, function, and the model's prediction at the target position."""
    target, facts = resolved.target, resolved.facts
    return {
        "mode": target.mode,
        "pos": target.pos,
        "function": target.function,
        "value": facts.value,
        "soft_cap": facts.soft_cap,
        "token": facts.target,
        "foil": facts.foil,
        "top": facts.top,
    }


@dataclass(frozen=True)
class TokenScorer:
    """Finds the `top` tokens that neurons promote and suppress at `pos` of the prompt, and the explicit tokens."""

    model: LoadedModel
    prompt: PromptRecord
    pos: int
    top: int
    explicit_ids: Sequence[int]

    def score(self, neurons: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """The content of `*_write_scores.json` for these (layer, neuron) pairs."""
        found = write_scores(
            self.model, self.prompt.token_ids, self.pos, neurons, top=self.top, explicit_ids=self.explicit_ids
        )
        where = {"prompt_id": self.prompt.probe_id, "pos": self.pos, "unit": "pre-cap logit per unit of activation"}
        return {**where, "top": self.top, "neurons": found}


def neurons_of(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """The (layer, neuron) pairs of the rows, in order and without repeats."""
    return list(dict.fromkeys(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)))
