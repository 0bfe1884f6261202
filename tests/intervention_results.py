"""Results of interventions as stage 3 writes them, with invented numbers, for tests of the viewers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from neuron_signatures.runs.intervention_records import (
    Answer,
    BandRow,
    Cell,
    Controls,
    CurveRow,
    Dose,
    EffectRecord,
    ExactEdit,
    NeutralPrompt,
    Null,
    Prediction,
    PromptText,
    RandomSideEffects,
    SharedCell,
    SharedList,
    ShareRow,
    SideEffects,
    SteerRecord,
    SwapPair,
    SwapRecord,
    SwapSummary,
    WrongSource,
)
from neuron_signatures.runs.result_records import DumpIdentity, Record, TargetRecord, TargetToken
from neuron_signatures.runs.results import INTERVENTIONS, meta_name, open_results
from neuron_signatures.runs.run import Run

SWAP, SWAPS, EFFECT, STEER = "swap_one", "swap_many", "effect_set", "steer_direction"
AUSTIN, SACRAMENTO, DENVER = " Austin", " Sacramento", " Denver"


def write_all(run_dir: Path) -> Path:
    """One swap, a swap of four pairs, an effect and a steering."""
    with Run.open(run_dir) as run:
        write_result(run, SWAP, swap_record(run, minute=1))
        write_result(run, SWAPS, swaps_record(run, minute=2))
        write_result(run, EFFECT, effect_record(run, minute=3), effect_table(run))
        write_result(run, STEER, steer_record(run, minute=4))
    return run_dir


def write_hostile(run_dir: Path, evil: str, tokens: Sequence[str]) -> None:
    """A swap of two pairs, an effect and a steering whose texts are all `evil`."""
    with Run.open(run_dir) as run:
        prompt = prompt_text(run, evil).model_copy(update={"text": evil, "tokens": list(tokens), "prompt_id": evil})
        roles = {evil: (1, 1)}
        pair = swap_pair(run, evil).model_copy(update={"destination": prompt, "source": prompt, "roles": roles})
        write_result(run, "swap_evil", swap_record(run, pairs=[pair, pair], verdict=evil))
        token = target(run).model_copy(update={"mode": evil, "function": evil})
        words = {"prompt": prompt, "target": token, "kind": evil, "value": evil, "verdict": evil}
        write_result(run, "effect_evil", effect_record(run).model_copy(update=words), effect_table(run))
        steer = steer_record(run)
        doses = [d.model_copy(update={"text": evil}) for d in steer.doses]
        more = {"doses": doses, "what": evil, "unit": evil, "verdict": evil, "warnings": [evil]}
        write_result(run, "steer_evil", steer.model_copy(update=more))


def write_result(run: Run, stem: str, record: Record, table: pd.DataFrame | None = None) -> None:
    """The files of one result, the sealed record last."""
    with open_results(run, INTERVENTIONS) as out:
        out.begin(meta_name(stem))
        if table is not None:
            out.table(stem, table)
        whole = record.model_dump()
        out.json(f"{stem}.json", whole)
        out.record(meta_name(stem), {k: whole[k] for k in ("stage", "mode", "created_at_utc", "run", "warnings")})


def stage(run: Run, mode: str, minute: int) -> dict:
    """The fields of every stage record."""
    m = run.manifest
    return {
        "stage": "poc3_intervene", "mode": mode, "created_at_utc": f"2026-02-03T04:{minute:02}:00+00:00",
        "run": DumpIdentity(**{name: getattr(m, name) for name in DumpIdentity.model_fields}), "warnings": [],
    }  # fmt: skip


def swap_record(run: Run, *, minute: int = 0, **changes) -> SwapRecord:
    verdict = "Flips with 8 cells: ·Sacramento becomes the most likely token (p .001 against 1,000 random sets)."
    fields = {"pairs": [swap_pair(run, "pair_0")], "verdict": verdict, **stage(run, "swap", minute), **changes}
    return SwapRecord(**fields)


def swaps_record(run: Run, *, minute: int = 0) -> SwapRecord:
    pairs = [swap_pair(run, f"pair_{i}", smallest_k=k, held_out=i > 1) for i, k in enumerate((4, 8, None, 16))]
    shares = [ShareRow(k=k, share=s, low=max(0.0, s - 0.2), high=min(1.0, s + 0.2))
              for k, s in ((1, 0.0), (4, 0.25), (8, 0.5), (16, 0.75))]  # fmt: skip
    cells = [SharedCell(layer=layer, neuron=i, role="last", predicted=1.0 / (i + 1))
             for i, layer in enumerate(_layers(run)[:3])]  # fmt: skip
    return SwapRecord(
        pairs=pairs, verdict="3 of 4 pairs flip; the shared list flips 1 of 2 held-out pairs.",
        summary=SwapSummary(
            n_pairs=4, n_flipped=3, share=0.75, share_low=0.25, share_high=1.0, median_k=8.0, median_k_low=4.0,
            median_k_high=16.0, flipped_by_k=shares, n_random_beaten=4,
        ),
        shared=SharedList(
            cells=cells, selection=shares, held_out=shares[:3], n_selection=2, n_held_out=2, chosen_k=8, fewest_k=4,
            held_out_median_k=8.0, held_out_smallest_k=[8, None], side_effects=side_effects(),
            held_out_random=[ShareRow(k=8, share=0.0, low=0.0, high=0.1)],
        ),
        **stage(run, "swap", minute),
    )  # fmt: skip


def swap_pair(run: Run, id: str, *, smallest_k: int | None = 8, held_out: bool = False) -> SwapPair:
    destination, source = prompt_text(run, AUSTIN), source_text()
    ks = (1, 2, 4, 8, 16)
    k = smallest_k or ks[-1]
    top = 6.0 if smallest_k else 2.5
    curve = [_curve_row(n, top * n / k if n <= k else top + 1.5 * np.log2(n / k)) for n in ks if n <= 2 * k]
    last = len(destination.tokens) - 1
    cells = [_cell(run, i, last - (i % 2) * 2) for i in range(k)]
    after = next(r for r in curve if r.k == k)
    return SwapPair(
        id=id, destination=destination, source=source, target_pos=last, held_out=held_out,
        roles={"entity": (last - 2, 6), "last": (last, 8)}, smallest_k=smallest_k, k=k, n_candidates=4096,
        before=(_answer(5, SACRAMENTO, 9.5, 0.0007, 76), _answer(4, AUSTIN, 14.5, 0.31, 0)),
        after=(_answer(5, SACRAMENTO, 9.5 + top, after.source_probability, after.source_rank),
               _answer(4, AUSTIN, 14.0, after.destination_probability, after.destination_rank)),
        top_before=[_answer(4, AUSTIN, 14.5, 0.31, 0), _answer(8, " a", 12.0, 0.05, 1)],
        top_after=[_answer(5, SACRAMENTO, 15.5, 0.4, 0), _answer(4, AUSTIN, 14.0, 0.2, 1)],
        difference_before=-5.0, difference_after=after.difference, predicted=top * 1.1, cells=cells,
        edits=[ExactEdit(layer=c.layer, neuron=c.neuron, pos=c.pos, value=c.value) for c in cells], curve=curve,
        band=[BandRow(k=n, n=1000, mean=0.01 * n, low=-0.1 * n**0.5, high=0.12 * n**0.5, most=0.3 * n**0.5)
              for n in ks if n <= 2 * k],
        controls=controls(), side_effects=side_effects(), verdict="",
    )  # fmt: skip


def effect_record(run: Run, *, minute: int = 0) -> EffectRecord:
    prompt = prompt_text(run, AUSTIN)
    cells = [_cell(run, i, len(prompt.tokens) - 1) for i in range(5)]
    return EffectRecord(
        prompt=prompt, target=target(run), kind="ablate", value="mean over the run", positions=[cells[0].pos],
        n_neurons=5, clean=prediction(5.0, 0.31, 0, 0.0), as_set=prediction(1.5, 0.04, 3, 0.8), observed=-3.5,
        controls=controls(-3.5, two_sided=True), side_effects=side_effects(), cells=cells,
        verdict="Ablating 5 neurons lowers the logit difference by 3.5 (p .001 against 1,000 random sets).",
        **stage(run, "effect", minute),
    )  # fmt: skip


def effect_table(run: Run, n: int = 12) -> pd.DataFrame:
    """Single effects; p and z are null from the fifth row on."""
    effect = [(-1) ** i * 2.0 / (i + 1) for i in range(n)]
    tested = [i < 4 for i in range(n)]
    layers, d_mlp = _layers(run), run.manifest.d_mlp
    frame = pd.DataFrame({
        "rank": range(1, n + 1), "layer": [layers[i % len(layers)] for i in range(n)],
        "neuron": [(7 * i + 3) % d_mlp for i in range(n)], "pole": ["+" if i % 3 else "-" for i in range(n)],
        "effect": effect, "act": [1.0 + 0.1 * i for i in range(n)], "value": [0.0] * n,
        "delta_norm": [1.0 + 0.1 * i for i in range(n)], "difference": effect, "logprob": [e / 2 for e in effect],
        "probability": [e / 20 for e in effect], "rank_before": [0] * n, "rank_after": [i % 2 for i in range(n)],
        "kl": [abs(e) / 10 for e in effect], "p": [0.001 if t else None for t in tested],
        "z": [-4.2 if t else None for t in tested], "n_random": [1000 if t else 0 for t in tested],
    })  # fmt: skip
    return frame if n else frame.astype({"layer": int, "neuron": int, "pole": str})


def steer_record(run: Run, *, minute: int = 0) -> SteerRecord:
    alphas = (-8.0, -4.0, 0.0, 4.0, 8.0, 16.0)
    differences = (-2.0, 1.5, 5.0, 7.5, 9.0, 6.0)
    texts = ("in in in in", "a large city", "Austin, which is", "Austin, Austin", "Austin Austin Austin", "aus aus aus")
    doses = [
        Dose(alpha=a, prediction=prediction(d, 1 / (1 + np.exp(-d / 3)), 0 if d > 4 else 5, abs(a) / 10), text=f" {t}",
             perplexity=8.0 + abs(a) ** 2 / 2, null=None if a == 0 else null("random directions of this norm", 0.1 * a))
        for a, d, t in zip(alphas, differences, texts, strict=True)
    ]  # fmt: skip
    return SteerRecord(
        prompt=prompt_text(run, AUSTIN), target=target(run), what="3 neurons", unit="the neuron's own std over the run",
        doses=doses, monotone=False, spearman=0.83, turns_at=8.0, breaks_below=-8.0, breaks_above=16.0,
        break_factor=4.0, side_effects=side_effects(),
        verdict="Raises the difference up to alpha = 8, then turns; text breaks at 16.", **stage(run, "steer", minute),
    )  # fmt: skip


def prompt_text(run: Run, answer: str | None = None) -> PromptText:
    """The first prompt of the run."""
    p = run.prompts[0]
    return PromptText(prompt_id=p.probe_id, text=p.text, tokens=list(p.tokens), token_ids=list(p.token_ids),
                      answer_id=4, answer=answer)  # fmt: skip


def source_text() -> PromptText:
    words = ["The", "capital", "of", "the", "state", "containing", "Oakland", "is"]
    tokens = ["<bos>", words[0], *(f" {w}" for w in words[1:])]
    return PromptText(text=" ".join(words), tokens=tokens, token_ids=list(range(len(tokens))), answer_id=5,
                      answer=SACRAMENTO)  # fmt: skip


def target(run: Run) -> TargetRecord:
    token, foil = ({"token_id": i, "token": t, "probability": p, "rank": r}
                   for i, t, p, r in ((4, AUSTIN, 0.31, 0), (5, SACRAMENTO, 0.0007, 76)))  # fmt: skip
    pos = len(run.prompts[0].tokens) - 1
    return TargetRecord(mode="next_token", pos=pos, function="logit_diff", value=5.0, token=TargetToken(**token),
                        foil=TargetToken(**foil))  # fmt: skip


def prediction(difference: float, probability: float, rank: int, kl: float) -> Prediction:
    top = [_answer(4, AUSTIN, 14.5, probability, rank), _answer(8, " a", 12.0, 0.05, 1)]
    return Prediction(difference=difference, logprob=float(np.log(probability)), probability=probability, rank=rank,
                      kl=kl, top=top)  # fmt: skip


def null(what: str, mean: float, *, p: float = 0.001) -> Null:
    return Null(what=what, n=1000, mean=mean, std=0.4, low=mean - 0.6, high=mean + 0.6, most=mean + 1.4, exceeded=0,
                p=p, z=14.0, n_flipped=0)  # fmt: skip


def controls(observed: float = 6.0, *, two_sided: bool = False) -> Controls:
    wrong = WrongSource(text="The capital of the state containing Boulder is", answer=DENVER, k=8, difference=0.9,
                        own=5.1, source_logit=0.4, own_logit=4.8, own_smallest_k=6)  # fmt: skip
    return Controls(
        observed=observed, two_sided=two_sided, random=null("random neurons of the same layers and norms", 0.1),
        scrambled=null("the same changes at other positions", 0.2), permuted=null("changes permuted in the set", 1.1),
        negative=-3.2, wrong_source=None if two_sided else wrong, left_out=["wrong source: no second source was given"]
        if two_sided else [],
    )  # fmt: skip


def side_effects() -> SideEffects:
    texts = ("The sky is", "Two and two make", "Water boils at", "She opened the")
    prompts = [
        NeutralPrompt(text=t, kl=0.02 * i, top_before=" blue", top_after=" grey" if i == 3 else " blue",
                      probability_before=0.4, probability_after=0.38 - 0.05 * i)
        for i, t in enumerate(texts)
    ]  # fmt: skip
    return SideEffects(
        n_prompts=4, kl_mean=0.03, kl_median=0.03, kl_max=0.06, n_top_changed=1, facts=2, facts_before=2,
        facts_after=1, perplexity_before=21.0, perplexity_after=22.5, n_tokens=512,
        random=RandomSideEffects(n_sets=50, kl_mean=0.02, kl_low=0.01, kl_high=0.04), prompts=prompts,
    )  # fmt: skip


def _layers(run: Run) -> list[int]:
    return list(run.manifest.layers)


def _cell(run: Run, i: int, pos: int) -> Cell:
    layers, d_mlp = _layers(run), run.manifest.d_mlp
    act = 1.5 / (i + 1)
    return Cell(layer=layers[-1 - i % len(layers)], neuron=(11 * i + 2) % d_mlp, pos=pos, role="entity" if i % 2 else
                "last", act=act, value=-act, delta_norm=2 * act, predicted=2.0 / (i + 1))  # fmt: skip


def _answer(token_id: int, token: str, logit: float, probability: float, rank: int) -> Answer:
    return Answer(token_id=token_id, token=token, logit=logit, probability=probability, rank=rank)


def _curve_row(k: int, change: float) -> CurveRow:
    source, destination = (float(1 / (1 + np.exp(s * (change - 5)))) for s in (-1, 1))
    return CurveRow(k=k, difference=float(change - 5), predicted=float(change * 1.15), source_probability=0.5 * source,
                    destination_probability=0.4 * destination, source_rank=0 if change > 5 else 40 // k,
                    destination_rank=0 if change <= 5 else 1)  # fmt: skip
