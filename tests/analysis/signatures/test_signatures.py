"""Signatures against a simple loop, hand-made neurons of every class, and the null."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from analysis_runs import BOS, make_run, make_v1_run, random_acts
from scipy import stats

from neuron_signatures.analysis.signatures import analyze as signatures_module
from neuron_signatures.analysis.signatures.analyze import SignatureConfig, analyze_signatures
from neuron_signatures.analysis.signatures.classes import ClassRules
from neuron_signatures.analysis.signatures.labels import Labels, PromptLabels, aligned_positions, load_concepts
from neuron_signatures.analysis.signatures.nulls import aligned_to, choose_donors, null_counts, of_other_prompts
from neuron_signatures.analysis.signatures.report import signatures_lines
from neuron_signatures.analysis.signatures.writing import signatures_record, write_signatures
from neuron_signatures.analysis.tokens.functional import default_functional_tokens, token_key
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.results import open_results, read_json
from neuron_signatures.runs.tables import read_table

FUNCTIONAL = default_functional_tokens()
PROMPTS = {
    "seed": [BOS, "The", " capital", " of", " the", " state", " containing", " Dallas", " is"],
    "p1": [BOS, "The", " capital", " of", " Texas", " is", " Austin"],
    "p2": [BOS, "A", " city", " in", " Texas", ",", " USA", " is", " Dallas"],
    "p3": [BOS, "The", " state", " of", " Dal", "las", " is", " Texas"],
    "p4": [BOS, " texas"],
    "p5": [BOS, " the", " capital", " is", " Austin", " the", " capital"],
}
CONCEPTS = ("Texas", "Dallas", "capital", "is", "Nowhere")
Z = 1.96
N = 12


def brute_force(acts, layer, neuron, sign, n_layers, config: SignatureConfig) -> dict:
    """One row, value by value, from the definitions."""
    start = 1
    v = {k: [sign * float(x) for x in acts[k][layer, start:, neuron]] for k in PROMPTS}
    everything = [x for values in v.values() for x in values]
    q25, median, q75 = np.quantile(everything, [0.25, 0.5, 0.75])
    largest = max(everything)
    rows = []
    for key, values in v.items():
        peak = max(values)
        rows.append(
            {
                "key": key,
                "peak": peak,
                "pos": values.index(peak) + start,
                "tied": values.count(peak) > 1,
                "sparsity": (peak - sum(values) / len(values)) / peak if peak > 0 else None,
                "density": sum(x > q75 for x in values) / len(values),
                "active": peak > config.active_above and peak >= np.float32(config.active_share) * largest,
            }
        )
    active = [r for r in rows if r["active"]]
    texts = [tuple(PROMPTS[r["key"]][: r["pos"] + 1]) for r in active]
    on = [r for i, r in enumerate(active) if texts[i] not in texts[:i]]
    repeats = [r["key"] for r in active if r not in on]
    token = {r["key"]: token_key(PROMPTS[r["key"]][r["pos"]]) for r in on}
    functional = {k: t for k, t in token.items() if FUNCTIONAL.is_functional(t)}
    semantic = {k: t for k, t in token.items() if k not in functional}
    targets = [
        token_key(PROMPTS[r["key"]][at])
        for r in on
        if (at := FUNCTIONAL.target(PROMPTS[r["key"]], r["pos"], window=config.target_window)) is not None
    ]
    concept, hits, containing = _concept(on, repeats, config)
    peaks = [r["peak"] for r in active]
    cosines = list(_cosines(v, config))
    return {
        "n_active": len(active),
        "n_texts": len(on),
        "n_tied_peaks": sum(r["tied"] for r in active),
        "max_peak": largest,
        "median_peak": statistics.median(peaks) if active else None,
        "median_peak_z": (statistics.median(peaks) - median) / ((q75 - q25) / 1.349) if active and q75 > q25 else None,
        "median_sparsity": statistics.median(r["sparsity"] for r in active) if active else None,
        "mean_density": sum(r["density"] for r in active) / len(active) if active else None,
        "mode_peak_token": _mode(token.values()),
        "mode_peak_count": _count(token.values()),
        "main_consistency": _share(_count(token.values()), len(on)),
        "n_distinct_peaks": len(set(token.values())),
        "concept": concept,
        "concept_prompts": containing,
        "peak_consistency": _share(hits, containing),
        "func_vs_sem": _share(len(functional), len(on)),
        "conf_sem": _share(_count(semantic.values()), len(semantic)),
        "conf_func": _share(_count(functional.values()), len(functional)),
        "target_token": _mode(targets),
        "target_count": _count(targets),
        "seed_cosine": sum(cosines) / len(cosines) if cosines else None,
        "seed_cosine_prompts": len(cosines),
        **_class(
            active, on, token, functional, semantic, targets, concept, hits, containing, layer, n_layers, config.rules
        ),
    }


def _class(active, on, token, functional, semantic, targets, concept, hits, containing, layer, n_layers, rules) -> dict:
    depth = layer / (n_layers - 1) if n_layers > 1 else 0
    if len(on) < rules.min_active:
        return {"class": "unclassified", "name": None}
    conf_sem = _share(_count(semantic.values()), len(semantic)) or 0
    early_or_sure = depth <= rules.semantic_max_depth or conf_sem >= rules.semantic_min_conf
    consistent = (_share(hits, containing) or 0) >= rules.semantic_min_consistency
    if consistent and len(set(token.values())) <= rules.semantic_max_distinct and early_or_sure:
        return {"class": "semantic", "name": concept}
    sure = (_share(_count(functional.values()), len(functional)) or 0) >= rules.say_min_conf
    if len(functional) / len(on) >= rules.say_min_functional and sure and depth >= rules.say_min_depth:
        return {"class": "say_x", "name": f"Say ({_mode(targets)})" if targets else None}
    if statistics.median(r["sparsity"] for r in active) < rules.relationship_max_sparsity:
        named = _mode(semantic.values()) == _mode(token.values())
        return {"class": "relationship", "name": f"({_mode(semantic.values())}) related" if named else None}
    return {"class": "unclassified", "name": None}


def _concept(on, repeats, config):
    best = (None, 0, 0)
    for concept in sorted(CONCEPTS, key=lambda c: -len(_containing(c))):
        where = {k: v for k, v in _containing(concept).items() if k not in repeats}
        if len(where) >= config.min_concept_prompts:
            hits = sum(r["pos"] in where.get(r["key"], ()) for r in on)
            if best[0] is None or hits / len(where) > best[1] / best[2]:
                best = (concept, hits, len(where))
    return best


def _containing(concept) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for key, tokens in PROMPTS.items():
        for a in range(1, len(tokens)):
            for b in range(a + 1, len(tokens) + 1):
                if token_key("".join(tokens[a:b])) == token_key(concept):
                    found.setdefault(key, set()).update(range(a, b))
    return found


def _cosines(v, config):
    for key in PROMPTS:
        pairs = []
        for k, token in enumerate(PROMPTS["seed"][1:]):
            nth = [token_key(t) for t in PROMPTS["seed"][1 : k + 1]].count(token_key(token))
            places = [i for i, t in enumerate(PROMPTS[key][1:]) if token_key(t) == token_key(token)]
            if nth < len(places):
                pairs.append((v["seed"][k], v[key][places[nth]]))
        if key != "seed" and len(pairs) >= config.min_shared_tokens:
            norm = math.sqrt(sum(a * a for a, _ in pairs)) * math.sqrt(sum(b * b for _, b in pairs))
            if norm > 0:
                yield sum(a * b for a, b in pairs) / norm


def _mode(values):
    """The most frequent key as it is first written in the run; ties: the first in order of keys."""
    counts = Counter(values)
    if not counts:
        return None
    key = min(counts, key=lambda k: (-counts[k], k))
    return next(t.strip() for tokens in PROMPTS.values() for t in tokens if token_key(t) == key)


def _count(values) -> int:
    return max(Counter(values).values(), default=0)


def _share(part, whole):
    return part / whole if whole else None


@pytest.mark.parametrize(
    ("above", "share", "ties", "block_bytes"),
    [
        (0.0, 0.5, False, 1 << 20),
        (0.0, 0.5, True, 1 << 20),
        (0.4, 0.0, True, 1),  # neuron by neuron
        (0.0, 0.9, False, 500),
        (9.0, 0.0, False, 1 << 20),
    ],
)
def test_signatures_equal_a_loop(tmp_path, monkeypatch, above, share, ties, block_bytes):
    monkeypatch.setattr(signatures_module, "_BLOCK_BYTES", block_bytes)
    acts = random_acts(PROMPTS, n_layers=3, d_mlp=N, ties=ties, seed=3)
    run = make_run(tmp_path / "r", PROMPTS, acts)
    rules = ClassRules(2, 0.0, 1.0, semantic_min_consistency=0.3, semantic_max_distinct=3, say_min_conf=0.5)
    config = SignatureConfig(FUNCTIONAL, concepts=CONCEPTS, active_above=above, active_share=share, rules=rules)
    result = analyze_signatures(run, config)
    frame = result.frame
    assert len(frame) == 3 * N * 2
    for i in range(len(frame)):
        row = frame.iloc[i]
        layer, neuron, pole = i // (2 * N), i % (2 * N) // 2, "+-"[i % 2]
        assert (row["layer"], row["neuron"], row["pole"]) == (layer, neuron, pole)
        for name, want in brute_force(acts, layer, neuron, 1 if pole == "+" else -1, 3, config).items():
            if want is None:
                assert pd.isna(row[name]), (i, name)
            else:
                expected = pytest.approx(want, rel=2e-5, abs=2e-6) if isinstance(want, float) else want
                assert row[name] == expected, (i, name)
    for counts in (result.class_counts, *result.shuffled_counts, *result.other_prompt_counts):
        assert sum(counts.values()) == len(frame)
    assert sum(result.reasons.values()) == result.class_counts["unclassified"]
    assert result.class_counts == {k: int((frame["class"] == k).sum()) for k in result.class_counts}


def hand_made(n_prompts: int = 6) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Neurons 0 to 3 of a last layer: semantic, say, relationship, noise; the pole `-` of all but noise never fires."""
    rng = np.random.default_rng(0)
    words = ["Texas", "Ohio", "Utah"]
    prompts, acts = {}, {}
    for i in range(n_prompts):
        word = words[i % 3]
        prompts[f"p{i}"] = [BOS, f" n{i}", " city", f" {word}", " red", " is", " Austin", " tree", " lake"]
        a = np.zeros((4, 9, 4), np.float32)
        a[:, 3, 0] = 5.0 * (word == "Texas")
        a[:, 5, 1] = 3.0
        a[:, 1:, 2] = 1.0 + 0.01 * rng.random((4, 8))
        a[:, 2, 2] = 1.05
        a[:, 1 + i % 8, 3] = 1.0 + rng.random(4)
        acts[f"p{i}"] = a
    return prompts, acts


