"""The prompts of the seven explainers: what each shows, from evidence that is visible in the test."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hand_made_records import AT, records_of
from record_runs import make_record_run

from neuron_signatures.explain.evidence.output import MeasuredChange, SteeredText, Writes
from neuron_signatures.explain.explainers.build import (
    EvidenceSettings,
    NeuronEvidence,
    Prompt,
    TooLittle,
    UnparsableAnswer,
    build_prompt,
    instructions,
    needs_writes,
    prompt_version,
    read_answer,
    shows_texts,
)
from neuron_signatures.explain.modes import Mode, ModeChoice
from neuron_signatures.llm.forecast import estimated_tokens
from neuron_signatures.runs.explanations.names import EXPLAINERS
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.records.reader import Records
from neuron_signatures.views.neurons.writes import Written

ASKING = EXPLAINERS[:-1]
SETTINGS = EvidenceSettings(min_count=1)
RED = [" a| red=8| cat", " the| red=4| hat| is=2| new", "two| blue=1| hats"]
SAMPLE = [*RED, " Mr| red| said", " no| red| here", " dogs| bark", " it| rains"]


def evidence_of(tmp_path, strongest=RED, sample=SAMPLE, settings=SETTINGS, **options) -> NeuronEvidence:
    return NeuronEvidence.open(records_of(tmp_path / "run", strongest, sample, **options), AT, settings)


def with_output(evidence: NeuronEvidence, changes=(), texts=()) -> NeuronEvidence:
    up = tuple(Written(t, i, 4.0 - i) for i, t in enumerate((" warm", " hot", "\n")))
    evidence.__dict__["writes"] = Writes(up, (Written(" cold", 9, 2.0),))
    evidence.__dict__["changes"], evidence.__dict__["steered"] = list(changes), list(texts)
    return evidence


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    """A neuron with normal activations, so that its peaks spread over the whole range."""
    folder = make_record_run(tmp_path_factory.mktemp("records") / "run", n_documents=120, n_sample=400)
    with Records.open(folder) as records:
        yield NeuronEvidence.open(records, NeuronPole(1, 3, "+"), SETTINGS)


def shown(explainer, evidence, **options) -> list[str]:
    """The lines between the marks of the fence."""
    prompt = build_prompt(explainer, evidence, **options)
    assert isinstance(prompt, Prompt), prompt
    return prompt.messages[-1].content.split("\n")[1:-2]


def test_token_activation_pairs_are_floors_of_tenths_of_the_largest(tmp_path):
    assert shown("token_activation_pairs", evidence_of(tmp_path)) == [
        "⟦excerpt 1⟧", " a\t0", " red\t10", " cat\t0",
        "⟦excerpt 2⟧", " the\t0", " red\t5", " hat\t0", " is\t2", " new\t0",
        "⟦excerpt 3⟧", "two\t0", " blue\t1", " hats\t0",
    ]  # fmt: skip


def test_pairs_are_repeated_without_zeros_if_few_are_active(tmp_path):
    quiet = "|".join([" w"] * 8)
    wide = replace(SETTINGS, after=30)
    lines = shown(
        "token_activation_pairs",
        evidence_of(tmp_path, settings=wide, strongest=[f" red=8|{quiet}|x=-9|y=0.7", f"x|y=5|{quiet}"]),
    )
    again = lines.index("⟦the same without zeros⟧")
    assert lines[again:] == ["⟦the same without zeros⟧", "⟦excerpt 1⟧", " red\t10", "⟦excerpt 2⟧", "y\t6"]
    assert lines.count(" w\t0") == 16 and "x\t0" in lines and "y\t0" in lines


def test_positions_that_do_not_count_have_no_level_and_no_part_in_the_largest(tmp_path):
    lines = shown("token_activation_pairs", evidence_of(tmp_path, ["B=900| red=8| is=4"], skip_first=1))
    assert lines == ["⟦excerpt 1⟧", "B\t-", " red\t10", " is\t5"]


def test_token_lookup_shows_means_counts_and_no_text(tmp_path):
    assert shown("token_lookup", evidence_of(tmp_path)) == [
        '" red"\t10.0\t4', '" is"\t6.7\t1', '" blue"\t3.3\t1', "all tokens\t2.4\t21",
    ]  # fmt: skip
    prompt = build_prompt("token_lookup", evidence_of(tmp_path / "b"))
    assert prompt.evidence == ()
    few = build_prompt("token_lookup", evidence_of(tmp_path / "c", settings=replace(SETTINGS, min_count=2)))
    assert few == TooLittle("1 tokens with a positive mean occur 2 times in the sample, 3 are needed")


def test_contrastive_marks_active_tokens_and_the_same_tokens_in_silent_texts(tmp_path):
    assert shown("contrastive", evidence_of(tmp_path)) == [
        "⟦active⟧", "1.  a« red» cat", "2.  the« red» hat is new", "3. two« blue» hats",
        "⟦silent⟧", "1.  Mr« red» said", "2.  no« red» here",
    ]  # fmt: skip
    alone = evidence_of(tmp_path / "b", sample=RED)
    assert isinstance(build_prompt("contrastive", alone), TooLittle)


def test_intervals_are_the_mix_of_49(everywhere):
    prompt = build_prompt("intervals", everywhere)
    text = prompt.messages[-1].content
    parts = re.split(r"⟦.*?⟧", text)[2:-1]
    n = [len(re.findall(r"(?m)^\d+\. ", p)) for p in parts]
    assert n[0] == 10 and n[2:] == [5, 10] and 18 <= n[1] <= 24, "the top intervals can be shown already"
    assert len(prompt.evidence) == len(set(prompt.evidence)) == sum(n) and prompt.n_dropped == 0
    levels = [max([0, *map(int, re.findall(r"»\[(\d+)\]", line))]) for line in parts[1].split("\n")[1:-1]]
    assert levels == sorted(levels, reverse=True) and levels[0] >= 8 and levels[-1] <= 1
    assert all(line.count("«") <= 5 for line in text.split("\n"))


def test_highlighted_lists_the_strongest_tokens_with_their_levels(tmp_path):
    assert shown("highlighted", evidence_of(tmp_path)) == [
        "1.  a« red» cat", "   « red» 10", "2.  the« red» hat is new", "   « red» 5",
        "3. two« blue» hats", "   « blue» 1",
    ]  # fmt: skip


def test_output_shows_both_sides_and_measurements(tmp_path):
    change = MeasuredChange("It is\nso", " hot", 1.0, 0.0, -0.5, -0.125, 0.004)
    steered = [SteeredText("It is", 0, " cold"), SteeredText("It is", 8, " hot"), SteeredText("It is", -8, " ice")]
    assert shown("output", with_output(evidence_of(tmp_path), [change], steered)) == [
        "⟦made more likely⟧", '" warm"\t10.0', '" hot"\t7.5', '"⏎"\t5.0', "⟦made less likely⟧", '" cold"\t5.0',
        "⟦measured⟧",
        'after "It is⏎so", neuron lowered from 1.00 to 0.00: " hot" logit -0.50, probability -0.125 (p 0.004 against '
        "random neurons)",
        'after "It is", neuron unchanged, the model writes " cold"',
        'after "It is", neuron raised, the model writes " hot"',
        'after "It is", neuron lowered, the model writes " ice"',
    ]  # fmt: skip


def test_both_shows_input_and_output(tmp_path):
    lines = shown("both", with_output(evidence_of(tmp_path)))
    assert lines[:3] == ["⟦input⟧", "1.  a« red» cat", "   « red» 10"]
    assert lines[lines.index("⟦output⟧") + 1 :][:2] == ["⟦made more likely⟧", '" warm"\t10.0']


def test_output_and_both_need_write_scores(tmp_path):
    assert [e for e in ASKING if needs_writes(e)] == ["output", "both"]
    assert [e for e in ASKING if not shows_texts(e)] == ["token_lookup", "output"]
    for explainer in ("output", "both"):
        found = build_prompt(explainer, evidence_of(tmp_path / explainer))
        assert isinstance(found, TooLittle) and "--mode write_scores" in found.reason


@pytest.mark.parametrize("explainer", ASKING)
def test_without_a_positive_activation_there_is_no_prompt(tmp_path, explainer):
    evidence = evidence_of(tmp_path, ["a| red=-3"], ["a| red=-3", "b| c"])
    found = build_prompt(explainer, evidence)
    assert isinstance(found, TooLittle) and found.reason


@pytest.mark.parametrize("explainer", ASKING)
def test_examples_are_answered_in_the_form_that_is_read(explainer):
    """The answer of an example is refused only because it is one."""
    assert prompt_version(explainer) == f"{explainer}-1"
    examples = instructions(explainer).examples
    assert examples
    for shown, answer in examples:
        assert shown and "⟦" + answer not in shown
        other = answer.replace("of", "about the").replace("in", "within").replace("for", "about")
        assert read_answer(explainer, other).replace("; ", "\n") == other.replace(": ", " ")
        with pytest.raises(UnparsableAnswer, match="repeats an example"):
            read_answer(explainer, answer)


def test_windows_have_no_place_beyond_the_limit_weakest_first(tmp_path):
    texts = [f" red={9 - i / 10}|{'| word' * 30}" for i in range(20)]
    evidence = evidence_of(tmp_path, texts, texts, settings=replace(SETTINGS, n_windows=20))
    whole = build_prompt("highlighted", evidence)
    assert len(whole.evidence) == 1 and whole.n_dropped == 0, "equal texts are folded"
    texts = [f" red={9 - i / 10}|{f'| word{i}' * 30}" for i in range(20)]
    settings = replace(SETTINGS, n_windows=20, after=30)
    evidence = evidence_of(tmp_path / "b", texts, texts, settings=settings)
    whole = build_prompt("highlighted", evidence)
    order = [e.window for e in evidence.strongest]
    assert list(whole.evidence) == order and whole.n_dropped == 0
    most = estimated_tokens(whole.messages) - 1
    less = build_prompt("highlighted", evidence.with_settings(replace(settings, max_prompt_tokens=most)))
    assert list(less.evidence) == order[:19] and less.n_dropped == 1
    assert estimated_tokens(less.messages) <= most
    none = build_prompt("highlighted", evidence.with_settings(replace(settings, max_prompt_tokens=100)))
    assert none == TooLittle("the prompt does not fit into 100 tokens")


def test_a_mix_shrinks_in_all_groups(everywhere):
    whole = build_prompt("intervals", everywhere)
    n = estimated_tokens(whole.messages)
    fixed = estimated_tokens(instructions("intervals").messages([]))
    half = build_prompt(
        "intervals", everywhere.with_settings(replace(SETTINGS, max_prompt_tokens=(n + fixed) // 2))
    )  # fmt: skip
    parts = re.split(r"⟦.*?⟧", half.messages[-1].content)[2:-1]
    sizes = [len(re.findall(r"(?m)^\d+\. ", p)) for p in parts]
    assert len(sizes) == 4 and 3 <= sizes[0] <= 7 and 1 <= sizes[2] <= 4
    assert sum(sizes) == len(half.evidence) == len(whole.evidence) - half.n_dropped


def test_a_count_of_tokens_can_be_given(tmp_path):
    settings = replace(SETTINGS, count_tokens=lambda messages: len(messages[-1].content), max_prompt_tokens=180)
    evidence = evidence_of(tmp_path, settings=settings)
    prompt = build_prompt("token_activation_pairs", evidence)
    assert len(prompt.messages[-1].content) <= 180 and prompt.n_dropped == 1


def test_a_mode_restricts_the_strongest_windows(tmp_path):
    evidence = evidence_of(tmp_path)
    window = evidence.strongest[1].window
    mode = Mode(0, (window,), 0.3, ModeChoice(3, (), None, 0))
    prompt = build_prompt("highlighted", evidence, mode=mode)
    assert prompt.evidence == (window,) and "« red» 10" in prompt.messages[-1].content.split("\n")[2]
    nothing = Mode(1, (), 0.0, mode.choice)
    assert isinstance(build_prompt("highlighted", evidence, mode=nothing), TooLittle)


def test_the_same_evidence_gives_the_same_prompt(tmp_path):
    records = Records.open(make_record_run(tmp_path / "run"))
    for explainer in ("contrastive", "intervals", "token_lookup"):
        one, two = (
            build_prompt(explainer, NeuronEvidence.open(records, NeuronPole(1, 3, "-"), SETTINGS)) for _ in "ab"
        )
        assert one == two
        if isinstance(one, Prompt):
            assert one.sha256 == two.sha256
