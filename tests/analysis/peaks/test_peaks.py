"""Peaks against simple loops, and what they exclude: BOS, NaN, prompts without tokens."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from analysis_runs import BOS, make_run, make_v1_run, random_acts, token_ids
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_signatures.analysis.peaks.analyze import PeaksConfig, analyze_peaks
from neuron_signatures.analysis.peaks.prompt_stats import first_position, prompt_stats
from neuron_signatures.analysis.peaks.writing import write_peaks
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.analysis.tokens.codes import modes
from neuron_signatures.analysis.tokens.functional import (
    FunctionalTokens,
    default_functional_tokens,
    load_functional_tokens,
    token_key,
)
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import open_results, read_json
from neuron_signatures.runs.run import Run
from neuron_signatures.runs.tables import read_table

FUNCTIONAL = default_functional_tokens()
PROMPTS = {
    "seed": [BOS, "The", " capital", " of", " the", " state", " containing", " Dallas", " is"],
    "austin": [BOS, "The", " capital", " of", " Texas", " is", " Austin"],
    "short": [BOS, " Texas"],
    "again": [BOS, "The", " state", " of", " Texas", ",", " the", " state"],
}
COLUMNS = [
    "layer", "neuron", "mean_peak_abs", "std_peak_abs", "max_peak_abs", "min_peak_abs", "frac_peak_functional",
    "mode_peak_token_id", "mode_peak_token", "mode_peak_token_count", "n_unique_peak_token_id", "mode_peak_ctx_idx",
    "mode_peak_ctx_count", "n_unique_peak_ctx_idx",
]  # fmt: skip


def brute_force(prompts, acts, start_of, *, threshold, first_layer_index, neuron) -> dict | None:
    """One neuron's row, value by value; non-finite values are ignored."""
    ids = token_ids(prompts)
    peaks, tokens, places, functional, everything, extremes = [], [], [], [], [], []
    for key, names in prompts.items():
        a = [float(v) for v in acts[key][first_layer_index, :, neuron]]
        counted = [p for p in range(start_of[key], len(names)) if math.isfinite(a[p])]
        if not counted:
            continue
        best = max(counted, key=lambda p: (abs(a[p]), -p))
        peaks.append(abs(a[best]))
        tokens.append(ids[names[best]])
        places.append(best)
        functional.append(FUNCTIONAL.is_functional(names[best]))
        everything += [a[p] for p in counted]
        extremes += [(a[p], key, p, names[p]) for p in counted]
    if not peaks:
        return None
    mean, act_mean = sum(peaks) / len(peaks), sum(everything) / len(everything)
    token, place = (min(c, key=lambda v: (-c[v], v)) for c in (Counter(tokens), Counter(places)))
    high = max(range(len(extremes)), key=lambda i: (extremes[i][0], -i))
    low = min(range(len(extremes)), key=lambda i: (extremes[i][0], i))
    return {
        "mean_peak_abs": mean,
        "std_peak_abs": math.sqrt(sum((p - mean) ** 2 for p in peaks) / len(peaks)),
        "max_peak_abs": max(peaks),
        "min_peak_abs": min(peaks),
        "frac_peak_functional": sum(functional) / len(functional),
        "mode_peak_token_id": token,
        "mode_peak_token": next(t for t, i in ids.items() if i == token),
        "mode_peak_token_count": tokens.count(token),
        "n_unique_peak_token_id": len(set(tokens)),
        "mode_peak_ctx_idx": place,
        "mode_peak_ctx_count": places.count(place),
        "n_unique_peak_ctx_idx": len(set(places)),
        **_extreme("max_act", extremes[high], ids),
        **_extreme("min_act", extremes[low], ids),
        "mean_act": act_mean,
        "std_act": math.sqrt(sum((v - act_mean) ** 2 for v in everything) / len(everything)),
        "frac_act_above": sum(abs(v) > threshold for v in everything) / len(everything),
        "n_peaks": len(peaks),
    }


def _extreme(name, found, ids) -> dict:
    value, prompt, pos, token = found
    return {
        name: value, f"{name}_prompt": prompt, f"{name}_pos": pos, f"{name}_token_id": ids[token],
        f"{name}_token": token,
    }  # fmt: skip


def check_frame(frame, prompts, acts, start_of, threshold) -> None:
    n_layers, _, d_mlp = next(iter(acts.values())).shape
    assert len(frame) == n_layers * d_mlp
    for i in range(len(frame)):
        row = frame.iloc[i]
        want = brute_force(
            prompts, acts, start_of, threshold=threshold, first_layer_index=i // d_mlp, neuron=i % d_mlp
        )  # fmt: skip
        if want is None:
            assert row["n_peaks"] == 0
            assert row.drop(["layer", "neuron", "n_nonfinite"]).fillna(0).isin([0]).all()
            continue
        for name, value in want.items():
            expected = pytest.approx(value, rel=1e-5, abs=1e-5) if isinstance(value, float) else value
            assert row[name] == expected, (i, name)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(("first_pos", "include_bos", "starts"), [(0, False, 1), (0, True, 0), (3, False, 3)])
