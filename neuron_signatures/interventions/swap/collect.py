"""The pairs of a command: of the flags or of files, checked against what the model says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neuron_signatures.interventions.choice.alignment import THAT_MATTER, align
from neuron_signatures.interventions.choice.positions import parse_positions
from neuron_signatures.interventions.choice.prompts import Prompt, prompt_of_text
from neuron_signatures.interventions.setup import Setup
from neuron_signatures.interventions.swap.pair_files import PairSpec, read_pairs, split_entities
from neuron_signatures.interventions.swap.pairs import Pair, Prompts, answer_ids, make_pair
from neuron_signatures.interventions.swap.request import SwapRequest
from neuron_signatures.interventions.swap.wrong_source import wrong_pair
from neuron_signatures.models.tokens import token_strings
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.tokens import visible


@dataclass(frozen=True)
class Collected:
    """`own` pairs get cells of their own; one shared list is chosen on `selection` and tested on `held_out`.

    `wrong` is the wrong source that was given for one pair.
    """

    own: tuple[Pair, ...]
    selection: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    wrong: Prompt | None
    warnings: tuple[str, ...]


class _Made(NamedTuple):
    pairs: list[Pair]
    left_out: list[str]


def collect_pairs(setup: Setup, prompts: Prompts, request: SwapRequest) -> Collected:
    """Raises `UsageError` if no pair can be swapped; pairs of a file that cannot are left out, with a warning."""
    if request.pairs_json is None:
        return _one_pair(setup, prompts, request)
    file = read_pairs(request.pairs_json, flag="--pairs_json")
    roles = None if request.positions == "all" else THAT_MATTER
    entities, dropped = _known_entities(setup, prompts, file.templates, file.entities, file.answers)
    specs = file.of_entities(entities) if file.entities else file.pairs
    own = _make(setup, prompts, specs, roles, where=f"--pairs_json {request.pairs_json}")
    warnings = [*dropped, *own.left_out]
    if not own.pairs:
        what = f"no pair can be swapped: {'; '.join(warnings[:3])}"
        raise UsageError(what, where=f"--pairs_json {request.pairs_json}")
    if isinstance(request.held_out, Path):
        more = _make(setup, prompts, read_pairs(request.held_out, flag="--held_out").pairs, roles,
                     where=f"--held_out {request.held_out}")  # fmt: skip
        selection, held_out = own.pairs, more.pairs
        warnings += more.left_out
    elif request.held_out is not None:
        if not file.entities:
            raise UsageError("a share needs a file with entities", where=f"--held_out {request.held_out:g}")
        inside, outside = split_entities(entities, request.held_out, request.seed)
        selection = [p for p in own.pairs if set(p.entities) <= set(inside)]
        held_out = [p for p in own.pairs if set(p.entities) <= set(outside)]
    else:
        selection, held_out = own.pairs, []
    return _checked(own.pairs, selection, held_out, None, warnings)


def _one_pair(setup: Setup, prompts: Prompts, request: SwapRequest) -> Collected:
    source = setup.source(prompt=request.source_prompt, text=request.source_text)
    flag = "--source_text" if request.source_prompt is None else f"--source_prompt {request.source_prompt}"
    roles: tuple[str, ...] | None = THAT_MATTER
    if request.positions == "all":
        roles = None
    elif request.positions is not None:
        found = align(setup.prompt, source, where=flag)
        last = len(setup.prompt.token_ids) - 1
        chosen = parse_positions(request.positions, setup.prompt, last=last)
        without = [p for p in chosen if p not in dict(found.pairs)]
        if without:
            what = f"position {without[0]} comes before the first difference, or has no counterpart in the source"
            raise UsageError(what, where=f"--positions {request.positions}")
        roles = tuple(found.role_of(p) for p in chosen)
    ids = answer_ids(prompts, request.answers, where="--foil_token, --target_token")
    prompt_id = setup.prompt.prompt_id or ""
    pair = make_pair(
        prompts, setup.prompt, source, id=f"{prompt_id} from {source.prompt_id or 'text'}", where=flag, roles=roles,
        answers=ids,
    )  # fmt: skip
    wrong = None
    if request.wrong_source is not None:
        wrong = prompt_of_text(setup.run, setup.session.model, request.wrong_source, where="--wrong_source")
        wrong_pair(prompts, pair, wrong)
    held_out: list[Pair] = []
    warnings: list[str] = []
    if isinstance(request.held_out, Path):
        more = _make(setup, prompts, read_pairs(request.held_out, flag="--held_out").pairs, roles,
                     where=f"--held_out {request.held_out}")  # fmt: skip
        held_out, warnings = more.pairs, more.left_out
    return _checked([pair], [pair], held_out, wrong, warnings)


def _checked(
    own: Sequence[Pair], selection: Sequence[Pair], held_out: Sequence[Pair], wrong: Prompt | None,
    warnings: list[str],
) -> Collected:  # fmt: skip
    """A shared list needs the same roles in every pair: pairs without one of them are left out of it."""
    held_out, repeated = _unseen(selection, held_out)
    warnings = [*warnings, *repeated]
    roles = max((p.roles for p in selection), key=len, default=())
    fit = [[p for p in some if p.roles == roles] for some in (selection, held_out)]
    for some, kept, what in ((selection, fit[0], "selection"), (held_out, fit[1], "held-out")):
        if len(kept) < len(some):
            warnings = [*warnings, f"{len(some) - len(kept)} {what} pairs lack a position of the others: left out"]
    if held_out and not (fit[0] and fit[1]):
        raise UsageError("no held-out pair has the positions of the selection pairs", where="--held_out")
    return Collected(tuple(own), tuple(fit[0]), tuple(fit[1]), wrong, tuple(warnings))


def _unseen(selection: Sequence[Pair], held_out: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """The held-out pairs of which the choice has seen neither prompt, and warnings about the others and the answers."""
    seen = {s.prompt.token_ids for p in selection for s in (p.destination, p.source)}
    kept = [p for p in held_out if not {p.destination.prompt.token_ids, p.source.prompt.token_ids} & seen]
    warnings = []
    if len(kept) < len(held_out):
        n = len(held_out) - len(kept)
        warnings.append(f"{n} held-out pairs have a prompt of the selection pairs: left out")
    if held_out and not kept:
        raise UsageError("every held-out pair has a prompt of the selection pairs", where="--held_out")
    answers = {a for p in selection for a in (p.source_answer, p.destination_answer)}
    shared = sum(bool({p.source_answer, p.destination_answer} & answers) for p in kept)
    if shared:
        warnings.append(
            f"{shared} of {len(kept)} held-out pairs have an answer of the selection pairs: only prompts are new"
        )
    return kept, warnings


def _known_entities(
    setup: Setup, prompts: Prompts, templates: Sequence[str], entities: Sequence[str], answers: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The entities whose answer the model says after every template, and a warning for each other one."""
    if answers is None:
        return list(entities), []
    kept, warnings = [], []
    for entity, answer in zip(entities, answers, strict=True):
        wanted, _ = answer_ids(prompts, (answer, None), where=f"--pairs_json, answer of {entity}")
        for template in templates:
            text = template.replace("{}", entity)
            prompt = prompt_of_text(setup.run, setup.session.model, text, where="--pairs_json")
            said = prompts.see(prompt).answer_id
            if said != wanted:
                name = visible(token_strings(setup.session.model.tokenizer, [said])[0])
                warnings.append(
                    f"{entity} is left out: after {text!r} the model says {name!r}, not {visible(answer)!r}"
                )
                break
        else:
            kept.append(entity)
    return kept, warnings


def _make(
    setup: Setup, prompts: Prompts, specs: Sequence[PairSpec], roles: tuple[str, ...] | None, *, where: str
) -> _Made:
    made: list[Pair] = []
    left_out: list[str] = []
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        if (spec.destination, spec.source) in seen:
            left_out.append(f"{spec.id} is left out: it repeats an earlier pair")
            continue
        seen.add((spec.destination, spec.source))
        texts = [
            prompt_of_text(setup.run, setup.session.model, text, where=f"{where}, {spec.id}")
            for text in (spec.destination, spec.source)
        ]
        ids = answer_ids(prompts, spec.answers, where=f"{where}, {spec.id}")
        try:
            made.append(
                make_pair(prompts, *texts, id=spec.id, where=spec.id, roles=roles, entities=spec.entities, answers=ids)
            )
        except UsageError as e:
            left_out.append(f"{spec.id} is left out: {e.what}")
    return _Made(made, left_out)
