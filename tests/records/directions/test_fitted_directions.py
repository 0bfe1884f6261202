"""Directions that are fitted: their definitions on hand-made values, and files made through the command."""

from __future__ import annotations

from pathlib import Path

import make_directions
import numpy as np
import pytest
from record_stage import write_corpus
from tiny_models import D_MODEL, tiny_model_dir

from neuron_signatures.records.corpus.parts import part_index
from neuron_signatures.records.directions.fit import fit
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.directions import DirectionsFile


def mixed_sources(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Three heavy-tailed sources along known directions of eight dimensions, and those directions."""
    rng = np.random.default_rng(0)
    sources = rng.exponential(1.0, (n, 3)) ** 1.5 * (3.0, 2.0, 1.0)
    along = np.linalg.qr(rng.standard_normal((8, 8)))[0][:3]
    return (sources @ along + 5.0 + 0.01 * rng.standard_normal((n, 8))).astype(np.float32), along


def test_random_directions_are_uniform_on_the_sphere_and_centred() -> None:
    values, _ = mixed_sources()
    found = fit("random", values, 2000, seed=1)
    np.testing.assert_allclose(np.linalg.norm(found.rows, axis=1), 1, rtol=1e-5)
    assert np.abs(found.rows.mean(0)).max() < 0.05
    np.testing.assert_allclose((found.rows**2).mean(0), 1 / 8, atol=0.02)
    np.testing.assert_allclose((values @ found.rows.T + found.bias).mean(0), 0, atol=1e-3)
    assert np.array_equal(found.rows, fit("random", values, 2000, seed=1).rows)
    assert not np.array_equal(found.rows, fit("random", values, 2000, seed=2).rows)


def test_principal_components_have_the_variances_of_the_covariance() -> None:
    values, _ = mixed_sources()
    found = fit("pca", values, 3, seed=0)
    acts = values @ found.rows.T + found.bias
    np.testing.assert_allclose(acts.var(0), np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1][:3], rtol=1e-3)
    np.testing.assert_allclose(np.corrcoef(acts.T), np.eye(3), atol=1e-3)
    assert ((acts - acts.mean(0)) ** 3).mean(0).min() > 0  # the heavy tail is the positive pole


def test_independent_components_find_the_sources() -> None:
    values, along = mixed_sources()
    found = fit("ica", values, 3, seed=0)
    np.testing.assert_allclose(np.abs(found.rows @ along.T).max(1), 1, atol=0.01)
    acts = values @ found.rows.T + found.bias
    assert ((acts - acts.mean(0)) ** 3).mean(0).min() > 0 and found.note == ""


def test_more_components_than_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="9 components of 4,000 tokens of width 8: there are at most 8"):
        fit("pca", mixed_sources()[0], 9, seed=0)


def flags(corpus: Path, out: Path, *more: str) -> list[str]:
    return [
        "--model_name", str(tiny_model_dir("gemma2")), "--model_dtype", "fp32", "--device", "cpu", "--corpus",
        str(corpus), "--out", str(out), "--max_tokens", "300", "--sequence_length", "16", "--n", "4", "--quiet", *more,
    ]  # fmt: skip


def test_a_file_for_several_sites_and_layers(tmp_path: Path) -> None:
    corpus, out = write_corpus(tmp_path / "texts.jsonl"), tmp_path / "pca.safetensors"
    assert make_directions.main(flags(corpus, out, "--kind", "pca", "--site", "res", "att", "--layers", "0", "2")) == 0
    with DirectionsFile(out) as file:
        assert [bank.key for bank in file.banks] == ["pca.att.0", "pca.att.2", "pca.res.0", "pca.res.2"]
        assert {file.width(bank) for bank in file.banks} == {D_MODEL} and file.banks[0].n_units == 4
        assert (file.made.made_by, file.made.seed, file.made.n_tokens) == ("pca", 0, 300)
        assert file.made.weights_fingerprint is not None
    first = out.read_bytes()
    assert make_directions.main(flags(corpus, out, "--kind", "pca", "--site", "res", "att", "--layers", "0", "2")) == 0
    assert out.read_bytes() == first


def test_only_documents_of_explain_shape_a_direction(tmp_path: Path) -> None:
    """Without the other parts the file is the same."""
    import hashlib
    import json

    corpus, other = write_corpus(tmp_path / "texts.jsonl"), tmp_path / "other.jsonl"
    kept = []
    for line in corpus.read_text().splitlines():
        digest = hashlib.sha256(json.loads(line)["text"].encode()).digest()
        kept += [line] if part_index(digest, seed=0, percent=(50, 20, 30)) == 0 else []
    other.write_text("\n".join(kept) + "\n")
    for of, out in ((corpus, "a"), (other, "b")):
        assert make_directions.main(flags(of, tmp_path / out, "--kind", "random", "--layers", "1")) == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--kind", "pca", "--layers", "3"], "there is no layer 3: the model has 0..2"),
        (["--kind", "pca", "--max_tokens", "100000"], "positions that count, 100,000 are wanted"),
        (["--kind", "pca", "--n", "33"], "there are at most 32"),
        (["--kind", "pca", "--rows", "decoder"], "--rows is not for --kind pca"),
        (["--kind", "sae"], "no SAEs: give --saes demo or a folder"),
    ],
)
def test_faults(more: list[str], what: str, tmp_path: Path, capsys) -> None:
    corpus, out = write_corpus(tmp_path / "texts.jsonl"), tmp_path / "a.safetensors"
    assert make_directions.main(flags(corpus, out, *more)) == 2
    assert what in capsys.readouterr().err and not out.exists()