def test_peaks_equal_a_loop(tmp_path, ties, dtype, first_pos, include_bos, starts):
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=60, ties=ties)
    run = make_run(tmp_path / "r", PROMPTS, acts, dtype=dtype)
    stored = {k: run.acts(k) for k in PROMPTS}
    result = analyze_peaks(
        run, PeaksConfig(FUNCTIONAL, first_pos=first_pos, include_bos=include_bos, act_threshold=0.5)
    )
    used = {k: t for k, t in PROMPTS.items() if len(t) > starts}
    check_frame(result.frame, PROMPTS, stored, dict.fromkeys(PROMPTS, starts), 0.5)
    assert list(result.frame.columns[:14]) == COLUMNS
    assert len(result.counted.prompts) == len(used)
    assert result.counted.skipped == [k for k in PROMPTS if k not in used]
    medians = result.frame.groupby("layer")["mean_peak_abs"].transform("median")
    ratio = result.frame["mean_peak_abs"] / medians
    np.testing.assert_allclose(result.frame["mean_peak_abs_over_layer_median"], ratio, rtol=1e-9)


def test_values_that_are_not_finite_are_ignored_and_counted(tmp_path):
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=12)
    acts["seed"][0, 2, 3] = np.nan
    acts["seed"][0, 4, 3] = np.inf
    acts["austin"][0, 3, 3] = -np.inf
    acts["again"][1, 1:, 5] = np.nan  # no value left in this prompt
    for key in PROMPTS:
        acts[key][1, :, 7] = np.nan  # none in any
    run = make_run(tmp_path / "r", PROMPTS, acts)
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL, act_threshold=0.5))
    frame = result.frame
    check_frame(frame, PROMPTS, acts, dict.fromkeys(PROMPTS, 1), 0.5)
    assert result.nonfinite == {"seed": 2 + 8, "austin": 1 + 6, "short": 1, "again": 7 + 7}
    dead = frame[(frame["layer"] == 1) & (frame["neuron"] == 7)].iloc[0]
    assert dead["n_nonfinite"] == 8 + 6 + 1 + 7
    assert pd.isna(dead["mode_peak_token"])
    with open_results(run) as writer:
        record = write_peaks(writer, result, SelectionConfig(top_k=100)).record
    assert record["n_selected"] == 23
    assert record["nonfinite_by_prompt"]["again"] == 14
    ranked = [(r["layer"], r["neuron"]) for r in read_json(run.path, "top_neurons.json")["neurons"]]
    assert (1, 7) not in ranked
    assert any("NaN or infinite" in w for w in record["warnings"])


def test_one_prompt_of_one_token_in_one_layer(tmp_path):
    run = make_run(tmp_path / "r", {"p": [" x"]}, {"p": np.zeros((1, 1, 3), np.float32)}, bos_token_id=None)
    with pytest.raises(UsageError, match=r"no prompt has a token that counts.*--first_pos"):
        analyze_peaks(run, PeaksConfig(FUNCTIONAL))
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL, first_pos=0))
    row = result.frame.iloc[0]
    assert (row["mean_peak_abs"], row["std_peak_abs"], row["mode_peak_ctx_idx"]) == (0, 0, 0)
    assert math.isnan(row["mean_peak_abs_over_layer_median"])
    assert not result.counted.n_bos
    with open_results(run) as writer:
        record = write_peaks(writer, result, SelectionConfig(cumulative_threshold=0.8)).record
    assert record["n_selected"] == 0
    assert "no neuron is selected" in record["warnings"]


def test_a_run_of_bos_alone_has_no_peaks(tmp_path):
    run = make_run(tmp_path / "r", {"p": [BOS]}, {"p": np.ones((1, 1, 3), np.float32)})
    with pytest.raises(UsageError, match=r"no prompt has a token that counts.*--include_bos"):
        analyze_peaks(run, PeaksConfig(FUNCTIONAL))
    assert len(analyze_peaks(run, PeaksConfig(FUNCTIONAL, include_bos=True)).counted.prompts) == 1


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_format_1_counts_position_0_as_bos_if_one_was_prepended(tmp_path, prepend_bos):
    acts = random_acts(PROMPTS, n_layers=1, d_mlp=8)
    run = make_v1_run(tmp_path / "r", PROMPTS, acts, prepend_bos=prepend_bos)
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL, first_pos=0))
    check_frame(result.frame, PROMPTS, acts, dict.fromkeys(PROMPTS, int(prepend_bos)), 1.0)
    assert str(prepend_bos).lower() in result.counted.bos_rule


