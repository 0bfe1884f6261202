"""Which prompts and positions are compared: the two sides of a contrast on one run.

The unit is the prompt. Each text (the tokens up to a position) counts once per side, for the first prompt that has it,
because a causal model has equal activations there; a prompt that adds no text is no unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from neuron_signatures.analysis.contrast.grammar import (
    Positions,
    Side,
    check_tokens,
    chosen_prompts,
    parse_side,
    positions_of,
)
from neuron_signatures.analysis.signatures.texts import text_codes
from neuron_signatures.analysis.tokens.positions import Counted, CountedPrompt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.manifest import PromptRecord

Design = Literal["paired", "unpaired"]
DesignChoice = Literal["auto", "paired", "unpaired"]
_FEWEST = 2
# The chosen positions of each prompt, by its index in the counted prompts.
_Chosen = dict[int, list[int]]


class Unit(NamedTuple):
    """A prompt and its positions on one side, ascending."""

    prompt: PromptRecord
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Sides:
    """The units of both sides; in a paired design, `a` and `b` have the same prompts in the same order."""

    design: Design
    a_text: str
    b_text: str
    """As written; for a default B, in words."""
    a: list[Unit]
    b: list[Unit]
    n_repeated: int
    """Positions left out because the side has the same text in an earlier prompt ..."""
    n_common: int
    """... and because both sides have the text."""
    n_unpaired: int
    """Prompts left out of a paired design because they are on one side, or add no text to one."""
    n_moved: int
    """Prompts of B left out of an unpaired design because they are in A."""


def choose_sides(counted: Counted, a_text: str, b_text: str | None, design: DesignChoice) -> Sides:
    """The sides `a_text` and `b_text` of the grammar over the counted positions.

    Without `b_text`, B is the prompts that A does not name at the same positions, or the other positions of the prompts
    if A names every prompt. Raises `UsageError` if a side is wrong or empty, or if the design is ambiguous.
    """
    prompts = [p.prompt for p in counted.prompts]
    side_a = parse_side(a_text, flag="--a")
    if side_a.positions.where == "rest":
        raise UsageError("@rest is what A leaves, so it is of B only", where="--a", next_step="Use it in --b")
    named = chosen_prompts(side_a, prompts, flag="--a")
    side_b = _default_b(side_a, len(named) == len(prompts)) if b_text is None else parse_side(b_text, flag="--b")
    of_b = chosen_prompts(side_b, prompts, flag="--b") if side_b.terms else _others(prompts, named)
    a = _positions(counted.prompts, side_a, named, "--a", strict=True)
    b = _positions(counted.prompts, side_b, of_b, "--b", strict=b_text is not None)
    codes = [dict(zip(range(p.start, p.prompt.seq_len), c.tolist(), strict=True))
             for p, c in zip(counted.prompts, text_codes(counted.prompts), strict=True)]  # fmt: skip
    complement = b_text is None or side_b.positions.where == "rest"
    before = _count(a) + _count(b)
    a, b = _disjoint(a, b, codes, a_first=complement)
    n_common = 0 if complement else before - _count(a) - _count(b)
    for chosen, flag in ((a, "--a"), (b, "--b")):
        if not chosen:
            raise UsageError("all its positions have texts of the other side", where=flag, next_step="Change one side")
    return _designed(counted.prompts, (side_a.text, side_b.text), a, b, codes, design, n_common)


def _default_b(a: Side, all_named: bool) -> Side:
    if not all_named:
        at = a.text.partition("@")[2]
        return Side(f"other prompts{'@' + at if at else ''}", None, a.positions)
    if a.positions.where == "all":
        raise UsageError(
            "A is everything, so nothing is left for B", where="--a", next_step="Name fewer prompts, or positions"
        )
    return Side("*@rest", ("*",), Positions("rest"))


def _others(prompts: list[PromptRecord], named: list[PromptRecord]) -> list[PromptRecord]:
    ids = {p.probe_id for p in named}
    return [p for p in prompts if p.probe_id not in ids]


def _positions(
    counted: list[CountedPrompt], side: Side, prompts: list[PromptRecord], flag: str, *, strict: bool
) -> _Chosen:
    """With `strict`, every token text of the side must be in one of its prompts."""
    if strict:
        check_tokens(side.positions, prompts, flag=flag)
    ids = {p.probe_id for p in prompts}
    every = {i: positions_of(side.positions, p.prompt) for i, p in enumerate(counted) if p.prompt.probe_id in ids}
    kept = {i: [at for at in found if at >= counted[i].start] for i, found in every.items()}
    kept = {i: found for i, found in kept.items() if found}
    if not kept:
        left_out = any(every.values())
        what = "its positions are first positions, which are left out" if left_out else "no prompt has such a position"
        next_step = "Use --include_bos, or a smaller --first_pos" if left_out else "Change it" if strict else "Give --b"
        raise UsageError(f"{side.text}: {what}", where=flag, next_step=next_step)
    return kept


def _disjoint(a: _Chosen, b: _Chosen, codes: list[dict[int, int]], *, a_first: bool) -> tuple[_Chosen, _Chosen]:
    """Both without the texts that are in both; with `a_first`, only B loses them."""
    in_a, in_b = ({codes[i][at] for i, found in side.items() for at in found} for side in (a, b))
    common = in_a & in_b
    return (a if a_first else _without(a, codes, common)), _without(b, codes, common)


def _without(side: _Chosen, codes: list[dict[int, int]], texts: set[int]) -> _Chosen:
    kept = {i: [at for at in found if codes[i][at] not in texts] for i, found in side.items()}
    return {i: found for i, found in kept.items() if found}


def _designed(
    counted: list[CountedPrompt], texts: tuple[str, str], a: _Chosen, b: _Chosen, codes: list[dict[int, int]],
    wanted: DesignChoice, n_common: int,
) -> Sides:  # fmt: skip
    shared = a.keys() & b.keys()
    design = _design(wanted, len(a), len(b), len(shared))
    n_all = len(a.keys() | b.keys())
    n_moved = 0
    if design == "unpaired":
        b = {i: found for i, found in b.items() if i not in shared}
        n_moved = len(shared)
    else:  # before texts are counted, so that prompts that are left out take none from the others
        a, b = _only(a, shared), _only(b, shared)
    before = _count(a) + _count(b)
    a, b = _once(a, codes), _once(b, codes)
    n_repeated = before - _count(a) - _count(b)
    n_unpaired = 0
    if design == "paired":
        both = a.keys() & b.keys()
        a, b = _only(a, both), _only(b, both)
        n_unpaired = n_all - len(both)
    _check_sizes(design, len(a), len(b), n_repeated)
    of_a, of_b = ([Unit(counted[i].prompt, tuple(side[i])) for i in sorted(side)] for side in (a, b))
    return Sides(design, *texts, of_a, of_b, n_repeated, n_common, n_unpaired, n_moved)


def _design(wanted: DesignChoice, n_a: int, n_b: int, n_shared: int) -> Design:
    if wanted == "paired" and not n_shared:
        raise UsageError("no prompt is on both sides", where="--design paired", next_step="Use --design unpaired")
    if wanted != "auto":
        return wanted
    if n_shared in (0, n_a, n_b):
        return "paired" if n_shared else "unpaired"
    what = f"{n_shared} prompts are on both sides, {n_a - n_shared} only in A and {n_b - n_shared} only in B"
    next_step = "Give --design paired (only those on both sides) or unpaired (prompts of A leave B)"
    raise UsageError(what, where="--a, --b", next_step=next_step)


def _check_sizes(design: Design, n_a: int, n_b: int, n_repeated: int) -> None:
    once = f", after {n_repeated} positions with the text of an earlier prompt are left out" if n_repeated else ""
    next_step = f"A contrast needs {_FEWEST} or more"
    if design == "paired" and n_a < _FEWEST:
        raise UsageError(f"{n_a} of the prompts are on both sides{once}", where="--a, --b", next_step=next_step)
    for n, name in ((n_a, "A"), (n_b, "B")):
        if n < _FEWEST:
            raise UsageError(
                f"{name} has {n} prompt{'s' * (n != 1)}{once}", where=f"--{name.lower()}", next_step=next_step
            )


def _only(side: _Chosen, prompts: Set[int]) -> _Chosen:
    return {i: found for i, found in side.items() if i in prompts}


def _once(side: _Chosen, codes: list[dict[int, int]]) -> _Chosen:
    """The positions whose text is in no earlier prompt of the side."""
    seen: set[int] = set()
    kept: _Chosen = {}
    for i in sorted(side):
        new = [at for at in side[i] if codes[i][at] not in seen]
        seen.update(codes[i][at] for at in new)
        if new:
            kept[i] = new
    return kept


def _count(side: Mapping[int, list[int]]) -> int:
    return sum(map(len, side.values()))
