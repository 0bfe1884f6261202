"""Which windows are shown, and that neither the marks nor the texts alone tell right marks from wrong ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from judge_cases import simple_texts, texts_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from neuron_signatures.scoring.design import Design
from neuron_signatures.scoring.judges.matching import marked_examples
from neuron_signatures.scoring.judges.windows import plain_examples
from neuron_signatures.scoring.texts import Text

LENGTH = 16


def edge_texts(n: int, *, seed: int) -> list[Text]:
    """The neuron is active once to four times near the beginning of a window, where a judge could learn it."""
    random = np.random.default_rng(seed)
    found = []
    for window in range(n):
        acts = np.zeros(LENGTH, np.float32)
        places = np.minimum(random.geometric(0.3, size=int(random.integers(1, 5))), LENGTH - 1)
        acts[places] = random.uniform(2, 5, len(places))
        tokens = tuple(f" w{i}" for i in random.integers(1000, size=LENGTH))
        found.append(Text(window, window, tokens, acts, np.ones(LENGTH, bool)))
    return found


def examples(windows: list[Text], **changes: int):
    return marked_examples(texts_of(windows), Design(**changes), per_request=5)


@pytest.mark.parametrize("seed", range(5))
def test_both_classes_have_the_same_marks_and_the_same_texts(seed):
    shown = examples(edge_texts(40, seed=seed))
    assert len(shown) == 20
    for key in (lambda s: s.marks, lambda s: s.text.window, lambda s: len(s.marks)):
        right, wrong = (Counter(map(key, (s for s in shown if s.label is label))) for label in (True, False))
        assert right == wrong


def test_marks_are_right_or_at_no_active_position():
    for seed in range(5):
        for one in examples(edge_texts(40, seed=seed)):
            active = set(np.flatnonzero(one.text.acts > 1).tolist())
            marks = set(one.marks)
            assert marks == active if one.label else marks.isdisjoint(active) and marks


def test_a_judge_that_sees_only_the_marks_is_at_chance():
    """Rules that say the same of equal marks have exactly one half; learned ones have it on data that they saw too."""
    shown = [one for seed in range(20) for one in examples(edge_texts(60, seed=seed))]
    marks = np.array([[i in one.marks for i in range(LENGTH)] for one in shown], float)
    seen = np.column_stack([marks, marks.sum(1), marks @ np.arange(LENGTH), marks.argmax(1)])
    labels = np.array([one.label for one in shown])
    assert len(labels) == 400
    of_equal: dict[bytes, list[bool]] = {}
    for row, label in zip(seen, labels, strict=True):
        of_equal.setdefault(row.tobytes(), []).append(bool(label))
    majority = [np.mean(of_equal[row.tobytes()]) for row in seen]
    assert set(majority) == {0.5}
    for judge in (LogisticRegression(max_iter=1000), KNeighborsClassifier(5)):
        said = judge.fit(seen[::2], labels[::2]).predict(seen[1::2])
        assert abs(balanced_accuracy_score(labels[1::2], said) - 0.5) < 0.1
    assert LogisticRegression(max_iter=1000).fit(seen, labels).coef_ == pytest.approx(0, abs=1e-3)


def test_marks_that_are_always_in_the_same_place_have_no_match():
    """Of a neuron that is active at one position of every window, the marks alone say that they are right."""
    windows = simple_texts(20)
    for text in windows:
        text.acts[:] = 0
        text.acts[3] = 2.0
    assert examples(windows) == []


def test_windows_without_a_match_make_room_for_others():
    """Windows that are active everywhere can take no marks."""
    dense = [Text(t.window + 100, t.document + 100, t.tokens, np.full(LENGTH, 9, np.float32), t.counts)
             for t in edge_texts(15, seed=1)]  # fmt: skip
    shown = examples([*dense, *edge_texts(40, seed=0)])
    assert len(shown) == 20 and all(one.text.window < 100 for one in shown)


def test_marks_stay_among_positions_that_count():
    windows = edge_texts(40, seed=2)
    for text in windows:
        text.counts[:4] = False
        text.acts[10] = 3.0 * (text.window % 2)
    shown = examples(windows)
    assert shown and all(min(one.marks) >= 4 for one in shown)


def test_the_two_forms_of_a_window_are_in_different_requests():
    for seed in range(5):
        shown = examples(edge_texts(40, seed=seed), seed=seed)
        for start in range(0, len(shown), 5):
            assert len({one.text.window for one in shown[start : start + 5]}) == 5


def test_detection_shows_active_windows_of_all_strengths_and_silent_ones():
    windows = simple_texts(100, length=20)
    top = sorted(windows, key=lambda t: -t.peak)[:5]
    shown = plain_examples(texts_of(windows, top=top), Design())
    peaks = np.array([one.text.peak for one in shown if one.label])
    assert len(shown) == 20 and len(peaks) == 10 and len({one.text.window for one in shown}) == 20
    assert {text.window for text in top} <= {one.text.window for one in shown}
    assert max(one.text.peak for one in shown if not one.label) <= 1
    ranks = np.searchsorted(np.sort([t.peak for t in windows if t.peak > 1]), np.sort(peaks)[:5]) / 100
    assert (np.abs(ranks - [0.1, 0.3, 0.5, 0.7, 0.9]) < 0.2).all()


def test_a_window_that_is_active_only_where_positions_do_not_count_is_in_neither_class():
    windows = simple_texts(20)
    for text in windows:
        text.counts[:2] = False
    hidden = {t.window for t in windows if (t.acts > 1)[:2].any() and not (t.acts > 1)[2:].any()}
    first = {t.window for t in windows if (t.acts > 1)[0] and not (t.acts > 1)[1:].any()}
    assert first and hidden - first
    silent = {one.text.window for seed in range(20) for one in plain_examples(texts_of(windows), Design(seed=seed))
              if not one.label}  # fmt: skip
    assert silent.isdisjoint(hidden - first) and silent & first
