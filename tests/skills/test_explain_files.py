"""Explanations in files: columns of other tools, sources of Neuronpedia, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from synthetic_skills import BANKS, MLP, NEURONS_0, RES, unit

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.banks import Bank
from neuron_signatures.runs.skills.units import Banks, Unit, parse_unit, read_units
from neuron_signatures.skills.explain.explained import Explained, best_first
from neuron_signatures.skills.explain.from_files import Left, read_files
from neuron_signatures.skills.explain.places import check_pattern, parse_neuronpedia, place_in, site_of

ALL = tuple(Unit(bank, column) for bank in BANKS for column in range(bank.width))
HEADER = "layer,site,index,description\n"


def read(path: Path, pattern: str | None = None, left: Left | None = None) -> dict[str, Explained]:
    found = read_files([path], ALL, Banks(BANKS), pattern=pattern, left=left or Left())
    return {e.unit.label: e for e in found}


def line(source: str, index: int | str, text: str, **more: object) -> dict[str, object]:
    return {"modelId": "gemma-2-2b", "layer": source, "index": index, "description": text, **more}


def jsonl(path: Path, *values: object) -> Path:
    raw = "".join(f"{json.dumps(v)}\n" for v in values).encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["batch-0.jsonl", "batch-0.jsonl.gz"])
def test_neuronpedia_dump(tmp_path, name):
    path = jsonl(
        tmp_path / name,
        line("0-gemmascope-res-16k", "3", "words of joy", explanationModelName="gpt-4o-mini", scoreV2=0.5),
        line("1-gemmascope-mlp-16k", 2, "sums"),
        line("0-gemmascope-res-16k", 7000, "a feature that the run has not"),
        line("5-gemmascope-att-16k", 1, "a layer that the run has not"),
        line("1-gemmascope-mlp-16k", 4, "  "),
    )  # fmt: skip
    left = Left()
    found = read(path, left=left)
    assert {label: e.text for label, e in found.items()} == {"res L0F3": "words of joy", "mlp L1F2": "sums"}
    joy = found["res L0F3"]
    assert (joy.by, joy.score, joy.score_name, joy.origin) == ("gpt-4o-mini", 0.5, "scoreV2", "file")
    assert joy.where == f"{name}, line 1"
    assert (left.other_unit, left.empty) == (2, 1)


@pytest.mark.parametrize(
    "text",
    [
        "layer,site,index,description\n0,res,3,joy\n",
        "Layer,SAE type,Feature ID,Explanation\n0,residual,3.0,joy\n",
        ",layer,hook_name,neuron_id,auto-interp\n0,blocks.0,blocks.0.hook_resid_post,3,joy\n",
        "layer,feature,explanation\n0-gemmascope-res-16k,3,joy\n",
        "label,explanation\nres L0F3,joy\n",
        "\ufefflayer_id,sae,latent,text\nlayer 0,resid,3,joy\n",
    ],
)  # fmt: skip
def test_columns_of_other_tools(tmp_path, text):
    (tmp_path / "e.csv").write_text(text, encoding="utf-8")
    assert {k: e.text for k, e in read(tmp_path / "e.csv").items()} == {"res L0F3": "joy"}


def test_neurons_have_poles(tmp_path):
    (tmp_path / "e.csv").write_text("layer,site,neuron,pole,explanation\n0,neuron,2,-,cold\n0,mlp_neuron,2,,warm\n")
    assert {k: e.text for k, e in read(tmp_path / "e.csv").items()} == {"L0N2-": "cold", "L0N2+": "warm"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer,description\n0,x\n", "do not name label, or layer and index"),
        ("layer,index,description\n0,1,x\n", "no site"),
        ("layer,index,description\n0-hidden,1,x\n", "names no single site"),
        (HEADER + "0,res,minus,x\n", "index 'minus' is no number"),
        (HEADER + "0,res,1,x,extra\n", "more values than columns"),
        ("label,description\nres L0,x\n", "names no unit"),
        (HEADER + "0,res,1,x\n", None),
    ],
)
def test_refused_rows_name_the_line(tmp_path, text, said):
    (tmp_path / "e.csv").write_text(text)
    if said is None:
        assert read(tmp_path / "e.csv")
        return
    with pytest.raises(UsageError, match=r"e\.csv, line 2") as e:
        read(tmp_path / "e.csv")
    assert said in e.value.what


def test_two_sources_of_a_site_are_refused_without_a_pattern(tmp_path):
    path = jsonl(
        tmp_path / "e.jsonl", line("0-gemmascope-res-16k", 1, "narrow"), line("0-gemmascope-res-65k", 1, "wide")
    )
    with pytest.raises(UsageError, match=r"line 2.*--source_pattern"):
        read(path)
    assert read(path, "{layer}-gemmascope-{site}-65k")["res L0F1"].text == "wide"


def test_only_explanation_files_are_read(tmp_path):
    with pytest.raises(UsageError, match=r"is not \.jsonl"):
        read(tmp_path / "e.parquet")
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "e.csv")
    with pytest.raises(UsageError, match=r"has no \.jsonl"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "site"),
    [("gemmascope-res-16k", "res"), ("att-mlp", None), ("blocks.3.hook_mlp_out", "mlp"), ("Attention", "att"),
     ("gemmascope-transcoder-16k", None), ("", None), ("resources", None)],
)  # fmt: skip
def test_site_of(text, site):
    assert site_of(text) == site


def test_patterns():
    assert parse_neuronpedia("gemma-2-2b/{layer}-gemmascope-{site}-16k") == (
        "gemma-2-2b",
        "{layer}-gemmascope-{site}-16k",
    )
    assert place_in("{layer}-g-{site}-16k", "12-g-att-16k") == (12, "att")
    assert place_in("{layer}-res-jb", "12-res-jb") == (12, None)
    assert place_in("{layer}-res-jb", "12-res-jbx") is None
    for wrong in ("gemma", "gemma/0-res", "a/../{layer}", "a/{layer}/x", "a b/{layer}-x", "a/{layer}?x=1"):
        with pytest.raises(UsageError):
            parse_neuronpedia(wrong)
    with pytest.raises(UsageError, match="--source_pattern"):
        check_pattern("16k", "--source_pattern")


@pytest.mark.parametrize("bank", [*BANKS, Bank("pca", "res", 3, 4), Bank("pca", "neuron", 3, 4)])
def test_labels_name_every_unit(bank):
    for column in range(bank.width):
        assert Banks([bank]).unit(parse_unit(bank.label(column))) == Unit(bank, column)


def test_units_are_listed_in_a_flag_or_a_file(tmp_path):
    wanted = (unit(NEURONS_0, 8), unit(RES, 3), unit(MLP, 0))
    assert read_units("L0N2-, res L0F3,mlp L1F0,res L0F3", Banks(BANKS)) == wanted
    (tmp_path / "units.txt").write_text("# three\nL0N2-\nres L0F3  # joy\n\nmlp L1F0\n")
    assert read_units(str(tmp_path / "units.txt"), Banks(BANKS)) == wanted
    for text, said in [("L0N2", "names no unit"), ("res L4F0", "was not collected"), ("res L0F8", "has 8 units, no 8"),
                       (" , ", "names no unit"), ("L0N6+", "has 6 units")]:  # fmt: skip
        with pytest.raises(UsageError) as e:
            read_units(text, Banks(BANKS))
        assert said in str(e.value)


def test_the_best_row_comes_first():
    def row(origin, status="ok", score=None):
        return Explained(unit(RES, 0), f"{origin} {score}", "", origin, "", "", status=status, score=score)

    rows = [row("neuronpedia", score=0.9), row("run", "refused"), row("run", score=0.1), row("run", score=0.4),
            row("run"), row("file")]  # fmt: skip
    assert [(r.origin, r.score) for r in best_first(rows)] == [
        ("file", None), ("run", 0.4), ("run", 0.1), ("run", None), ("neuronpedia", 0.9), ("run", None),
    ]  # fmt: skip