def test_classes_by_hand(tmp_path):
    prompts, acts = hand_made()
    run = make_run(tmp_path / "r", prompts, acts)
    result = analyze_signatures(
        run, SignatureConfig(FUNCTIONAL, concepts=("Texas", "Ohio"), rules=ClassRules(2, max_q=1.0))
    )
    rows = result.frame.set_index(["layer", "neuron", "pole"])
    last = rows.loc[3]
    assert last.loc[(0, "+"), ["class", "name"]].tolist() == ["semantic", "Texas"]
    assert last.loc[(1, "+"), ["class", "name"]].tolist() == ["say_x", "Say (Austin)"]
    assert last.loc[(2, "+"), ["class", "name"]].tolist() == ["relationship", "(city) related"]
    assert last.loc[(0, "-"), "class"] == last.loc[(1, "-"), "class"] == "unclassified"
    assert last.loc[(0, "-"), "n_active"] == 0
    assert rows.loc[(0, 1, "+"), "class"] == "unclassified"  # too early to say
    assert rows["depth"].unique().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    groups = {g["name"]: g for g in result.groups}
    assert groups["Say (Austin)"]["members"] == ["L1N1+", "L2N1+", "L3N1+"]
    assert groups["Texas"]["members"] == [f"L{layer}N0+" for layer in range(4)]
    members = [m for g in result.groups for m in g["members"]]
    assert len(members) == len(set(members))
    assert [g["n_members"] for g in result.groups] == sorted((len(g["members"]) for g in result.groups), reverse=True)


