"""The animation: its data, its size, and hostile labels."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from drift_tables import EVIL, compared
from hostile import TOKENS

from neuron_signatures.drift.animation import MOST_DOTS, animation
from neuron_signatures.runs.comparisons import folder as names


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_data_are_those_of_the_tables():
    made = compared(["early", "late", "end"])
    data = data_of(animation(made, title="x", seed=0) or "")
    assert data["labels"] == ["early", "late", "end"] and data["reference"] == 2 and data["n_all"] == 10
    by_name = {q["name"]: q for q in data["quantities"]}

    def values(name: str, frame: int) -> np.ndarray:
        q = by_name[name]
        raw = np.frombuffer(base64.b64decode(q["frames"][frame]), "<u2").astype(float)
        scaled = q["low"] + raw / 65534 * (q["high"] - q["low"])
        scaled[raw == 65535] = np.nan
        return np.sinh(scaled) * q["unit"] if q["scale"] == "asinh" else 10**scaled if q["scale"] == "log" else scaled

    drift = made[names.DRIFT]
    for name, column in (("pearson", "pearson"), ("mean", "mean_a"), ("std", "std_a"), ("rate", "rate_a")):
        assert values(name, 1) == pytest.approx(drift[drift["a"] == 1][column], abs=1e-3)
    assert values("pearson", 2) == pytest.approx(np.ones(10), abs=1e-4)
    assert values("mean", 2) == pytest.approx(np.full(10, 0.5), abs=1e-3) and np.isnan(values("std", 2)).all()
    assert [line["values"][2] for line in data["cka"]["lines"]] == [1, 1, 1]


@pytest.mark.parametrize("label", [EVIL, "<!--", "]]>", "\u2028x", *TOKENS])
def test_labels_cannot_leave_their_place(label):
    page = animation(compared([label, "end"]), title=label, seed=0) or ""
    page.encode()
    assert page.count("<script") == 2 and page.count("</script>") == 2 and "<img" not in page and page.count("<!") == 1
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e]", page)
    assert isinstance(data_of(page)["labels"][0], str)


def test_the_policy_names_the_only_script_and_nothing_is_loaded():
    page = animation(compared(["a", "b"]), title="x", seed=0) or ""
    assert "default-src 'none'; script-src 'sha256-" in page and "{{" not in page
    assert not re.search(r"(src|href)\s*=|url\(|https?:|import\s|fetch\(", page)


def test_many_neurons_are_drawn_at_random_and_the_page_stays_small(monkeypatch):
    monkeypatch.setattr("neuron_signatures.drift.animation.MOST_DOTS", 4000)
    made = compared([f"s{i}" for i in range(8)], n_layers=4, n_neurons=400)
    small = animation(compared(["a", "b"], n_neurons=1), title="x", seed=0) or ""
    page = animation(made, title="x", seed=0) or ""
    data = data_of(page)
    assert data["n_all"] == 1600 and len(data["layers"]) == 500 and set(data["layers"]) == {0, 1, 2, 3}
    assert (len(page) - len(small)) / 4000 * MOST_DOTS < 6_000_000


def test_there_is_none_without_neurons_of_the_same_index():
    made = compared(["a", "b"])
    made.tables[names.DRIFT] = made[names.DRIFT].head(0)
    assert animation(made, title="x", seed=0) is None