@pytest.mark.parametrize(
    ("first_pos", "include_bos", "starts", "rule"),
    [
        (None, False, [1, 1], "position 0 of every prompt is left out, BOS or not"),
        (0, False, [1, 0], "position 0 is left out where its token id is 0"),
        (None, True, [0, 0], "every token counts, the BOS too"),
        (0, True, [0, 0], "every token counts, the BOS too"),
        (1, True, [1, 1], "position 0 of every prompt is left out, BOS or not"),
        (2, False, [2, 2], "positions before 2 are left out"),
    ],
)
def test_the_first_position_is_left_out_with_or_without_bos(tmp_path, first_pos, include_bos, starts, rule):
    prompts = {"with": [BOS, " a", " b", " c"], "without": [" a", " b", " c"]}
    acts = {k: np.ones((1, len(t), 1), np.float32) for k, t in prompts.items()}
    for a in acts.values():
        a[0, 0, 0] = 1000
    run = make_run(tmp_path / "r", prompts, acts)
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL, first_pos=first_pos, include_bos=include_bos))
    assert [p.start for p in result.counted.prompts] == starts
    assert result.counted.bos_rule == rule
    assert result.frame["max_peak_abs"][0] == (1000 if 0 in starts else 1)
    assert result.counted.n_tokens == 7 - sum(starts)
    assert result.counted.record()["bos_excluded"] == (starts[0] > 0)


def test_prompts_of_one_token_are_left_out_with_a_warning(tmp_path):
    prompts = {"one": [" a"], "two": [" a", " b"]}
    run = make_run(tmp_path / "r", prompts, random_acts(prompts, n_layers=1, d_mlp=2), bos_token_id=None)
    counted = analyze_peaks(run, PeaksConfig(FUNCTIONAL)).counted
    assert counted.skipped == ["one"]
    assert counted.warnings() == ["1 prompts have no token that counts and are left out"]


def test_only_some_layers_are_stored(tmp_path):
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=4)
    run = make_run(tmp_path / "r", PROMPTS, acts, layers=[3, 7], n_layers=9)
    assert sorted(set(analyze_peaks(run, PeaksConfig(FUNCTIONAL)).frame["layer"])) == [3, 7]


def test_every_byte_is_read_once(tmp_path, monkeypatch):
    import os

    acts = random_acts(PROMPTS, n_layers=3, d_mlp=16)
    run = make_run(tmp_path / "r", PROMPTS, acts)
    run.acts("seed", layer=0, neuron=0)  # the header
    read = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: read.append((at, n)) or real(fd, n, at))
    analyze_peaks(run, PeaksConfig(FUNCTIONAL))
    assert sum(n for _, n in read) == sum(a.nbytes for a in acts.values())
    assert len({at for at, _ in read}) == len(read)


def test_files_of_the_stage(tmp_path):
    run = make_run(tmp_path / "r", PROMPTS, random_acts(PROMPTS, n_layers=2, d_mlp=30))
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL))
    with open_results(run) as writer:
        write_peaks(writer, result, SelectionConfig(cumulative_threshold=0.8))
    pd.testing.assert_frame_equal(read_table(run.path, "neurons_aggregated"), result.frame)
    csv = pd.read_csv(run.path / "analysis" / "neurons_aggregated.csv")
    assert list(csv.columns) == list(result.frame.columns)
    assert set(result.frame.select_dtypes("floating").dtypes) == {np.dtype(np.float64)}
    np.testing.assert_array_equal(csv["mean_peak_abs"], result.frame["mean_peak_abs"])
    top = read_json(run.path, "top_neurons.json")
    share = [r["cumulative_share"] for r in top["neurons"]]
    assert share[-1] >= 0.8 > share[-2]
    meta = read_json(run.path, "analysis_meta.json")
    assert (meta["stage"], meta["mode"], meta["bos_excluded"]) == ("poc2_analyze_run", "peaks", True)
    assert meta["run"]["model_name"] == "toy"
    assert meta["n_selected"] == len(top["neurons"])
    assert meta["versions"]["numpy"] == np.__version__


def test_rank_by_must_be_a_numeric_column(tmp_path):
    run = make_run(tmp_path / "r", PROMPTS, random_acts(PROMPTS, n_layers=1, d_mlp=3))
    result = analyze_peaks(run, PeaksConfig(FUNCTIONAL))
    with open_results(run) as writer:
        with pytest.raises(UsageError, match=r"not a numeric column.*mean_peak_abs"):
            write_peaks(writer, result, SelectionConfig(), rank_by="mode_peak_token")
        assert list((run.path / "analysis").iterdir()) == []
        record = write_peaks(writer, result, SelectionConfig(top_k=1), rank_by="max_act").record
    assert record["settings"]["rank_by"] == "max_act"
    best = read_json(run.path, "top_neurons.json")["neurons"][0]
    assert best["neuron"] == result.frame["max_act"].idxmax()


