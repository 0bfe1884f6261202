"""Each class from hand-made statistics, and from neurons that are planted in a random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from record_runs import make_record_run, synthetic

from neuron_signatures.models.norms import NormForm
from neuron_signatures.runs.errors import BadRunError
from neuron_signatures.runs.run import Run
from neuron_signatures.weights.classes import PRIORITY, classify, find_limits
from neuron_signatures.weights.counts import token_counts
from neuron_signatures.weights.readout import make_readout
from neuron_signatures.weights.request import Rules
from neuron_signatures.weights.statistics import WRITE_COLUMNS, write_statistics

RULES = Rules(kurtosis=10.0, null=0.9, entropy_norm=0.5, entropy_layers=0.5)
COLUMNS = ["logit_variance", "logit_skewness", "logit_kurtosis", "norm_out", "null_share", "frequency_correlation"]
PLAIN = (1.0, 0.0, 3.0, 1.0, 0.02, 0.0)


def table(*rows: tuple, layers: tuple[int, ...] = ()) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.insert(0, "layer", layers or [1] * len(rows))
    return frame


RANDOM = table(*((0.5 + i / 100, 0.0, 3.0, 1.0, i / 1000, (i - 50) / 1000) for i in range(101)))
"""Quantiles of .9: variance 1.4, null_share .09, |frequency| .045; of .1: variance .6."""


def classes(*rows: tuple, layers: tuple[int, ...] = (), rules: Rules = RULES) -> list[str]:
    neurons = table(*rows, layers=layers)
    return list(classify(neurons, rules, find_limits(neurons, RANDOM, rules, n_layers=2)))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (PLAIN, "none"),
        ((1.0, 0.1, 10.1, 1.0, 0.02, 0.0), "prediction"),
        ((1.0, -0.1, 10.1, 1.0, 0.02, 0.0), "suppression"),
        ((1.0, -0.1, 9.9, 1.0, 0.02, 0.0), "none"),
        ((1.41, 0.0, 3.0, 1.0, 0.02, 0.0), "partition"),
        ((1.0, 0.0, 3.0, 1.0, 0.02, 0.046), "token_frequency"),
        ((1.0, 0.0, 3.0, 1.0, 0.02, -0.046), "token_frequency"),
        ((0.59, 0.0, 3.0, 1.0, 0.091, 0.0), "entropy"),
        ((0.61, 0.0, 3.0, 1.0, 0.091, 0.0), "none"),
        ((0.59, 0.0, 3.0, 1.0, 0.089, 0.0), "none"),
        ((0.59, 0.0, 3.0, 0.9, 0.091, 0.0), "none"),
        ((np.nan, np.nan, np.nan, 0.0, np.nan, np.nan), "none"),
    ],
)
def test_each_rule(row, name):
    assert classes(row, PLAIN, PLAIN)[0] == name


def test_entropy_neurons_are_in_the_last_layers():
    row = (0.59, 0.0, 3.0, 1.0, 0.091, 0.0)
    assert classes(row, row, layers=(0, 1)) == ["none", "entropy"]


def test_a_neuron_that_several_rules_fit_has_the_first_class():
    fits_all = (1.5, 0.1, 11.0, 1.0, 0.2, 0.1)
    assert classes(fits_all, PLAIN, PLAIN)[0] == "prediction"
    assert PRIORITY == ("entropy", "prediction", "suppression", "token_frequency", "partition")
    blunt = Rules(kurtosis=20.0, null=0.9, entropy_norm=0.5, entropy_layers=0.5)
    assert classes(fits_all, PLAIN, PLAIN, rules=blunt)[0] == "token_frequency"
    assert classes((0.59, 0.1, 11.0, 1.0, 0.2, 0.1), PLAIN, PLAIN)[0] == "entropy"


def test_planted_neurons():
    """A neuron that writes one token's direction, its negative, the direction that splits the vocabulary, and the
    direction that the unembedding reads least."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(64, generator=generator) * 0.3
    head = torch.randn(2000, 64, generator=generator)
    head[:, -1] *= 0.05  # hardly read
    head += torch.where(torch.arange(2000) % 2 == 0, 1.0, -1.0)[:, None] * half
    head[7] = 8 * torch.randn(64, generator=generator)
    neurons = torch.randn(100, 64, generator=generator)
    planted = torch.stack([head[7] / 8, -head[7] / 8, half / half.norm() * 8, torch.eye(64)[-1] * 20])
    rows = torch.cat([planted, neurons])
    readout = make_readout(head, NormForm(False, torch.ones(64), torch.zeros(64)), None)
    random = write_statistics(torch.randn(1000, 64, generator=generator) * 8, readout).numpy()
    found = write_statistics(rows.clone(), readout).numpy()
    rules = Rules(kurtosis=3.3, null=0.999, entropy_norm=0.9, entropy_layers=1.0)
    frames = []
    for values in (found, random):
        frame = pd.DataFrame(values, columns=list(WRITE_COLUMNS))
        frame.insert(0, "layer", 0)
        frames.append(frame)
    limits = find_limits(*frames, rules, n_layers=1)
    assert list(classify(frames[0], rules, limits)[:4])[2:] == ["partition", "entropy"]
    assert found[0, 2] > 0 > found[1, 2] and found[0, 3] > np.quantile(random[:, 3], 0.99)


def test_the_counts_leave_the_report_documents_out(tmp_path: Path):
    run_dir = make_record_run(tmp_path / "run", stride=9)  # windows overlap
    made = synthetic([0, 1], 12, stride=9)
    want = np.zeros(200, np.int64)
    for text, part in zip(made.texts, made.parts, strict=True):
        if part != 2:
            want += np.bincount(text, minlength=200)
    found = token_counts(run_dir, 200)
    np.testing.assert_array_equal(found, want)
    assert any(part == 2 for part in made.parts)
    with pytest.raises(BadRunError, match=r"the model's are in 0\.\.4"):
        token_counts(run_dir, 5)


def test_a_run_without_a_corpus_has_no_counts(tmp_path: Path):
    run_dir = make_record_run(tmp_path / "run")
    (run_dir / "records" / "corpus_meta.json").unlink()
    assert token_counts(Run.open(run_dir).path, 200) is None
