"""Contrasts on hand-made runs: who is compared, what is measured, and what chance gives."""

from __future__ import annotations

import numpy as np
import pytest
from analysis_runs import BOS, make_run, make_v1_run
from scipy import stats

from neuron_signatures.analysis.contrast.analyze import ContrastConfig, ContrastResult, analyze_contrast
from neuron_signatures.analysis.contrast.writing import contrast_record, stem_of
from neuron_signatures.analysis.selection import SelectionConfig
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run

N_LAYERS, D_MLP = 2, 40
CITY = (1, 7)  # layer and neuron
COLOURS = ("red", "blue", "green", "pink", "grey", "gold", "white", "black")
CITIES = ("Rome", "Oslo", "Bern", "Lima", "Kiev", "Doha", "Riga", "Baku")


def words(kind: str, word: str) -> list[str]:
    return [BOS, f" {kind}", f" {word}", " is", f" {word}er"]


PROMPTS = {f"city_{w}": words("city", w) for w in CITIES} | {f"colour_{w}": words("colour", w) for w in COLOURS}
META = {i: {"kind": i.split("_")[0], "concepts": [i.split("_")[1]], "n": k} for k, i in enumerate(PROMPTS)}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Noise, but one neuron is -5 on ` is` after a city; the first positions are huge."""
    rng = np.random.default_rng(0)
    acts = {i: rng.standard_normal((N_LAYERS, 5, D_MLP)).astype(np.float32) for i in PROMPTS}
    for i, a in acts.items():
        a[:, 0] = 1000
        a[:, 1] = 2.0 if i.startswith("city") else 1.0  # the same text in all prompts of a kind
        if i.startswith("city"):
            a[CITY[0], 3, CITY[1]] -= 5
    return make_run(tmp_path_factory.mktemp("contrast") / "run", PROMPTS, acts, metadata=META)


def contrast(run: Run, a: str, b: str | None = None, **settings) -> ContrastResult:
    return analyze_contrast(run, ContrastConfig(a, b, **settings))


def who(result: ContrastResult) -> tuple[list[str], list[str]]:
    a, b = ([u.prompt.probe_id for u in side] for side in (result.sides.a, result.sides.b))
    return a, b


def where(result: ContrastResult) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    a, b = ({u.positions for u in side} for side in (result.sides.a, result.sides.b))
    return a, b


def warnings_of(result: ContrastResult) -> str:
    return "\n".join(contrast_record(result, SelectionConfig(), 0)["warnings"])


def test_the_one_neuron_that_tells_the_sides_apart_is_first(run):
    result = contrast(run, "city_*@token: is")
    frame = result.frame.set_index(["layer", "neuron"])
    assert frame["score"].abs().idxmax() == CITY
    own = frame.loc[CITY]
    assert own["auroc"] == 0 and own["q"] <= 0.05 and own["pole"] == "-"
    assert own["p"] == pytest.approx(2 / 12870)  # 8 of 16
    assert len(result.null_counts) == 20 and np.mean(result.null_counts) <= 0.5
    assert result.n_found == (frame["q"] <= 0.05).sum()


def test_every_statistic_equals_its_definition(run):
    result = contrast(run, "city_*@token: is", rank_by="auroc")
    a, b = (
        np.stack([run.acts(i)[:, 3] for i in PROMPTS if i.startswith(k)]).astype(np.float64) for k in ("city", "colour")
    )
    expected = stats.mannwhitneyu(a, b, axis=0, method="exact")
    frame = result.frame
    assert frame["p"].to_numpy() == pytest.approx(expected.pvalue.ravel())
    assert frame["auroc"].to_numpy() == pytest.approx(expected.statistic.ravel() / 64)
    assert frame["q"].to_numpy() == pytest.approx(stats.false_discovery_control(expected.pvalue.ravel()))
    pooled = np.sqrt((a.var(0, ddof=1) + b.var(0, ddof=1)) / 2)
    assert frame["d"].to_numpy() == pytest.approx(((a.mean(0) - b.mean(0)) / pooled).ravel())
    assert frame["mean_a"].to_numpy() == pytest.approx(a.mean(0).ravel())
    assert frame["score"].to_numpy() == pytest.approx(frame["auroc"].to_numpy() - 0.5)


def test_pairs_are_compared_within_prompts(run):
    result = contrast(run, "*@token: is", "*@last")
    assert result.sides.design == "paired"
    difference = np.stack([run.acts(i)[:, 3].astype(float) - run.acts(i)[:, 4] for i in PROMPTS]).reshape(16, -1)
    assert result.frame["p"].to_numpy() == pytest.approx(stats.wilcoxon(difference, axis=0, method="exact").pvalue)
    assert result.frame["d"].to_numpy() == pytest.approx(difference.mean(0) / difference.std(0, ddof=1))
    assert result.frame["auroc"].to_numpy() == pytest.approx((difference > 0).mean(0))


def test_prompts_that_are_left_out_take_no_text_from_pairs(tmp_path):
    prompts = {f"p{i}": [BOS, "The", f"{i % 4}", *(["x"] if i > 3 else [])] for i in range(8)}
    acts = {i: np.random.default_rng(k).standard_normal((1, len(t), 2)).astype(np.float32)
            for k, (i, t) in enumerate(prompts.items())}  # fmt: skip
    result = contrast(make_run(tmp_path / "run", prompts, acts), "*@token:x")
    assert who(result) == ([f"p{i}" for i in range(4, 8)],) * 2
    assert [u.positions for u in result.sides.b] == [(1, 2), (2,), (2,), (2,)] and result.sides.n_unpaired == 4


@pytest.mark.parametrize(("side", "prompts"), [
    ("city_Rome, city_Oslo", ["city_Rome", "city_Oslo"]),
    ("c*_?o*", ["city_Rome", "city_Doha", "colour_gold"]),
    ("kind=city", [f"city_{w}" for w in CITIES]),
    ("concepts=gr*,n=0", ["city_Rome", "colour_green", "colour_grey"]),
])  # fmt: skip
def test_prompts_are_named_by_id_pattern_or_field(run, side, prompts):
    a, b = who(contrast(run, f"{side}@last"))
    assert sorted(a) == sorted(prompts)
    assert sorted(a + b) == sorted(PROMPTS)


@pytest.mark.parametrize(("positions", "found"), [
    ("last", (4,)), ("-2", (3,)), ("2", (2,)), ("token: is", (3,)), ("token: is| Rome", (2, 3)), ("all", (1, 2, 3, 4)),
    ("before: is", (2,)),
])  # fmt: skip
def test_positions(run, positions, found):
    assert found in where(contrast(run, f"city_*@{positions}", "colour_*"))[0]


def test_what_a_leaves_is_the_default_of_b(run):
    other_prompts = contrast(run, "city_*@token: is")
    assert where(other_prompts) == ({(3,)}, {(3,)}) and other_prompts.sides.design == "unpaired"
    other_positions = contrast(run, "*@token: is")
    assert where(other_positions)[1] == {(1, 2, 4), (2, 4)} and other_positions.sides.design == "paired"
    assert who(other_positions)[0] == who(other_positions)[1]


def test_a_text_counts_once(run):
    result = contrast(run, "city_*", "colour_*")
    assert [u.positions for u in result.sides.a] == [(1, 2, 3, 4)] + [(2, 3, 4)] * 7
    assert result.sides.n_repeated == 14 and "14 positions have the same text" in warnings_of(result)
    with pytest.raises(UsageError, match=r"A has 1 prompt, after 14 positions"):
        contrast(run, "city_*@1", "colour_*@1")


def test_texts_of_both_sides_are_of_neither(run):
    result = contrast(run, "city_*", "*@last")
    assert where(result) == ({(1, 2, 3), (2, 3)}, {(4,)}) and result.sides.n_common == 16
    assert who(result)[1] == [f"colour_{w}" for w in COLOURS] and "16 positions are left out" in warnings_of(result)
    with pytest.raises(UsageError, match="all its positions have texts of the other side"):
        contrast(run, "city_*@last", "city_*@-1")


def test_shared_prompts_need_a_design(run):
    some = ("city_*@token: is", "city_Rome,city_Oslo,colour_*@last")
    with pytest.raises(UsageError, match=r"2 prompts are on both sides, 6 only in A and 8 only in B.*--design"):
        contrast(run, *some)
    assert who(contrast(run, *some, design="paired"))[1] == ["city_Rome", "city_Oslo"]
    unpaired = contrast(run, *some, design="unpaired")
    assert who(unpaired)[1] == [f"colour_{w}" for w in COLOURS] and unpaired.sides.n_moved == 2
    with pytest.raises(UsageError, match="no prompt is on both sides"):
        contrast(run, "city_*", "colour_*", design="paired")


@pytest.mark.parametrize(("reduce", "value"), [("mean", -1.0), ("max", -6.0), ("last", 1.0)])
def test_a_prompt_has_one_value(tmp_path, reduce, value):
    prompts = {f"p{i}": [BOS, f"{i}a", f"{i}b", f"{i}c"] for i in range(4)}
    acts = {i: np.array([9, 2, -6, 1], np.float32).reshape(1, 4, 1) for i in prompts}
    result = contrast(make_run(tmp_path / "run", prompts, acts), "p0,p1", "p2,p3", reduce=reduce)
    row = result.frame.iloc[0]
    assert row["mean_a"] == row["mean_b"] == pytest.approx(value)
    assert row["p"] == 1 and np.isnan(row["d"])


def test_the_first_position_is_left_out_unless_asked(run):
    with pytest.raises(UsageError, match=r"first positions, which are left out. Use --include_bos"):
        contrast(run, "city_*@0")
    assert contrast(run, "city_*", include_bos=True).sides.a[0].positions == (0, 1, 2, 3, 4)


def test_neurons_with_undefined_values_are_not_tested(tmp_path):
    rng = np.random.default_rng(0)
    prompts = {f"p{i}": [BOS, f"{i}"] for i in range(8)}
    acts = {i: rng.standard_normal((1, 2, 3)).astype(np.float32) for i in prompts}
    acts["p3"][0, 1, 1] = np.nan
    result = contrast(make_run(tmp_path / "run", prompts, acts), "p0,p1,p2,p3")
    assert result.frame["p"].isna().tolist() == result.frame["mean_a"].isna().tolist() == [False, True, False]
    assert result.n_tested == 2 and "1 neurons have NaN" in warnings_of(result)


def test_few_prompts_cannot_pass_and_the_record_says_so(run):
    result = contrast(run, "city_Rome,city_Oslo,city_Bern@last", "colour_red,colour_blue,colour_gold@last")
    assert result.n_found == 0 and "smallest possible p is 0.1, so no neuron can have q <= 0.05" in warnings_of(result)


def test_shuffled_labels_pass_as_often_as_chance(tmp_path):
    """No neuron differs, and q is small in few draws; with the threshold at 1 every neuron passes in every draw."""
    rng = np.random.default_rng(3)
    prompts = {f"p{i}": [BOS, f"{i}"] for i in range(40)}
    acts = {i: rng.standard_normal((1, 2, 500)).astype(np.float32) for i in prompts}
    run = make_run(tmp_path / "run", prompts, acts)
    half = ",".join(f"p{i}" for i in range(20))
    result = contrast(run, half, n_null=100)
    assert result.n_found == 0 and len(result.null_counts) == 100
    assert np.mean([n > 0 for n in result.null_counts]) <= 0.15  # 0.05 expected
    assert contrast(run, half, max_q=1.0, n_null=3).null_counts == [500] * 3
    one, same, other = (contrast(run, half, max_q=0.95, seed=s).null_counts for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(("a", "b", "message"), [
    ("town_*", None, "no prompt has the id or pattern 'town_*' (ids are such as city_Rome"),
    ("kind=town", None, "no prompt has 'kind=town'; values of kind are city, colour"),
    ("knd=city", None, "the prompts have no field 'knd'. They have kind, concepts, n"),
    ("*", None, "A is everything, so nothing is left for B"),
    ("*@is", None, "@is names no positions (all, last, a number, token:TEXT, before:TEXT or rest). Write @token:is"),
    ("*@", None, "Leave out the @"),
    ("*@token:is", None, "no prompt of this side has the token 'is'; there are ·is"),
    ("*@token: is|", None, "has an empty token"),
    ("city_*,", None, "'city_*,' has an empty term"),
    ("*@rest", None, "@rest is what A leaves, so it is of B only"),
    ("city_*@7", None, "no prompt has such a position"),
    ("city_*@token: Rome", None, "--b: other prompts@token: Rome: no prompt has such a position. Give --b"),
    ("city_*@token: Rome", "colour_*", "A has 1 prompt"),
    ("city_*", "colour_red", "B has 1 prompt"),
    ("city_Rome," * 2500, None, "is 25000 characters long, more than 20000. Use patterns"),
])  # fmt: skip
def test_mistakes_are_named_in_one_line(run, a, b, message):
    with pytest.raises(UsageError) as e:
        contrast(run, a, b)
    assert message in e.value.line() and e.value.line().startswith("--") and "\n" not in e.value.line()


def test_every_setting_is_in_the_name(run):
    sides = ("city_*@token: is", "colour_*@token: is")
    names = [stem_of(contrast(run, *sides, **s)) for s in (
        {}, {"reduce": "max"}, {"rank_by": "auroc"}, {"max_q": 0.1}, {"n_null": 3}, {"seed": 1}, {"first_pos": 2},
        {"include_bos": True},
    )]  # fmt: skip
    names += [
        stem_of(contrast(run, "city_*@token: is")),
        stem_of(contrast(run, "city-*@token: is".replace("-", "_"), "colour_*@last")),
    ]
    assert len({n.casefold() for n in names}) == len(names) == 10
    assert names[0].startswith("contrast_city_-token-is_vs_colour_-token-is_")


def test_ids_with_any_character(tmp_path):
    prompts = {"a@b=c": [BOS, "x"], "a,b": [BOS, "y"], "[1]": [BOS, "z"], "d": [BOS, "w"]}
    acts = {i: np.random.default_rng(k).standard_normal((1, 2, 2)).astype(np.float32) for k, i in enumerate(prompts)}
    run = make_v1_run(tmp_path / "v1", prompts, acts)
    assert who(contrast(run, "a?b?c,[1]"))[0] == ["a@b=c", "[1]"]
