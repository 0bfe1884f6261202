"""`contrast` from request to files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neuron_signatures.corpus_analysis.choice import NeuronChoice, choose
from neuron_signatures.corpus_analysis.contrast.grammar import PositionSet, parse_positions
from neuron_signatures.corpus_analysis.contrast.measure import (
    FEWEST,
    Acts,
    held_out,
    labellings,
    n_found,
    rank_tests,
    ranked,
)
from neuron_signatures.corpus_analysis.contrast.request import HELD_OUT, MAX_Q, PART, ContrastRequest
from neuron_signatures.corpus_analysis.contrast.sides import Sampled, find_sides, sample_sides
from neuron_signatures.corpus_analysis.contrast.summary import ContrastSummary
from neuron_signatures.corpus_analysis.passes import CorpusPass, open_pass, plan_of_records
from neuron_signatures.runs.corpus_analysis.folder import CONTRAST, contrast_folder
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.names import check_ids, safe_id
from neuron_signatures.runs.progress import Bar, ProgressOf
from neuron_signatures.runs.records.names import PARTS, RECORDS, RECORDS_META, Part
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.runs.results import contrast_stem
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.stage_results import open_folder
from neuron_signatures.stats.ranks import smallest_p


class Sides(NamedTuple):
    """The samples of both sides in one part."""

    a: Sampled
    b: Sampled

    @property
    def windows(self) -> np.ndarray:
        """Those with a position of a sample, ascending."""
        return np.union1d(self.a.places.window, self.b.places.window)


def make_contrast(request: ContrastRequest, progress: ProgressOf) -> ContrastSummary:
    """Carry out a command. Raises `UsageError` for sides that cannot be compared."""
    with Run.open(request.run_dir) as run, Records.open(run) as records:
        layers = layers_of(run, records, request)
        name = name_of(request)
        refuse_other_contrast(request, name)
        plan_of_records(run, records, request.overrides)
        chosen = {part: sides_of(request, records, part) for part in (PART, HELD_OUT)}
        refuse_few(chosen[PART], request)
        with open_folder(run, contrast_folder(name), CONTRAST) as writer:
            acts = _acts(request, run, records, layers, chosen, progress)
            frame, null = _measured(request, acts)
            frame = frame.assign(
                layer=np.repeat(layers, records.d_mlp), neuron=np.tile(np.arange(records.d_mlp), len(layers))
            )
            frame = ranked(frame).sort_values("rank", kind="stable").reset_index(drop=True)
            writer.table(CONTRAST, frame)
            facts = _facts(chosen, acts, frame, null)
            writer.finish(
                settings=request.settings(), facts=facts, sources=[f"{RECORDS}/{RECORDS_META}"],
                warnings=warnings_of(request, chosen, facts),
            )  # fmt: skip
    return ContrastSummary(str(request.run_dir), name, frame, facts, warnings_of(request, chosen, facts))


def layers_of(run: Run, records: Records, request: ContrastRequest) -> list[int]:
    """The chosen recorded layers."""
    recorded = choose(run, records, NeuronChoice(every=True, layers=request.layers)).recorded
    return [int(layer) for layer in np.unique(recorded[:, 0])]


def name_of(request: ContrastRequest) -> str:
    """The given name, or one made of the sides. Raises `UsageError` for one that is no file name."""
    if request.name is not None:
        check_ids([request.name], where="--name")
        return request.name
    b = request.b or "rest"
    stem = contrast_stem(request.a, b, exact=f"{request.a}\n{b}").removeprefix("contrast_")
    return safe_id(stem)


def refuse_other_contrast(request: ContrastRequest, name: str) -> None:
    """Raise `UsageError` if the name is that of a contrast of other sides."""
    folder = contrast_folder(name)
    if CONTRAST not in folder.finished(request.run_dir):
        return
    settings, own = folder.read_record(request.run_dir, CONTRAST).settings, request.settings()
    if any(settings.get(side) != own[side] for side in ("a", "b")):
        what = f"{name!r} is the contrast of {settings.get('a')!r} and {settings.get('b')!r}"
        raise UsageError(what, where="--name", next_step="Give another name")


def sides_of(request: ContrastRequest, records: Records, part: Part) -> Sides:
    """The samples of a part. Raises `UsageError` for text that is no set, and for sides that overlap."""
    a, b = _parse(request)
    found = find_sides(records.corpus, a, b, part)
    rng = np.random.default_rng([request.seed, PARTS.index(part)])
    return Sides(*sample_sides(records.corpus, *found, unit=request.unit, most=request.max_positions, rng=rng))


def refuse_few(sides: Sides, request: ContrastRequest) -> None:
    """Raise `UsageError` if a side has too few positions of its own."""
    for sampled, flag in ((sides.a, "--a"), (sides.b, "--b")):
        n = len(sampled.places.window)
        if n < FEWEST:
            what = (
                f"{n} independent positions in {PART} ({sampled.n_positions} positions in {sampled.n_units} "
                f"{request.unit}s), at least {FEWEST} are needed"
            )
            raise UsageError(what, where=flag, next_step="Check the text (spaces count), or use --unit window")


def warnings_of(request: ContrastRequest, chosen: dict[Part, Sides], facts: dict[str, Any]) -> list[str]:
    """What readers of the list must know."""
    out = []
    n_a, n_b, n = facts["n_a"], facts["n_b"], facts["n_neurons"]
    least = smallest_p(n_a, n_b)
    needed = math.ceil(least * n / MAX_Q)
    if needed > 1:
        say = "no neuron can have" if needed > n else f"{needed} neurons must separate the sides perfectly for"
        out.append(f"with {n_a} against {n_b} positions the smallest possible p is {least:.2g}: {say} q <= {MAX_Q:g}")
    if facts["n_found"] and facts["null_counts"] and facts["n_found"] <= max(facts["null_counts"]):
        out.append("permuted labels give as many neurons in some draw: the number found shows nothing")
    if request.unit == "window":
        out.append("positions of one document are compared as independent: p-values are too small")
    held = chosen[HELD_OUT]
    if min(len(held.a.places.window), len(held.b.places.window)) < FEWEST:
        out.append(f"a side has fewer than {FEWEST} positions in {HELD_OUT}: nothing is held out")
    return out


def _parse(request: ContrastRequest) -> tuple[PositionSet, PositionSet]:
    a, b = parse_positions(request.a, flag="--a"), parse_positions(request.b or "rest", flag="--b")
    if a.kind == "rest":
        raise UsageError("rest is what A leaves, so it is of B only", where="--a", next_step="Use it in --b")
    return a, b


def _acts(
    request: ContrastRequest, run: Run, records: Records, layers: Sequence[int], chosen: dict[Part, Sides],
    progress: ProgressOf,
) -> dict[Part, Acts]:  # fmt: skip
    lengths = records.corpus.window_length
    n_tokens = sum(int(lengths[sides.windows].sum()) for sides in chosen.values())
    with (
        open_pass(run, records, request.overrides, layers=layers, batch_size=request.batch_size) as corpus_pass,
        progress("tokens", n_tokens) as bar,
    ):
        return {part: _acts_at(corpus_pass, sides, records.d_mlp, bar) for part, sides in chosen.items()}


def _acts_at(corpus_pass: CorpusPass, sides: Sides, d_mlp: int, bar: Bar) -> Acts:
    """Of all layers at the sampled positions; a window that is not finite is left out."""
    window = np.concatenate([sides.a.places.window, sides.b.places.window])
    pos = np.concatenate([sides.a.places.pos, sides.b.places.pos])
    acts = np.empty((len(window), len(corpus_pass.layers) * d_mlp), np.float32)
    kept = np.zeros(len(window), bool)
    for batch in corpus_pass.batches(sides.windows, bar):
        row_of = {int(w): i for i, w in enumerate(batch.windows)}
        own = np.flatnonzero(np.isin(window, batch.windows))
        rows = np.array([row_of[int(w)] for w in window[own]], np.int64)
        kept[own] = batch.counts[rows, pos[own]]
        for i in range(len(corpus_pass.layers)):
            values = batch.acts(i)[rows, pos[own]].cpu().numpy()
            acts[own, i * d_mlp : (i + 1) * d_mlp] = values
    n_a = len(sides.a.places.window)
    return Acts(acts[kept], int(kept[:n_a].sum()))


def _measured(request: ContrastRequest, acts: dict[Part, Acts]) -> tuple[pd.DataFrame, list[int]]:
    found = acts[PART]
    if not found.usable:
        what = "too few windows have finite activations"
        raise UsageError(what, where=str(request.run_dir), next_step="Run the model in fp32: --model_dtype fp32")
    n_b = len(found.acts) - found.n_a
    rng = np.random.default_rng([request.seed, 101])
    tested = rank_tests(found, labellings(found.n_a, n_b, n_null=request.n_null, rng=rng))
    frame = pd.concat([tested.frame, held_out(acts[HELD_OUT])], axis=1)
    return frame.assign(n_a=found.n_a, n_b=n_b), n_found(tested.null_p, MAX_Q)


def _facts(chosen: dict[Part, Sides], acts: dict[Part, Acts], frame: pd.DataFrame, null: list[int]) -> dict[str, Any]:
    def side(sampled: Sampled, n: int) -> dict[str, Any]:
        return {"n": n, **{k: getattr(sampled, k) for k in ("n_positions", "n_units", "n_repeated")}}

    def of_part(part: Part) -> dict[str, Any]:
        n_a, n_b = acts[part].n_a, len(acts[part].acts) - acts[part].n_a
        return {"a": side(chosen[part].a, n_a), "b": side(chosen[part].b, n_b)}

    found = frame[frame["q"] <= MAX_Q]
    same = (found["held_out_auroc"] - 0.5) * (found["auroc"] - 0.5) > 0
    n_held_out = int(found["held_out_auroc"].notna().sum())
    return {
        "n_neurons": len(frame), "n_a": int(frame["n_a"].iloc[0]), "n_b": int(frame["n_b"].iloc[0]),
        "n_found": len(found), "n_same_side_held_out": int(same.sum()) if n_held_out else None,
        "null_counts": null, PART: of_part(PART), HELD_OUT: of_part(HELD_OUT),
    }  # fmt: skip
