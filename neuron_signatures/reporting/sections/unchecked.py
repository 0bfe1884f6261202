"""What was not checked: every reason to doubt this report that can be read from the run, with the command that would
check it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import NamedTuple

from neuron_signatures.reporting.html import el, text
from neuron_signatures.reporting.opened import ReportRun, attempt
from neuron_signatures.reporting.parts import command, note
from neuron_signatures.reporting.score_words import headline
from neuron_signatures.reporting.section import Section
from neuron_signatures.runs.intervention_records import Controls, EffectRecord, SwapRecord
from neuron_signatures.runs.result_records import ValidationRecord, another_dump, read_record
from neuron_signatures.runs.scores.reader import ScoredSet, Scores
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.views.circuit.opened import checks_command, circuit_refs
from neuron_signatures.views.explanations.commands import explain_command
from neuron_signatures.views.interventions.results import example_flags, intervention_refs, read_intervention
from neuron_signatures.views.interventions.sheets import share_text
from neuron_signatures.views.records.commands import records_command

_FEW_PROMPTS = 20
_FEW_TOKENS = 64
_MAX_P = 0.05


class Doubt(NamedTuple):
    """One line, and the commands that would check it; empty if no command can."""

    what: str
    command: str = ""
    other_command: str = ""


def unchecked(run: ReportRun) -> Section:
    lead = text(
        "Generated from what is missing or weak in this run. Where a command would check it, it is below the line."
    )
    doubts = [d for find in _FINDERS for d in find(run)]
    if not doubts:
        return Section("unchecked", "What was not checked", lead, [note("good", "No gap that the run itself shows.")])
    items = [el("li", d.what, *(command(c) for c in (d.command, d.other_command) if c)) for d in doubts]
    return Section("unchecked", "What was not checked", lead, [el("ul", *items)])


def _data(run: ReportRun) -> Iterator[Doubt]:
    m = run.run.manifest
    if m.quantization not in ("none", ""):
        yield Doubt(
            f"The model is quantised ({brief(m.quantization)}): the full model may have other neurons.", _dump(run)
        )
    if m.failed_prompts:
        yield Doubt(f"{len(m.failed_prompts)} prompts have no activations: {brief(m.failed_prompts[0].reason)}.")
    if bad := [p.probe_id for p in m.prompts if p.nonfinite]:
        yield Doubt(f"{len(bad)} prompts have values that are not finite, the first {brief(bad[0])}.",
                    f"python -m neuron_signatures.runs verify {run.run.path}")  # fmt: skip
    if 0 < m.n_prompts < _FEW_PROMPTS:
        yield Doubt(f"The run has only {m.n_prompts} prompt{'s' if m.n_prompts > 1 else ''}: averages and peaks over "
                    "the run rest on few tokens. Add prompts in other words and about other things.",
                    _dump(run))  # fmt: skip


def _question(run: ReportRun) -> Iterator[Doubt]:
    c = run.choice
    if c.prompt is None:
        return
    if c.record is None:
        yield Doubt("No influence on an answer was computed.",
                    run.command("poc2_analyze_run", "--mode", "influence", "--prompt_id", c.prompt.probe_id,
                                "--influence_metric", "all", "--validate"))  # fmt: skip
        return
    t = c.record.target
    yield Doubt("The ranking is about one prompt. Whether the same neurons answer other prompts is not known from it: "
                "rank further prompts and compare.", _another_prompt(run))  # fmt: skip
    if t.foil is None:
        yield Doubt(f"The target {visible(t.token.token)} was not compared with another answer, so neurons that push "
                    "all answers of its kind rank high too. A foil leaves out what both share.",
                    run.command("poc2_analyze_run", "--mode", "influence", "--prompt_id", c.record.prompt_id,
                                "--target_mode", "next_token", "--target_token", t.token.token, "--foil_token",
                                _foil(run), "--influence_metric", "all", "--validate"))  # fmt: skip
    if t.token.rank > 0:
        yield Doubt(f"The target is not what the model predicts: its rank is {t.token.rank}, where 0 is the most "
                    "likely token.")  # fmt: skip
    n, least = c.record.reference_tokens, c.record.settings.min_mean_tokens or _FEW_TOKENS
    if n is not None and n < least:
        yield Doubt(f"The reference is a mean over only {n} tokens (at least {least} are advised): records of a corpus "
                    "give a better one.", records_command(run.run.path))  # fmt: skip
    if doubt := another_dump(run.run.manifest, c.record):
        yield Doubt(f"The influence result was {doubt}.")


def _dump(run: ReportRun) -> str:
    """A new run on other prompts."""
    return shlex.join(["python", "-m", "neuron_signatures.poc1_dump_activations", "--model_name",
                       run.run.manifest.model_name, "--prompts_json", "PROMPTS.json",
                       "--out_dir", "NEW_RUN"])  # fmt: skip


def _larger_corpus(run: ReportRun) -> str:
    """Records of a new run, so that those that explanations were written from stay."""
    return shlex.join(["python", "-m", "neuron_signatures.poc4_extract_records", "--model_name",
                       run.run.manifest.model_name, "--corpus", "local", "--max_tokens", "10000000", "--out_dir",
                       "NEW_RUN"])  # fmt: skip


def _another_prompt(run: ReportRun) -> str:
    """The same ranking for the next prompt of the run."""
    ids = [p.probe_id for p in run.run.prompts]
    own = run.choice.prompt.probe_id if run.choice.prompt else ""
    other = next((i for i in ids[ids.index(own) + 1 :] + ids if i != own), "ID") if own in ids else "ID"
    return run.command("poc2_analyze_run", "--mode", "influence", "--prompt_id", other, "--influence_metric", "all",
                       "--validate")  # fmt: skip


def _foil(run: ReportRun) -> str:
    """The second most likely token, if it is recorded."""
    record = run.choice.record
    top = [] if record is None else [a for a in record.target.top if a.token_id != record.target.token.token_id]
    return top[0].token if top else "FOIL"


def _validation(run: ReportRun) -> Iterator[Doubt]:
    c = run.choice
    if c.record is None:
        return
    t = c.record.target
    again = run.command("poc2_analyze_run", "--mode", "influence", "--prompt_id", c.record.prompt_id, "--target_mode",
                        "next_token", "--target_token", t.token.token, "--influence_metric", "all",
                        "--validate")  # fmt: skip
    if c.validated is None:
        yield Doubt("The ranking was not validated: no neuron was ablated to see whether it matters.", again)
        return
    v = c.validated
    read = attempt(lambda: read_record(run.run.path, f"{v.stem}.json", ValidationRecord))
    if read.value is not None and not any(m.curve for m in read.value.metrics):
        yield Doubt("No sets were scored: ablating every neuron changes the target too little.")
    if v.control is not None and v.control.p is not None and v.control.p > _MAX_P:
        yield Doubt(f"The first {v.control.k} neurons keep no more than random sets do (p {v.control.p:.2g}).")
    if v.low is not None and v.low <= 0:
        yield Doubt("The interval of the ranking's agreement with ablations includes 0.", again)
    if read.value is not None and read.value.winner_sets is None:
        yield Doubt(f"No ranking is the best for sets: {brief(read.value.winner_sets_why or 'not recorded')}. The "
                    "neurons above are those of one of several equally good rankings.")  # fmt: skip


def _corpus(run: ReportRun) -> Iterator[Doubt]:
    if run.records.problem:
        yield Doubt(f"The records of the corpus cannot be read: {run.records.problem}")
    elif run.records.value is None:
        yield Doubt("What the neurons do on other text is not known: there are no records of a corpus.",
                    records_command(run.run.path))  # fmt: skip
    else:
        meta = run.records.value.corpus.meta
        if meta.n_counted < 1_000_000:
            yield Doubt(f"The corpus has {meta.n_counted:,} tokens: rare things that a neuron responds to may not be "
                        "in it.", _larger_corpus(run))  # fmt: skip
        if not meta.complete:
            yield Doubt(
                "Reading the corpus stopped at the limit that was set "
                f"({brief(meta.stopped or 'which one is not recorded')})."
            )


def _words(run: ReportRun) -> Iterator[Doubt]:
    e = run.explanations
    yield from (Doubt(f"A set of explanations cannot be read: {line}") for line in e.problems[:5])
    if e.is_empty:
        if run.records.value is not None:
            yield Doubt("No neuron is explained in words.", explain_command(run.run.path))
        return
    for s in e.sets:
        failed = {status: n for status, n in s.counts.items() if status != "ok"}
        if failed:
            said = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(failed.items()))
            yield Doubt(f"In the set {s.name}, {sum(failed.values())} explanations failed: {said}.",
                        run.command("poc5_explain_neurons", "--set", s.name, "--retry_failed"))  # fmt: skip
        if not s.finished and s.name != "human":
            yield Doubt(f"The set {s.name} is not finished.")


def _scores(run: ReportRun) -> Iterator[Doubt]:
    again = run.command("poc6_score_explanations")
    if run.explanations.is_empty:
        return
    if run.scores.problem:
        yield Doubt(f"The scores cannot be read: {run.scores.problem}", again)
        return
    scores = run.scores.value
    reported = [s for s in scores.sets if s.split == "report"] if scores else []
    if scores is None or not reported:
        yield Doubt("The explanations were not scored: how well they predict activations is not known.", again)
        return
    scored = {s.set for s in reported}
    yield from (Doubt(f"The explanations of the set {s.name} were not scored.",
                      run.command("poc6_score_explanations", "--sets", s.name))
                for s in run.explanations.sets if s.name not in scored)  # fmt: skip
    for s in reported:
        more = run.command("poc6_score_explanations", "--sets", s.set, "--scorers", s.scorer)
        yield from _scored_set(scores, s, more)
    yield from _only_rules(run, scores, reported)


def _only_rules(run: ReportRun, scores: Scores, reported: list[ScoredSet]) -> Iterator[Doubt]:
    """Whether nothing was scored but look-up rules by themselves."""
    if any(s.scorer != "rule" for s in reported):
        return
    read = attempt(lambda: {str(e) for s in reported for e in scores.table(s.name)["explainer"].dropna().unique()})
    if read.value != {"lookup"}:
        return
    sets = ",".join(dict.fromkeys(s.set for s in reported))
    yield Doubt(
        "All scored explanations are look-up rules, and the scorer rule applies them as they are: it is then the "
        "baseline itself, so a rule's own score and “rules” are equal, and no score says how well words explain a "
        "neuron. Explanations by a language model, or a scorer that reads the words, go further.",
        run.command("poc5_explain_neurons", "--llm", "PROVIDER:MODEL", "--explainer", "highlighted"),
        run.command("poc6_score_explanations", "--sets", sets, "--scorers", "embedding"),
    )


def _scored_set(scores: Scores, s: ScoredSet, again: str) -> Iterator[Doubt]:
    """What is weak in the headline score of one scored set."""
    failed = {status: n for status, n in s.statuses.items() if status != "ok"}
    if failed:
        said = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(failed.items()))
        yield Doubt(f"{s.name}: {sum(failed.values())} explanations could not be scored: {said}.", again)
    if not s.finished:
        yield Doubt(f"{s.name}: the scores are not finished.", again)
    read = attempt(lambda: scores.table(s.name))
    if read.value is None:
        yield Doubt(f"{s.name}: {read.problem}")
        return
    rows = read.value[read.value["current"] & (read.value["score"] == headline(s))]
    n = len(rows)
    if not n:
        return
    undefined = int(rows["value"].isna().sum())
    if undefined:
        yield Doubt(f"{s.name}: {undefined} of {n} scores are undefined, mostly for lack of active examples on the "
                    "part report: a larger corpus gives more.")  # fmt: skip
    defined = rows[rows["value"].notna()]
    if len(defined) and not defined["null_best"].notna().any():
        yield Doubt(f"{s.name}: no score has a null, so how much chance would give is not known.", again)
    within = int((defined["ci_low"] <= defined["null_best"]).sum())
    if within:
        yield Doubt(f"{s.name}: {within} of {len(defined)} scores have an interval that includes the mean of their "
                    "null: these explanations may be worth nothing.")  # fmt: skip
    low = rows["coverage"].dropna()
    if len(low) and float(low.mean()) < 0.9:
        yield Doubt(f"{s.name}: only {share_text(float(low.mean()))} of the requests have a usable answer.", again)


def _controls_of(run: ReportRun, stem: str) -> Controls | None:
    """Of the edit, or of the first pair of a swap."""
    record = attempt(lambda: read_intervention(run.run.path, stem)).value
    if isinstance(record, SwapRecord):
        return record.pairs[0].controls if record.pairs else None
    return record.controls if isinstance(record, EffectRecord) else None


def _interventions(run: ReportRun) -> Iterator[Doubt]:
    prompt = run.choice.prompt
    read = attempt(lambda: intervention_refs(run.run.path, run.run.manifest))
    refs = read.value or []
    if not refs and prompt is not None:
        yield Doubt("No neuron was changed to see whether the answer changes with it.",
                    run.command("poc3_intervene", *example_flags(prompt.probe_id)))  # fmt: skip
    for ref in refs[:20]:
        controls = None if ref.problem else _controls_of(run, ref.stem)
        if ref.problem:
            yield Doubt(f"An intervention cannot be read: {ref.stem}: {ref.problem}")
            continue
        if controls is not None and controls.random is not None and (controls.random.p or 0.0) > _MAX_P:
            yield Doubt(f"{ref.title}: random edits do as much (p {controls.random.p:.2g}).")
        elif controls is None and ref.mode != "steer":
            yield Doubt(f"{ref.title}: has no random controls.")


def _circuits(run: ReportRun) -> Iterator[Doubt]:
    for ref in circuit_refs(run.run.path)[:20]:
        if ref.prompt is not None and not ref.is_tested:
            what = "no set of its neurons was ablated, and no group swapped"
            yield Doubt(f"The circuit {brief(ref.name)} was not tested: {what}.",
                        checks_command(run.run.path, ref.name, ref.prompt))  # fmt: skip


_FINDERS: tuple[Callable[[ReportRun], Iterator[Doubt]], ...] = (
    _question, _validation, _circuits, _interventions, _corpus, _words, _scores, _data,
)  # fmt: skip