def test_peaks_of_safetensors_need_no_torch(tmp_path):
    make_run(tmp_path / "r", PROMPTS, random_acts(PROMPTS, n_layers=1, d_mlp=3))
    code = (
        "import sys; from neuron_signatures.runs.run import Run;"
        "from neuron_signatures.analysis.peaks.analyze import *;"
        "from neuron_signatures.analysis.tokens.functional import default_functional_tokens as d;"
        "analyze_peaks(Run.open(sys.argv[1]), PeaksConfig(d())); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], check=True)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_modes_equal_a_loop(data):
    few = data.draw(st.booleans())  # both ways of counting
    value = st.integers(-1, 4) if few else st.sampled_from([-1, 0, 2, 40, 41, 300])
    columns = data.draw(st.lists(st.lists(value, min_size=5, max_size=5), min_size=1, max_size=6))
    got = modes(np.array(columns, np.int16).T)
    for i, column in enumerate(columns):
        counts = Counter(v for v in column if v >= 0)
        best = min(counts, key=lambda v: (-counts[v], v), default=-1)
        assert (got.value[i], got.times[i], got.n_distinct[i]) == (best, counts.get(best, 0), len(counts))


def test_first_position():
    hit = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    assert first_position(hit).tolist() == [1, 0, 3]
    assert first_position(np.eye(300, dtype=bool)).tolist() == list(range(300))


def test_spread_keeps_its_digits_beside_a_large_mean():
    acts = (1e4 + np.random.default_rng(0).standard_normal((200, 5))).astype(np.float32)
    mean, std = prompt_stats(acts, acts.mean(axis=0), threshold=0.0).moments.mean_std()
    np.testing.assert_allclose(mean, acts.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(std, acts.std(axis=0, dtype=np.float64), rtol=1e-3)


# Functional tokens.


@pytest.mark.parametrize(
    ("token", "direction"),
    [
        (" is", "forward"), ("IS ", "forward"), ("▁The", "forward"), (",", "both"), (" Dallas", None),
        ("<bos>", "both"), ("<|endoftext|>", "both"), ("\n\n", "both"), ("...", "both"), (" 42", None),
        ("'s", "backward"), (" «", "both"),
        ("<0xE2>", None), ("Ω", None),
    ],
)  # fmt: skip
def test_direction_of_a_token(token, direction):
    assert FUNCTIONAL.direction(token) == direction
    assert FUNCTIONAL.is_functional(token) == (direction is not None)


def test_target_is_the_nearest_semantic_token_in_its_direction():
    tokens = FunctionalTokens({"to": "forward", "by": "backward", ",": "both"}, "test")
    words = ["a1", ",", "b1", "to", ",", "by", "c1"]
    assert tokens.target(words, 1) == 2  # both ways at equal distance: the later
    assert tokens.target(words, 3) == 6
    assert tokens.target(words, 5) == 2
    assert tokens.target(words, 4) == 6 and tokens.target(words, 4, window=1) is None
    assert tokens.target(words, 0) is None  # semantic itself
    assert tokens.target(["to", *[","] * 5, "x"], 0) is None  # six away
    assert tokens.target(["x", "to"], 1) is None


def test_functional_tokens_of_ones_own(tmp_path):
    path = tmp_path / "f.json"
    path.write_text(json.dumps({" Foo": "backward", "bar": "both"}))
    mine = load_functional_tokens(path)
    assert mine.direction("foo") == "backward"
    assert not mine.is_functional("the")
    assert mine.source == "f.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not a JSON object"),
        ("{}", "not a JSON object"),
        ('{"is": "up"}', "token 'is' has the direction 'up'"),
        ('{" ": "both"}', "empty once stripped"),
        ('{"is": "both", "IS": "forward"}', "two directions"),
        ('{"is": "both", "is": "both"}', "appears twice in one object"),
        ("{", "not valid JSON"),
    ],
)
def test_functional_tokens_with_mistakes(tmp_path, text, message):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_functional_tokens(path)
    with pytest.raises(UsageError, match="no such file"):
        load_functional_tokens(tmp_path / "missing.json")


def test_token_key():
    assert token_key(" Austin\n") == token_key("▁austin") == token_key("ĠAUSTIN") == "austin"


def test_the_run_is_not_changed(tmp_path):
    run = make_run(tmp_path / "r", PROMPTS, random_acts(PROMPTS, n_layers=1, d_mlp=3))
    before = {p.name: p.read_bytes() for p in run.path.iterdir()}
    with open_results(run) as writer:
        write_peaks(writer, analyze_peaks(run, PeaksConfig(FUNCTIONAL)), SelectionConfig(top_k=2))
    after = {p.name: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    assert after == before
    assert Run.open(run.path).manifest == run.manifest
