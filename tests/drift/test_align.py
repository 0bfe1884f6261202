"""Which tokens are compared, and what is left out with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from drift_runs import acts, make_run, token_ids

from neuron_signatures.drift.align import aligned_runs, pairs_of
from neuron_signatures.drift.labels import default_name, file_name, find_reference, labels_of
from neuron_signatures.drift.request import CompareRequest, Drawn
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run


def request(*runs: Path, **changes) -> CompareRequest:
    labels = labels_of([run.name for run in runs])
    given = {"runs": runs, "labels": labels, "reference": len(runs) - 1, "name": "n", "source": "dumps",
             "drawn": Drawn()}  # fmt: skip
    return CompareRequest(**{**given, **changes})


def test_position_0_does_not_count_and_rows_are_those_of_the_run(tmp_path):
    a, b = make_run(tmp_path / "a", acts(0)), make_run(tmp_path / "b", acts(1))
    with aligned_runs(request(a, b)) as aligned, Run.open(a) as run:
        assert aligned.n_tokens == 40 and not aligned.left_out
        wanted = np.concatenate([run.acts(p, layer=1)[1:] for p in run.prompts])
        assert np.array_equal(aligned.acts(0, 1), wanted)
        assert aligned.starts.tolist() == list(range(0, 40, 5))


def test_other_texts_ids_and_missing_prompts_are_left_out(tmp_path):
    ids = {**token_ids(), "p3": [0, 1, 2, 3, 4, 999]}
    values = acts(1)
    del values["p5"]
    values["extra"] = values["p0"]
    a = make_run(tmp_path / "a", values, ids={**ids, "extra": ids["p0"]}, texts={"p4": "another text"})
    b = make_run(tmp_path / "b", acts(0))
    with aligned_runs(request(a, b)) as aligned:
        assert [t.prompt for t in aligned.tokens] == ["p0", "p1", "p2", "p6", "p7"]
        assert {(row.name, row.why) for row in aligned.left_out} == {
            ("p3", "other token ids"), ("p4", "has another text"), ("p5", "is missing"),
            ("extra", "is not in the reference"),
        }  # fmt: skip


def test_prompts_with_values_that_are_not_finite_are_left_out(tmp_path):
    values = acts(0)
    values["p2"][0, 3, 1] = torch.nan
    a, b = make_run(tmp_path / "a", values, nonfinite=("p2",)), make_run(tmp_path / "b", acts(1))
    with aligned_runs(request(a, b)) as aligned:
        assert "p2" not in [t.prompt for t in aligned.tokens]
        assert np.isfinite(aligned.acts(0, 0)).all()


def test_a_common_beginning_counts_once(tmp_path):
    ids = {"p0": [0, 1, 2, 3], "p1": [0, 1, 2, 9], "p2": [0, 1, 2, 3, 4], "p3": [0, 1, 2]}
    runs = [make_run(tmp_path / n, acts(i, ids=ids), ids=ids) for i, n in enumerate("ab")]
    with aligned_runs(request(*runs)) as aligned:
        assert [t.positions.tolist() for t in aligned.tokens] == [[1, 2, 3], [3], [4]]
        assert aligned.n_repeated == 7


def test_another_tokenizer_is_refused_when_nothing_is_left(tmp_path):
    other = {k: [7, *v[1:]] for k, v in token_ids().items()}
    a, b = make_run(tmp_path / "a", acts(0), ids=other), make_run(tmp_path / "b", acts(1))
    with pytest.raises(UsageError, match="nothing is left to compare: a: the token ids of all 8 prompts"):
        aligned_runs(request(a, b)).__enter__()


def test_a_run_without_common_prompts_is_left_out_and_the_others_are_compared(tmp_path):
    a, b = make_run(tmp_path / "a", acts(0)), make_run(tmp_path / "b", acts(1))
    other = make_run(tmp_path / "other", acts(2), texts=dict.fromkeys(token_ids(), "other"))
    with aligned_runs(request(a, other, b)) as aligned:
        assert list(aligned.runs) == [0, 2] and aligned.left_out[0].checkpoint == 1
        assert "no prompt has the id and the text" in aligned.left_out[0].why


def test_other_layers_and_widths_are_listed(tmp_path):
    a = make_run(tmp_path / "a", acts(0, d_mlp=7), layers=[1, 2])
    b = make_run(tmp_path / "b", acts(1))
    with aligned_runs(request(a, b)) as aligned:
        assert aligned.layers == [1]
        assert {(r.checkpoint, r.what, r.name) for r in aligned.left_out} == {
            (0, "layer", "0"), (1, "layer", "2"), (0, "neurons", "a"),
        }  # fmt: skip


def test_whole_prompts_are_drawn_until_the_limit(tmp_path):
    a, b = make_run(tmp_path / "a", acts(0)), make_run(tmp_path / "b", acts(1))
    with aligned_runs(request(a, b, drawn=Drawn(max_tokens=17))) as aligned:
        assert aligned.n_tokens == 15 and aligned.n_not_drawn == 25
        some = aligned.rows_of_some(7, 0)
        assert len(some.rows) == 5 and some.starts.tolist() == [0] and some.rows[0] % 5 == 0


def test_pairs_are_with_the_reference_and_with_the_next():
    assert pairs_of([0, 1, 2, 3], 3) == [(0, 3), (1, 3), (2, 3), (0, 1), (1, 2)]
    assert pairs_of([0, 1, 2], 0) == [(1, 0), (2, 0), (1, 2)]


def test_labels_differ_also_as_file_names_without_case():
    found = labels_of(["run", "RUN", "run", "a/b", "a:b", "..", "<b>"])
    assert found[:3] == ("run", "RUN-2", "run-3")
    assert len({file_name(label).casefold() for label in found}) == len(found)
    assert all(file_name(label)[0].isalnum() for label in found)


def test_the_name_and_the_reference(tmp_path):
    assert default_name(("a", "b", "c"), 2) == "a_b_vs_c"
    assert default_name([f"step-{i}" for i in range(30)], 29) == "29-runs_vs_step-29"
    assert len(default_name(["x" * 300, "y" * 300], 1)) <= 128
    assert find_reference("b", ("a", "b"), [tmp_path / "a", tmp_path / "b"]) == 1
    assert find_reference(str(tmp_path / "a"), ("x", "y"), [tmp_path / "a", tmp_path / "b"]) == 0
    with pytest.raises(UsageError, match="The labels are x, y"):
        find_reference("z", ("x", "y"), [tmp_path / "a", tmp_path / "b"])
