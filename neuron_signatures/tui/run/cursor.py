"""The cursor (prompt, layer, neuron, token) and its moves. A move beyond an end leaves it unchanged."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.run import Run
from neuron_signatures.tui.options import Options
from neuron_signatures.views.coords import NeuronAt, check_layer, check_neuron, parse_neuron

Axis = Literal["layer", "neuron", "token", "prompt"]


class Cursor(NamedTuple):
    """Prompt index, layer of the model, neuron, and token position. Without prompts, index and position are 0."""

    prompt: int
    layer: int
    neuron: int
    pos: int

    @property
    def at(self) -> NeuronAt:
        return NeuronAt(self.layer, self.neuron)


class Moved(NamedTuple):
    """The cursor after a move, and a message if it did not move."""

    cursor: Cursor
    message: str = ""


def first_cursor(run: Run, options: Options) -> Cursor:
    """The cursor that the flags select; default: last token of the first prompt, neuron 0 of the first stored layer.

    Raises `UsageError` if the run does not have it.
    """
    layer = run.layers[0] if options.layer is None else check_layer(run, options.layer)
    at = check_neuron(run, NeuronAt(layer, options.neuron or 0))
    if not run.prompts:
        _check_no_prompt(run, options)
        return Cursor(0, *at, 0)
    prompt = run.prompt((options.prompt_idx or 0) if options.prompt_id is None else options.prompt_id)
    index = next(i for i, p in enumerate(run.prompts) if p is prompt)
    return Cursor(index, *at, resolve_pos(run, index, -1 if options.ctx_idx is None else options.ctx_idx))


def resolve_pos(run: Run, prompt: int, pos: int) -> int:
    """`pos` as a non-negative position; negative counts from the end. Raises `UsageError` if out of range."""
    n = run.prompts[prompt].seq_len
    if not -n <= pos < n:
        raise UsageError(f"there is no token {pos} in this prompt: 0..{n - 1}, or -{n}..-1 from the end")
    return pos % n


def move(run: Run, cursor: Cursor, axis: Axis, by: int) -> Moved:
    """Move by this number of stored layers, neurons, tokens or prompts; for prompts see `to_prompt`."""
    now, n = {
        "layer": (run.layers.index(cursor.layer), len(run.layers)),
        "neuron": (cursor.neuron, run.manifest.d_mlp),
        "token": (cursor.pos, run.prompts[cursor.prompt].seq_len if run.prompts else 1),
        "prompt": (cursor.prompt, len(run.prompts)),
    }[axis]
    new, end = _clamp(now + by, n), "last" if by > 0 else "first"
    if axis == "layer":
        there, message = cursor._replace(layer=run.layers[new]), f"layer {cursor.layer} is the {end} stored layer"
    elif axis == "neuron":
        there, message = cursor._replace(neuron=new), f"neuron {new} is the {end} of the layer"
    elif axis == "token":
        there, message = cursor._replace(pos=new), f"token {new} is the {end} of the prompt"
    else:
        there, message = to_prompt(run, cursor, new), f"this is the {end} of {n} prompts"
    return Moved(cursor, message) if new == now else Moved(there)


def to_prompt(run: Run, cursor: Cursor, index: int) -> Cursor:
    """Keep the position if the prompt is long enough; stay on the last token if the cursor is on it."""
    was_last = cursor.pos == run.prompts[cursor.prompt].seq_len - 1
    last = run.prompts[index].seq_len - 1
    return cursor._replace(prompt=index, pos=last if was_last else min(cursor.pos, last))


def to_neuron(run: Run, cursor: Cursor, text: str) -> Cursor:
    """Move to the neuron that `text` names: a number for a neuron of this layer, or any spelling of a neuron.

    Raises `UsageError` if the run does not store it.
    """
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        at = check_neuron(run, NeuronAt(cursor.layer, int(text)))
    else:
        at = parse_neuron(text, run)
    return cursor._replace(layer=at.layer, neuron=at.neuron)


def to_layer(run: Run, cursor: Cursor, text: str) -> Cursor:
    return cursor._replace(layer=check_layer(run, _whole(text.strip().removeprefix("L").removeprefix("l"), "layer")))


def to_token(run: Run, cursor: Cursor, text: str) -> Cursor:
    return cursor._replace(pos=resolve_pos(run, cursor.prompt, _whole(text, "token position")))


JUMPS = {"layer": to_layer, "neuron": to_neuron, "token": to_token}


def keep_inside(run: Run, cursor: Cursor) -> Cursor:
    """The nearest valid cursor; for a run that may have changed on disk."""
    prompt = _clamp(cursor.prompt, len(run.prompts))
    layer = cursor.layer if cursor.layer in run.layers else run.layers[0]
    pos = _clamp(cursor.pos, run.prompts[prompt].seq_len if run.prompts else 1)
    return Cursor(prompt, layer, _clamp(cursor.neuron, run.manifest.d_mlp), pos)


def _check_no_prompt(run: Run, options: Options) -> None:
    """Raise `UsageError` for flags that name a prompt or a token."""
    given = (("--prompt_idx", options.prompt_idx), ("--prompt_id", options.prompt_id), ("--ctx_idx", options.ctx_idx))
    for flag, value in given:
        if value is not None:
            raise UsageError(f"{flag} names a prompt or a token, and this run holds no prompts", where=str(run.path))


def _clamp(value: int, n: int) -> int:
    return max(0, min(value, n - 1))


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", text):
        raise UsageError(f"{text[:40]!r} is not a {what}", next_step="Type a whole number")
    return int(text)