def various(n_prompts: int = 24) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Prompts of six tokens in various orders, with " is" and " Texas" at every position equally often.

    Neurons of the last of four layers: 0 is active on " Texas", 1 on " is" (which precedes " Austin" at its even
    positions), 2 at position 3 whatever is there, 3 on " is" before " Austin" only; 4 as 1, with a pole `-` that is 20
    times weaker.
    """
    rng = np.random.default_rng(0)
    prompts, acts = {}, {}
    for i in range(n_prompts):
        words = [f" w{j}" for j in rng.permutation(200)[:9]]
        at, said = 1 + i % 6, " Austin" if i % 2 else f" x{i}"
        words[at : at + 2] = [" is", said]
        texas = next(p for p in (7, 8, 3) if p not in (at, at + 1))
        words[texas] = " Texas"
        tokens = [BOS, *words]
        a = np.zeros((4, len(tokens), 5), np.float32)
        a[:, 1 + texas, 0] = 5
        a[:, 1 + at, 1] = a[:, 1 + at, 4] = 3
        a[:, 3, 2] = 4
        a[:, 1 + at, 3] = 6 * (said == " Austin")
        a[:, 9, 4] -= 0.15
        prompts[f"p{i}"], acts[f"p{i}"] = tokens, a
    return prompts, acts


def test_tests_names_and_reasons(tmp_path):
    run = make_run(tmp_path / "r", *various())
    result = analyze_signatures(run, SignatureConfig(FUNCTIONAL, concepts=("Texas",)))
    last = result.frame[result.frame["layer"] == 3].set_index(["neuron", "pole"])
    assert last.loc[(0, "+"), ["class", "name", "n_texts"]].tolist() == ["semantic", "Texas", 24]
    assert last.loc[(1, "+"), "class"] == last.loc[(3, "+"), "class"] == "say_x"
    assert last.loc[(3, "+"), ["name", "n_texts", "target_count"]].tolist() == ["Say (Austin)", 12, 12]
    assert pd.isna(last.loc[(1, "+"), "name"])  # Austin follows half of all " is", and half of its own
    assert last.loc[(1, "+"), "target_p"] == pytest.approx(
        stats.binom.sf(11, 24, 0.5) + 12 * stats.binom.sf(11, 24, 1 / 24)
    )
    assert last.loc[(3, "+"), "target_p"] == pytest.approx(0.5**12, rel=1e-3)
    assert last.loc[(2, "+"), ["class", "reason"]].tolist() == ["unclassified", "no_rule"]
    assert last.loc[(4, "-"), ["class", "reason", "n_active"]].tolist() == ["unclassified", "weak_pole", 24]
    assert last.loc[(0, "-"), "reason"] == "weak_pole"
    assert result.reasons == result.frame["reason"].value_counts().reindex(list(result.reasons), fill_value=0).to_dict()
    counts = result.frame["class"].value_counts()
    for null in (result.shuffled_counts, result.other_prompt_counts):
        assert len(null) == 20
        assert np.mean([n["semantic"] + n["say_x"] for n in null]) < 0.02 * (counts["semantic"] + counts["say_x"])


def test_positions_alone_are_found_by_tokens_of_other_prompts_only(tmp_path):
    """Forty neurons that respond to position 5, where most prompts have " is", and one that responds to " is"."""
    rng = np.random.default_rng(1)
    prompts, acts = {}, {}
    for i in range(20):
        words = [f" w{j}" for j in rng.permutation(99)[:8]]
        words[4 if i % 10 else 2] = " is"
        a = np.zeros((4, 9, 41), np.float32)
        a[:, 5, :40] = 1
        a[:, 1 + words.index(" is"), 40] = 1
        prompts[f"p{i}"], acts[f"p{i}"] = [BOS, *words], a
    run = make_run(tmp_path / "r", prompts, acts)
    rules = ClassRules(say_min_depth=1.0, max_q=1.0)
    found = analyze_signatures(run, SignatureConfig(FUNCTIONAL, concepts=(), rules=rules))
    assert found.class_counts["say_x"] == 41
    assert max(n["say_x"] for n in found.shuffled_counts) == 0
    others = null_counts(found.other_prompt_counts, "say_x")
    assert others.mean > 20 and others.precision(41) < 0.5
    tested = analyze_signatures(run, SignatureConfig(FUNCTIONAL, concepts=(), rules=ClassRules(say_min_depth=1.0)))
    assert tested.class_counts["say_x"] == 0  # not the one either: " is" is nearly always at position 5
    assert tested.reasons["chance"] == 41
    assert max(n["say_x"] for n in tested.other_prompt_counts) == 0


def test_p_is_the_binomial_tail_of_the_tokens_at_the_same_positions(tmp_path):
    """Six prompts of equal length: each takes the tokens of the five others."""
    prompts = {f"p{i}": [BOS, f" a{i}", " is" if i < 5 else " was", f" b{i}"] for i in range(6)}
    acts = {k: np.zeros((1, 4, 1), np.float32) for k in prompts}
    for i, a in enumerate(acts.values()):
        a[0, 2 if i < 5 else 1, 0] = 1
    frame = analyze_signatures(make_run(tmp_path / "r", prompts, acts), SignatureConfig(FUNCTIONAL)).frame
    row = frame.iloc[0]
    assert row[["n_texts", "mode_peak_token", "mode_peak_count"]].tolist() == [6, "is", 5]
    # "is" at position 2: 4 of 5 others have it, in five prompts; at position 1 the others have five tokens, once each
    # and "was" is at position 2 in 1 of 5
    tails = stats.binom.sf(4, 6, 4 / 6) + stats.binom.sf(4, 6, 1 / 6) + 5 * stats.binom.sf(4, 6, 1 / 30)
    assert row["p"] == pytest.approx(tails, rel=1e-5)
    assert row["q"] == row["p"] and pd.isna(frame.iloc[1]["p"])


def test_the_same_beginning_counts_once(tmp_path):
    prompts = {f"p{i}": [BOS, "The", " capital", " of", f" {c}", " is"] for i, c in enumerate("abcdef")}
    acts = {k: np.zeros((1, 6, 2), np.float32) for k in prompts}
    for a in acts.values():
        a[0, 2, 0] = a[0, 5, 1] = 1
    rules = ClassRules(max_q=1.0, say_min_depth=0.0)
    config = SignatureConfig(FUNCTIONAL, concepts=("capital",), min_concept_prompts=1, rules=rules)
    rows = analyze_signatures(make_run(tmp_path / "r", prompts, acts), config).frame.set_index(["neuron", "pole"])
    one = rows.loc[(0, "+")]
    assert one[["n_active", "n_texts", "mode_peak_count", "reason"]].tolist() == [6, 1, 1, "few_texts"]
    assert one[["concept_prompts", "peak_consistency"]].tolist() == [1, 1]
    assert rows.loc[(1, "+"), ["n_active", "n_texts", "class"]].tolist() == [6, 6, "say_x"]


def test_other_prompts_keep_positions(tmp_path):
    labels = Labels(
        [PromptLabels(np.arange(n, dtype=np.int32) + 10 * i, np.zeros(n, bool), np.full(n, -1, np.int32), {})
         for i, n in enumerate((4, 4, 6, 3))],
        [], [],
    )  # fmt: skip
    donors = choose_donors([4, 4, 6, 3])
    assert [sorted(d) for d in donors] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    for seed in range(20):
        drawn = of_other_prompts(labels, donors, np.random.default_rng(seed))
        for own, taken in zip(labels.prompts, drawn.prompts, strict=True):
            other = taken.key[0] // 10
            assert len(taken.key) == len(own.key) and other != own.key[0] // 10
            last = len(labels.prompts[other].key) - 1
            assert taken.key[0] == 10 * other and taken.key[-1] == 10 * other + last  # both ends are aligned
    assert aligned_to(4, 4).tolist() == [0, 1, 2, 3]
    assert aligned_to(4, 6).tolist() == [0, 1, 4, 5]
    assert aligned_to(5, 3).tolist() == [0, 1, 2, 1, 2]


def test_donors_are_the_nearest_in_length():
    donors = choose_donors([3, 3, 3, 3, 3, 3, 9, *[20] * 30])
    assert sorted(donors[0]) == [1, 2, 3, 4, 5]
    assert sorted(donors[6]) == [0, 1, 2, 3, 4, 5]
    assert len(donors[7]) == 16 and set(donors[7]) <= set(range(8, 37))
    assert [len(d) for d in choose_donors([4])] == [0]


def test_nulls_do_not_change_the_result(tmp_path):
    run = make_run(tmp_path / "r", *various())
    first, again, other = (
        analyze_signatures(run, SignatureConfig(FUNCTIONAL, n_null=n, null_seed=seed, rules=ClassRules(max_q=1.0)))
        for n, seed in ((3, 0), (3, 0), (5, 1))
    )
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert first.shuffled_counts == again.shuffled_counts and first.other_prompt_counts == again.other_prompt_counts
    assert len(other.shuffled_counts) == len(other.other_prompt_counts) == 5
    pd.testing.assert_frame_equal(first.frame, other.frame)


def test_whitespace_after_a_concept_is_not_the_concept(tmp_path):
    prompts = {f"p{i}": [BOS, f" a{i}", " year", " ", str(i)] for i in range(5)}
    acts = {k: np.zeros((1, 5, 1), np.float32) for k in prompts}
    for a in acts.values():
        a[0, 3, 0] = 1
    config = SignatureConfig(FUNCTIONAL, concepts=("year",))
    row = analyze_signatures(make_run(tmp_path / "r", prompts, acts), config).frame.iloc[0]
    assert row["peak_consistency"] == 0


def test_random_activations_are_almost_all_unclassified(tmp_path):
    rng = np.random.default_rng(0)
    words = [" Texas", " Dallas", " is", " the", " Austin", " of", ",", " capital", " city", " state"]
    prompts = {f"p{i}": [BOS, *rng.choice(words, 12)] for i in range(20)}
    run = make_run(tmp_path / "r", prompts, random_acts(prompts, n_layers=3, d_mlp=200))
    result = analyze_signatures(run, SignatureConfig(FUNCTIONAL))
    assert result.class_counts["unclassified"] >= 0.97 * len(result.frame)
    assert all(n["unclassified"] >= 0.97 * len(result.frame) for n in result.other_prompt_counts)


def test_nonfinite_values_are_ignored(tmp_path):
    acts = random_acts(PROMPTS, n_layers=1, d_mlp=6)
    whole = {k: a.copy() for k, a in acts.items()}
    acts["seed"][0, 3, 2] = np.nan
    acts["p1"][0, 4, 2] = np.inf
    acts["p4"][0, 1, 2] = np.nan  # its only value
    acts["p2"][0, :, 4] = -np.inf
    config = SignatureConfig(FUNCTIONAL, concepts=CONCEPTS, active_share=0.0, rules=ClassRules(1))
    frame = analyze_signatures(make_run(tmp_path / "a", PROMPTS, acts), config).frame
    clean = analyze_signatures(make_run(tmp_path / "b", PROMPTS, whole), config).frame
    untouched = ~frame["neuron"].isin([2, 4])
    pd.testing.assert_frame_equal(frame[untouched], clean[untouched])
    values = [float(x) for a in acts.values() for x in a[0, 1:, 2] if math.isfinite(x)]
    row = frame[(frame["neuron"] == 2) & (frame["pole"] == "+")].iloc[0]
    assert row["max_peak"] == np.float32(max(values))
    peaks = [max((x for x in a[0, 1:, 2] if math.isfinite(x)), default=-1) for a in acts.values()]
    assert row["n_active"] == sum(p > 0 for p in peaks)
    assert row["median_peak"] == pytest.approx(statistics.median(p for p in peaks if p > 0))
    numbers = frame.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)
    assert not np.isinf(numbers).any()


@pytest.mark.parametrize("prompts", [{"p": [" y", " x"]}, {"p": [BOS, " x"], "q": [BOS]}, {"p": [" x", " the"]}])
def test_one_prompt_one_layer_all_zero(tmp_path, prompts):
    acts = {k: np.zeros((1, len(t), 2), np.float32) for k, t in prompts.items()}
    result = analyze_signatures(make_run(tmp_path / "r", prompts, acts), SignatureConfig(FUNCTIONAL))
    assert result.class_counts == {"semantic": 0, "say_x": 0, "relationship": 0, "unclassified": 4}
    assert result.frame["depth"].unique().tolist() == [0]
    assert result.groups == []
    assert result.counted.skipped == (["q"] if "q" in prompts else [])
    assert result.frame["seed_cosine"].isna().all()


def test_depth_counts_the_layers_of_the_model(tmp_path):
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=2)
    run = make_run(tmp_path / "r", PROMPTS, acts, layers=[2, 4], n_layers=11)
    frame = analyze_signatures(run, SignatureConfig(FUNCTIONAL)).frame
    assert frame["depth"].unique().tolist() == pytest.approx([0.2, 0.4])


def test_where_concepts_come_from(tmp_path):
    acts = random_acts(PROMPTS, n_layers=1, d_mlp=2)
    plain = make_run(tmp_path / "a", PROMPTS, acts)
    result = analyze_signatures(plain, SignatureConfig(FUNCTIONAL))
    assert (result.concepts, result.concepts_source) == (
        ["capital", "state", "containing", "Dallas"],
        "seed prompt",
    )
    assert result.n_containing == [3, 2, 1, 3]  # "Dal" + "las" is Dallas
    other = analyze_signatures(plain, SignatureConfig(FUNCTIONAL, seed_prompt="p4"))
    assert (other.seed_prompt, other.concepts) == ("p4", ["texas"])
    metadata = {"seed": {"concepts": ["Dallas", "state"]}, "p1": {"concepts": ["dallas ", "Austin"]}}
    listed = make_run(tmp_path / "b", PROMPTS, acts, metadata=metadata)
    result = analyze_signatures(listed, SignatureConfig(FUNCTIONAL))
    assert (result.concepts, result.concepts_source) == (["Dallas", "state", "Austin"], "metadata")
    result = analyze_signatures(listed, SignatureConfig(FUNCTIONAL, concepts=("is",)))
    assert (result.concepts, result.concepts_source) == (["is"], "given")
    wrong = make_run(tmp_path / "c", PROMPTS, acts, metadata={"p1": {"concepts": "Dallas"}})
    with pytest.raises(UsageError, match=r"prompt 'p1': concepts are not a list of texts"):
        analyze_signatures(wrong, SignatureConfig(FUNCTIONAL))


def test_concepts_of_a_file(tmp_path):
    path = tmp_path / "c.json"
    path.write_text(json.dumps(["Dallas", " dallas", "San Antonio"]))
    assert load_concepts(path) == ["Dallas", "San Antonio"]
    path.write_text(json.dumps({"p1": ["Dallas"], "p2": ["Texas", "Dallas"]}))
    assert load_concepts(path) == ["Dallas", "Texas"]
    for text in ("3", '["a", 1]', '{"p1": "Dallas"}', '[" "]', "["):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"c\.json"):
            load_concepts(path)


def test_format_1(tmp_path):
    acts = random_acts(PROMPTS, n_layers=2, d_mlp=3)
    new = make_run(tmp_path / "new", PROMPTS, acts)
    old = make_v1_run(tmp_path / "old", PROMPTS, acts)
    config = SignatureConfig(FUNCTIONAL)
    pd.testing.assert_frame_equal(analyze_signatures(old, config).frame, analyze_signatures(new, config).frame)


def test_files_of_the_stage(tmp_path):
    prompts, acts = hand_made()
    run = make_run(tmp_path / "r", prompts, acts)
    result = analyze_signatures(
        run, SignatureConfig(FUNCTIONAL, concepts=("Texas", "Nowhere"), rules=ClassRules(2, max_q=1.0))
    )
    with open_results(run) as writer:
        record = write_signatures(writer, result)
    pd.testing.assert_frame_equal(read_table(run.path, "signatures"), result.frame)
    csv = pd.read_csv(run.path / "analysis" / "signatures.csv")
    assert csv["pole"].tolist() == ["+", "-"] * 16
    assert read_json(run.path, "groups.json")["groups"] == result.groups
    meta = read_json(run.path, "signatures_meta.json")
    assert meta["class_counts"] == result.class_counts
    n = [draw["semantic"] for draw in result.other_prompt_counts]
    null = meta["null"]["other_prompts"]["classes"]["semantic"]
    assert null == {
        "mean": np.mean(n), "low": min(n), "high": max(n),
        "precision": 1 - np.mean(n) / meta["class_counts"]["semantic"],
    }  # fmt: skip
    assert meta["unclassified_because"] == result.reasons
    assert meta["n_named"]["semantic"] == 4
    assert [len(g["n_texts"]) for g in result.groups] == [g["n_members"] for g in result.groups]
    assert meta["settings"]["semantic_min_consistency"] == 0.8
    assert meta["concepts"] == {"Texas": 2, "Nowhere": 0}
    assert meta["depth"] == "layer / (n_layers - 1)"
    assert "concepts that occur in no prompt: Nowhere" in record["warnings"]


def test_the_summary_shows_n_both_nulls_and_precision(tmp_path):
    run = make_run(tmp_path / "r", *various())
    result = analyze_signatures(run, SignatureConfig(FUNCTIONAL, concepts=("Texas",)))
    record = signatures_record(result)
    lines = signatures_lines(run.path, result, record)
    table = {line.split()[0]: line.split() for line in lines if line}
    say, null = result.class_counts["say_x"], record["null"]["other_prompts"]["classes"]["say_x"]
    assert table["say_x"][1:3] == [str(say), str(record["n_named"]["say_x"])]
    assert table["say_x"][-1] == f"{1 - null['mean'] / say:.2f}"
    assert table["say_x"][-5:-1] == [f"{null['mean']:.1f}", f"({null['low']}", "to", f"{null['high']})"]
    assert "20 draws" in " ".join(lines) and "weak poles" in " ".join(lines)
    assert "         Texas                                4  n 24" in lines
    unnamed = say - record["n_named"]["say_x"]
    assert unnamed and any(w.startswith(f"{unnamed} say_x poles have no name") for w in record["warnings"])


def test_a_class_that_positions_explain_is_marked():
    counts = {"semantic": 10, "say_x": 100, "relationship": 0, "unclassified": 5}
    draws = [{**counts, "semantic": 1, "say_x": n} for n in (40, 60)]
    assert null_counts(draws, "say_x") == (50, 40, 60)
    assert null_counts(draws, "say_x").precision(100) == 0.5
    assert null_counts(draws, "say_x").precision(20) == 0.0  # never negative
    assert null_counts(draws, "relationship").precision(0) is None
    assert null_counts([], "say_x") == (None, None, None) and null_counts([], "say_x").precision(9) is None


def test_aligned_positions():
    seed, other = aligned_positions(["the", " cat", " the"], [" The", "THE", " dog", "the", "cat"])
    assert list(zip(seed.tolist(), other.tolist(), strict=True)) == [(0, 0), (2, 1), (1, 4)]
