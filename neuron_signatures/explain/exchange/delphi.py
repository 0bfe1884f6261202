"""delphi's files: `explanations/<hookpoint>_latent<N>.txt` and `scores/<scorer>/<hookpoint>_latent<N>.txt`.

A file of explanations holds one JSON string: the text. A file of scores holds a list with an object per text; the keys
of the detection and fuzzing scorers are

    str_tokens, activations, distance, activating, prediction, probability, correct

and `text` and `highlighted`, `final_score` and `avg_kl_divergence`, `correlation` in those of other versions. In the
names of score files `/` of a hookpoint is `--`. The layer is the number after `layers`, `h`, `blocks` or `layer` in the
hookpoint, such as `layers.3.mlp`; the latent is the neuron.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from neuron_signatures.explain.exchange.items import Exported, Input, Item, reason, refuse
from neuron_signatures.explain.exchange.reading import files_below, json_value
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.files import explain_os_errors, whole_file

EXPLANATIONS, SCORES = "explanations", "scores"
HOOKPOINT = "layers.{layer}.mlp"
_NAME = re.compile(r"(.{1,200})_latent(\d{1,9})\.txt", re.DOTALL)
_LAYER = re.compile(r"(?:\A|[._/-])(?:layers|h|blocks|layer)[._](\d{1,5})(?:[._/-]|\Z)", re.ASCII)
_SCORER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_Number = Annotated[float, Field(strict=False)]


class ScoredText(Input):
    """What a scorer says about one text. Keys that a file does not have are not written either."""

    str_tokens: list[str] | None = None
    text: str | None = None
    activations: list[_Number] | None = None
    distance: _Number | str | None = None
    activating: bool | None = None
    prediction: bool | int | _Number | None = None
    probability: _Number | None = None
    correct: bool | None = None
    highlighted: bool | None = None
    final_score: _Number | None = None
    avg_kl_divergence: _Number | None = None
    correlation: _Number | None = None


_SCORED = TypeAdapter(list[ScoredText])


class Latent(NamedTuple):
    hookpoint: str
    layer: int
    number: int


def read_delphi(source: Path) -> Iterator[Item]:
    """The explanations in a folder, or in its subfolder `explanations`, with the scores of `scores` beside it.

    Raises `UsageError`.
    """
    if source.is_file():
        folder, paths = source.parent, [source]
    else:
        folder = source / EXPLANATIONS if (source / EXPLANATIONS).is_dir() else source
        paths = [p for p in files_below(folder, (".txt",)) if p.parent == folder]
    for path in paths:
        latent = _latent(path)
        text = json_value(path)
        if not isinstance(text, str):
            refuse("is not a JSON string", path)
        about = {"hookpoint": latent.hookpoint, SCORES: _scores(folder.parent / SCORES, latent)}
        yield Item(latent.layer, latent.number, text, source=about)


def write_delphi(out_dir: Path, items: Sequence[Exported], *, hookpoint: str = HOOKPOINT) -> int:
    """Write one file per explanation, and those of its scores. Returns the bytes. A hookpoint that was imported stays.

    Raises `UsageError` for two explanations of one neuron, for which the format has no place.
    """
    n_bytes, seen = 0, set()
    for item in items:
        point = item.source.get("hookpoint") or hookpoint.format(layer=item.layer)
        name = f"{point.replace('/', '--')}_latent{item.neuron}.txt"
        if name in seen:
            what = f"L{item.layer}N{item.neuron} has several explanations, and this format has place for one"
            raise UsageError(what, next_step="Export the current explanations of a set without modes")
        seen.add(name)
        n_bytes += _write(out_dir / EXPLANATIONS, name, item.text)
        for scorer, scores in item.source.get(SCORES, {}).items():
            n_bytes += _write(out_dir / SCORES / scorer, name, scores)
    return n_bytes


def check_hookpoint(hookpoint: str) -> None:
    """Raise `UsageError` if neurons of different layers would have the same name, or none could be read back."""
    try:
        name = hookpoint.format(layer=7)
    except (KeyError, IndexError, ValueError):
        name = ""
    found = _LAYER.search(name)
    if found is None or found[1] != "7":
        raise UsageError(f"{hookpoint!r} does not name a layer", next_step=f"Give one such as {HOOKPOINT}")


def _latent(path: Path) -> Latent:
    found = _NAME.fullmatch(path.name)
    layer = None if found is None else _LAYER.search(found[1])
    if found is None or layer is None:
        refuse("is not named <hookpoint>_latent<N>.txt with a layer in the hookpoint, such as layers.3.mlp", path)
    return Latent(found[1], int(layer[1]), int(found[2]))


def _scores(folder: Path, latent: Latent) -> dict[str, list[dict[str, Any]]]:
    """What each scorer says, by its name."""
    name = f"{latent.hookpoint.replace('/', '--')}_latent{latent.number}.txt"
    found = {}
    for scorer in sorted(folder.iterdir()) if folder.is_dir() else ():
        path = scorer / name
        if not path.is_file() or _SCORER.fullmatch(scorer.name) is None:
            continue
        try:
            texts = _SCORED.validate_python(json_value(path))
        except ValidationError as e:
            refuse(reason(e), path)
        found[scorer.name] = [t.model_dump(exclude_unset=True) for t in texts]
    return found


def _write(folder: Path, name: str, value: Any) -> int:
    raw = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    with explain_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder, name, needed=len(raw)) as f:
        f.write(raw)
    return len(raw)
