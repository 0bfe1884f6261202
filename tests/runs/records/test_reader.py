"""The reader of records gives what a brute-force look at all activations gives."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from record_runs import D_MLP, DEAD, EDGES, N_LAYERS, TOKENS, kind_of, make_record_run, synthetic

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.records.moments import CentralMoments, merged
from neuron_signatures.runs.records.names import PARTS, POLES
from neuron_signatures.runs.records.reader import Records

ALL = [(layer, n) for layer in range(N_LAYERS) for n in range(D_MLP)]
SUBSETS = [PARTS, ("explain",), ("select", "report"), ("report",)]
SIGN = {"+": 1, "-": -1}


@pytest.fixture(scope="module", params=[True, False], ids=["bos", "no_bos"])
def made(request, tmp_path_factory):
    """A run, its reader and all its activations."""
    stride = None if request.param else 15
    path = make_record_run(tmp_path_factory.mktemp("records") / "r", prepend_bos=request.param, stride=stride)
    with Records.open(path) as records:
        yield records, synthetic(range(N_LAYERS), D_MLP, prepend_bos=request.param, stride=stride).windows


def of_parts(windows, parts):
    return [w for w in windows if PARTS[w.part] in parts]


def sampled(records, windows, parts):
    chosen = set(records.sample(0, 0).windows.tolist())
    return [w for w in of_parts(windows, parts) if w.window in chosen]


def counted(windows, neuron):
    return np.concatenate([np.empty(0, np.float32), *(w.acts[w.counted_from :, neuron] for w in windows)])


def peak(window, neuron, sign):
    pos = max(range(window.counted_from, len(window.acts)), key=lambda p: (sign * window.acts[p, neuron], -p))
    return pos, window.acts[pos, neuron]


def test_strongest_are_those_of_the_documents(made):
    """By documents and contexts; parts are merged by value, ties by window."""
    records, all_windows = made
    for (layer, neuron), pole, parts in itertools.product(ALL, POLES, SUBSETS):
        sign, candidates = SIGN[pole], []
        for part in parts:
            documents, contexts = {}, {}
            for w in of_parts(all_windows[layer], [part]):
                pos, value = peak(w, neuron, sign)
                if w.document not in documents or sign * value > sign * documents[w.document][2]:
                    documents[w.document] = (w, pos, value)
            for w, pos, value in sorted(documents.values(), key=lambda d: (-sign * d[2], d[0].window)):
                left = min(pos, 8)
                contexts.setdefault((left, w.token_ids[pos - left : pos + 9]), (w.window, pos, float(value)))
            candidates += list(contexts.values())[:10]
        expected = sorted(candidates, key=lambda c: (-sign * c[2], c[0]))[:10]
        found = records.strongest(layer, neuron, pole, parts=parts)
        assert [(w.window, w.pos, w.value) for w in found] == expected
        assert {w.part for w in found} <= set(parts)


def test_windows_hold_their_text_and_row(made):
    records, all_windows = made
    for (layer, neuron), pole in itertools.product(ALL, POLES):
        for w in records.strongest(layer, neuron, pole, k=3):
            truth = all_windows[layer][w.window]
            assert w.token_ids == truth.token_ids and w.tokens == tuple(TOKENS[t] for t in truth.token_ids)
            assert (w.document, w.part, w.counted_from) == (truth.document, PARTS[truth.part], truth.counted_from)
            assert (w.acts is not None) == records.sampled(layer, neuron)
            if w.acts is not None:
                assert np.array_equal(w.acts, truth.acts[:, neuron]) and w.acts[w.pos] == w.value
    assert all(w.acts is None for w in records.strongest(0, 0, "+", rows=False))


def test_moments_are_those_of_all_values(made):
    records, all_windows = made
    for (layer, neuron), parts in itertools.product(ALL, SUBSETS):
        x = counted(of_parts(all_windows[layer], parts), neuron).astype(np.float64)
        m, d = records.moments(layer, neuron, parts=parts), x - x.mean()
        assert m.count == len(x)
        np.testing.assert_allclose([m.mean, m.variance, m.std], [x.mean(), x.var(), x.std()], rtol=1e-9, atol=1e-15)
        if kind_of(layer, neuron) == DEAD:
            assert m.skewness is None and m.kurtosis is None
        elif x.std() > 0:
            shape = [(d**3).mean() / x.std() ** 3, (d**4).mean() / x.var() ** 2]
            np.testing.assert_allclose([m.skewness, m.kurtosis], shape, rtol=1e-9, atol=1e-9)
    layer = records.layer_moments(1, parts=("select",))
    for neuron in range(D_MLP):
        assert layer.neuron(neuron) == records.moments(1, neuron, parts=("select",))


def test_parts_with_the_same_value_everywhere_have_no_spread():
    """Shares of parts add up to 1 with a rounding error, which must not become a spread."""
    count, mean, zero = np.array([[3, 7, 11]]), np.full((1, 3), 0.1), np.zeros((1, 3))
    m = merged(CentralMoments(count, mean, zero, zero, zero)).neuron(0)
    assert (m.count, m.mean, m.std, m.skewness) == (21, 0.1, 0.0, None)


def test_moments_of_no_document(made):
    records, _ = made
    m = records.moments(0, 0, parts=())
    assert (m.count, m.mean, m.std, m.skewness, m.kurtosis) == (0, None, None, None, None)


def test_histogram_bins(made):
    records, all_windows = made
    h = records.histogram(0, 6, parts=("explain", "report"))
    assert h.edges[[0, -1]].tolist() == [-np.inf, np.inf] and (np.diff(h.edges) > 0).all()
    assert h.edges[len(EDGES)] == 0 and len(h.edges) == len(h.counts) + 1 and h.n == h.counts.sum() > 0
    by_part = [records.histogram(0, 6, parts=(p,)).counts for p in ("explain", "report")]
    assert np.array_equal(sum(by_part), h.counts)
    assert h.n < len(counted(of_parts(all_windows[0], ("explain", "report")), 6))


def test_sample_holds_all_activations(made):
    records, all_windows = made
    for (layer, neuron), parts in itertools.product(records.sampled_neurons[:4], SUBSETS):
        truth, sample = sampled(records, all_windows[layer], parts), records.sample(layer, neuron, parts=parts)
        assert sample.windows.tolist() == [w.window for w in truth]
        assert all(np.array_equal(a, w.acts[:, neuron]) for a, w in zip(sample.rows, truth, strict=True))
        assert sample.token_ids.tolist() == [t for w in truth for t in w.token_ids]
        assert np.array_equal(sample.acts[sample.counts], counted(truth, neuron))


def test_lookup_table(made):
    records, all_windows = made
    by_token = defaultdict(list)
    for w in sampled(records, all_windows[0], ("explain",)):
        for p in range(w.counted_from, len(w.acts)):
            by_token[w.token_ids[p]].append(float(w.acts[p, 1]))
    found = records.lookup(0, 1, parts=("explain",), min_count=3)
    assert {t.token_id for t in found} == {t for t, x in by_token.items() if len(x) >= 3}
    assert [t.mean for t in found] == sorted((t.mean for t in found), reverse=True)
    for t in found:
        x = by_token[t.token_id]
        assert (t.token, t.count, t.largest, t.smallest) == (TOKENS[t.token_id], len(x), max(x), min(x))
        assert t.mean == pytest.approx(np.mean(x), rel=1e-12)


def test_random_windows_are_of_the_sample(made):
    records, all_windows = made
    found = records.random_windows(0, 0, 6, parts=("explain",), seed=3)
    possible = {w.window for w in sampled(records, all_windows[0], ("explain",))}
    numbers = [w.window for w in found]
    assert len(set(numbers)) == 6 and set(numbers) <= possible
    assert all(w.pos is None and w.value is None and w.acts is not None for w in found)
    assert [w.window for w in records.random_windows(0, 0, 3, parts=("explain",), seed=3)] == numbers[:3]
    assert [w.window for w in records.random_windows(0, 0, 6, parts=("explain",), seed=4)] != numbers
    assert len(records.random_windows(0, 0, 10_000, seed=0)) == 40


@pytest.mark.parametrize("pole", POLES)
@pytest.mark.parametrize("neuron", [0, 1, 6, 7])
def test_intervals(made, pole, neuron):
    records, all_windows = made
    sign = SIGN[pole]
    lists = {w.window for w in records.strongest(0, neuron, pole, parts=("explain",))}
    in_sample = {w.window: peak(w, neuron, sign) for w in sampled(records, all_windows[0], ("explain",))}
    listed = {w.window: peak(w, neuron, sign) for w in all_windows[0] if w.window in lists}
    top = max(float(sign * v) for _, v in [*in_sample.values(), *listed.values()])
    found = records.by_interval(0, neuron, pole, n_intervals=4, per_interval=3, parts=("explain",), seed=1)
    if top <= 0:
        assert found == []
        return
    assert len(found) == 4
    seen = Counter()
    for i, interval in enumerate(found):
        low, high = (sign * e for e in ((interval.low, interval.high) if sign > 0 else (interval.high, interval.low)))
        assert (low, high) == pytest.approx((top * (3 - i) / 4, top * (4 - i) / 4))
        members = {n for n, (_, v) in {**listed, **in_sample}.items() if low < sign * v <= high}
        assert interval.n == len(members & in_sample.keys())
        assert len(interval.windows) == min(3, len(members)) and {w.window for w in interval.windows} <= members
        strengths = [sign * w.value for w in interval.windows]
        assert strengths == sorted(strengths, reverse=True)
        seen.update(w.window for w in interval.windows)
    assert max(seen.values()) == 1


def test_quantiles(made):
    records, all_windows = made
    truth = {w.window: float(peak(w, 6, 1)[1]) for w in sampled(records, all_windows[0], PARTS)}
    found = records.by_quantile(0, 6, n_quantiles=4, per_quantile=3, seed=0)
    assert [g.n for g in found] == [10, 10, 10, 10]
    ordered = sorted(truth, key=lambda w: (truth[w], w))
    for i, group in enumerate(found):
        members = ordered[10 * i : 10 * i + 10]
        assert (group.low, group.high) == (truth[members[0]], truth[members[-1]])
        assert len(group.windows) == 3 and all(w.window in members for w in group.windows)


@pytest.mark.parametrize("pole", POLES)
@pytest.mark.parametrize("neuron", [0, 1, 3, 6])
def test_hard_negatives(made, pole, neuron):
    records, all_windows = made
    strongest = records.strongest(0, neuron, pole)
    tokens = [t for t, _ in Counter(w.token_ids[w.pos] for w in strongest).most_common(5)]
    limit, sign = 0.1 * abs(strongest[0].value), SIGN[pole]
    expected = {}
    for w in sampled(records, all_windows[0], PARTS):
        loud = sign * peak(w, neuron, sign)[1] > np.float32(limit)
        keys = [
            (loud, tokens.index(w.token_ids[p]), abs(w.acts[p, neuron]), w.window, p)
            for p in range(w.counted_from, len(w.acts))
            if w.token_ids[p] in tokens and abs(w.acts[p, neuron]) <= limit
        ]
        if keys:
            expected[w.window] = min(keys)
    found = records.hard_negatives(0, neuron, pole, 7)
    assert [(w.window, w.pos) for w in found] == [k[-2:] for k in sorted(expected.values())[:7]]
    assert all(w.acts[w.pos] == w.value and abs(w.value) <= limit for w in found)


def test_tokens_out_of_context(made):
    records, _ = made
    strongest = records.strongest(0, 1, "+")
    found = records.out_of_context(0, 1, "+", 8)
    peaks = {w.token_ids[w.pos] for w in strongest}
    assert found and len({w.window for w in found}) == len(found)
    for w in found:
        assert w.token_ids[w.pos] in peaks and w.pos >= w.counted_from and w.value == w.acts[w.pos]
        assert w.window not in {s.window for s in strongest}
        for s in strongest:
            assert (
                s.pos != w.pos
                or s.token_ids[max(0, s.pos - 8) : s.pos + 9] != w.token_ids[max(0, w.pos - 8) : w.pos + 9]
            )


def test_table_and_most_frequent_tokens(made):
    records, _ = made
    table = records.neurons()
    assert table.num_rows == N_LAYERS * D_MLP
    assert records.often(0, 0, "+").tokens == (" Austin",) and records.often(0, 0, "+").share == 1.0
    assert len(records.often(0, 6, "-").tokens) == 5


def test_what_is_not_there(made, tmp_path):
    records, _ = made
    assert records.holds(1, 11) and not records.holds(2, 0) and not records.holds(0, 12) and not records.holds(0, -1)
    for read in (
        lambda: records.strongest(2, 0, "+"), lambda: records.moments(0, 12), lambda: records.histogram(0, -1),
        lambda: records.sample(0, 2), lambda: records.layer_moments(9), lambda: records.sample(7, 0),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            read()
    with pytest.raises(UsageError, match="poc4_extract_records"):
        Records.open(tmp_path)
    assert not Records.exist(tmp_path) and Records.exist(records.path)


def test_without_a_sample(tmp_path):
    path = make_record_run(tmp_path / "r", with_sample=False, n_documents=6)
    with Records.open(path) as records:
        assert records.sample_meta is None and records.sampled_neurons == [] and not records.sampled(0, 0)
        assert all(w.acts is None for w in records.strongest(0, 0, "+"))
        with pytest.raises(UsageError, match="sample"):
            records.random_windows(0, 0, 3, seed=0)


def test_rewriting_all_neurons_invalidates_the_sample(tmp_path):
    path = make_record_run(tmp_path / "r", n_documents=6)
    make_record_run(path, n_documents=6, with_sample=False)
    with Records.open(path) as records:
        assert records.sample_meta is None
    make_record_run(path, n_documents=7, seed=5, with_sample=False)
    with Records.open(path) as records:
        assert records.corpus.meta.n_documents == 7
    (path / "records" / "corpus_meta.json").unlink()
    with pytest.raises(BadRunError, match="is missing"):
        Records.open(path)
