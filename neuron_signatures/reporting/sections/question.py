"""The question: the prompt, what the model answered, and which model it was."""

from __future__ import annotations

from neuron_signatures.reporting.html import Html, el, join
from neuron_signatures.reporting.opened import ReportRun
from neuron_signatures.reporting.parts import Column, bullet_list, code, facts, fold, missing, p, table, token
from neuron_signatures.reporting.section import Section
from neuron_signatures.runs.manifest import UNRECORDED, Manifest, PromptRecord, attention_text, weights_text
from neuron_signatures.runs.names import spans
from neuron_signatures.runs.result_records import InfluenceRecord, TargetToken
from neuron_signatures.runs.tokens import brief, visible
from neuron_signatures.runs.units import units_text, units_word
from neuron_signatures.views.interventions.sheets import share_text

_OTHER_QUESTIONS = 20


def question(run: ReportRun) -> Section:
    m, c = run.run.manifest, run.choice
    lead = join([
        "The model reads a prompt and gives a probability to every token that could come next. The report asks which "
        "of its ", el("b", "neurons"), " made one of these tokens likely. A neuron is one unit of the hidden layer "
        "of an MLP block: at each token it has one number, its ", el("b", "activation"), ", and writes a fixed vector "
        "times that number into the model's state. L4N178 is neuron 178 of layer 4. Tokens look ", token("·like"),
        " this; the dot is a space.",
    ])  # fmt: skip
    body: list[Html] = []
    short: list[Html] = []
    if c.prompt is None:
        body.append(p("This run holds no prompts."))
    elif c.record is None:
        body += [_prompt(c.prompt, None, run), _no_target(run, c.prompt)]
    else:
        body += [_prompt(c.prompt, c.record, run), *_answer(c.record)]
        short.append(_short(c.prompt, c.record))
    body += [_others(run), el("h3", "The model"), facts(model_facts(m))]
    return Section("question", "The question", lead, body, short)


def model_facts(m: Manifest) -> list[tuple[str, str]]:
    """What was run, with what is not recorded named as such."""
    libraries = ("python", "neuron-signatures", "torch", "transformers")
    given = ", ".join(f"{name} {brief(m.versions[name])}" for name in libraries if name in m.versions)
    quantised = "" if m.quantization in ("none", "") else f", quantised: {brief(m.quantization)}"
    return [
        ("model", f"{brief(m.model_name)} ({brief(m.architecture) or UNRECORDED})"),
        ("revision", brief(m.model_revision or "") or f"weights {brief(weights_text(m))}"),
        ("computed in", f"{m.model_dtype}{quantised}, {brief(attention_text(m))}, stored as {m.save_dtype}"),
        (units_word(m), f"layers {spans(m.layers)} of {m.n_layers}, {units_text(m)} each"),
        ("prompts", f"{m.n_prompts:,} with {m.n_tokens:,} tokens" if m.n_prompts else "none"),
        ("made", f"{brief(m.created_at_utc)} on {brief(m.device_name)} ({brief(m.run_device)})"),
        ("versions", given or UNRECORDED),
    ]  # fmt: skip


def _prompt(prompt: PromptRecord, record: InfluenceRecord | None, run: ReportRun) -> Html:
    """The prompt's text up to the target, and the answer."""
    text = brief(prompt.text) if len(prompt.text) <= 300 else brief(prompt.text[:300])
    if record is None:
        return el("div", text, class_="prompt")
    t = record.target
    last = prompt.seq_len - 1
    where = None if t.pos == last else el("span", f" (predicted after position {t.pos} of {last})", class_="small")
    answer = join([" → ", token(visible(t.token.token))])
    return el("div", text, el("span", answer, class_="ans"), where, class_="prompt")


def _answer(record: InfluenceRecord) -> list[Html]:
    t = record.target
    rows: list[tuple[str | Html, str | Html]] = [("target", _said(t.token))]
    if t.foil is not None:
        rows.append(("against (foil)", _said(t.foil)))
    rows += [
        ("measured by", f"{_function(t.function, foil=t.foil is not None)} = {t.value:.4g}"),
        ("read after", f"position {t.pos} of the prompt {brief(record.prompt_id)}"),
    ]
    if t.top:
        most = table(
            [Column("rank"), Column("token", False), Column("probability")],
            [[str(a.rank), token(visible(a.token)), share_text(a.probability)] for a in t.top[:10]],
        )
        rows.append(("most likely", most))
    return [facts(rows)]


def _said(t: TargetToken) -> Html:
    place = "the most likely token" if t.rank == 0 else f"rank {t.rank}, where 0 is the most likely"
    return join([token(visible(t.token)), f" with probability {share_text(t.probability)}, {place}"])


def _function(name: str, *, foil: bool) -> str:
    """The measured quantity in words."""
    words = {
        "pre_cap_logit": "the logit (unnormalised log probability)",
        "logit": "the logit after the model's soft cap",
        "logprob": "the log probability, in nats,",
    }
    return words.get(name, brief(name)) + (" of the target minus that of the foil" if foil else " of the target")


def _short(prompt: PromptRecord, record: InfluenceRecord) -> Html:
    t = record.target
    foil = join([" (compared with ", token(visible(t.foil.token)), ")"]) if t.foil else None
    text = prompt.text if len(prompt.text) <= 160 else f"…{prompt.text[-160:]}"
    return join([
        "After “", text, "” the model gives ", token(visible(t.token.token)), f" {share_text(t.token.probability)}",
        foil, ".",
    ])  # fmt: skip


def _no_target(run: ReportRun, prompt: PromptRecord) -> Html:
    """No influence result of this prompt."""
    flags = ("--mode", "influence", "--prompt_id", prompt.probe_id, "--influence_metric", "all", "--validate",
             "--write_scores", "5")  # fmt: skip
    return missing(
        "No ranking of neurons by their influence on an answer to this prompt was made. This command makes it, with "
        "the most likely token as the target:",
        run.command("poc2_analyze_run", *flags),
    )


def _others(run: ReportRun) -> Html:
    """The other influence results, each with the flag that shows it."""
    others = [r for r in run.lists if r.kind == "influence" and run.choice.ref and r.stem != run.choice.ref.stem]
    if not others:
        return Html("")
    items = [
        join([brief(r.title), f" — {brief(r.problem)}" if r.problem else None, Html("<br>"),
              code(f"--influence {brief(r.stem)}")])
        for r in others[:_OTHER_QUESTIONS]
    ]  # fmt: skip
    more = len(others) - len(items)
    title = f"{len(others)} other influence result{'s' if len(others) > 1 else ''} of this run"
    return fold(title, bullet_list(items, class_="small"), p(f"and {more} more") if more else None, printed=False)


def heading(run: ReportRun) -> str:
    """The title of the report."""
    c, name = run.choice, brief(run.run.manifest.model_name.rstrip("/").rsplit("/", 1)[-1])
    if c.record is None:
        return f"The neurons of the model {name}"
    return f"Which neurons made the model {name} say “{word_of(c.record.target.token.token)}”?"


def word_of(raw: str) -> str:
    """A token as a word in a sentence: without the spaces around it, unless it has nothing else."""
    return brief(raw.strip(" ")) or visible(raw)
