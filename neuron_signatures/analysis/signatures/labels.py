"""Labels of the counted tokens of a run: key, functional or not, target of functional tokens, concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from neuron_signatures.analysis.tokens.functional import FunctionalTokens, token_key
from neuron_signatures.analysis.tokens.positions import CountedPrompt
from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.input_files import read_json_input
from neuron_signatures.runs.manifest import PromptRecord


class PromptLabels(NamedTuple):
    """Labels of one prompt's counted tokens. `target` is -1 for semantic tokens and for those without a target."""

    key: Int32[np.ndarray, " pos"]
    functional: Bool[np.ndarray, " pos"]
    target: Int32[np.ndarray, " pos"]
    concepts: dict[int, Bool[np.ndarray, " pos"]]
    """Positions of each concept that the prompt contains, by the concept's index."""

    def at(self, pos: np.ndarray) -> PromptLabels:
        """The labels of the positions `pos`, in this order."""
        concepts = {c: there for c, hit in self.concepts.items() if (there := hit[pos]).any()}
        return PromptLabels(self.key[pos], self.functional[pos], self.target[pos], concepts)


class Labels(NamedTuple):
    """Labels of all prompts. `names` has each key as first written in the run, stripped (`Austin` for ` Austin`)."""

    prompts: list[PromptLabels]
    names: list[str]
    concepts: list[str]

    @property
    def n_containing(self) -> Int32[np.ndarray, " concept"]:
        """Number of prompts that contain each concept."""
        out = np.zeros(len(self.concepts), np.int32)
        for p in self.prompts:
            out[list(p.concepts)] += 1
        return out


def make_labels(
    prompts: Sequence[CountedPrompt], functional: FunctionalTokens, concepts: Sequence[str], *, window: int
) -> Labels:
    """Labels of all counted tokens. A concept of several tokens is found by its text and includes all of them."""
    names: dict[str, str] = {}
    for p in prompts:
        for token in p.prompt.tokens:
            names.setdefault(token_key(token), token.strip())
    code = {key: i for i, key in enumerate(sorted(names))}
    concept_keys = [token_key(c) for c in concepts]
    labels = [_prompt_labels(p, functional, code, concept_keys, window) for p in prompts]
    return Labels(labels, [names[k] for k in code], list(concepts))


def choose_concepts(
    prompts: Sequence[CountedPrompt], seed: PromptRecord, functional: FunctionalTokens, given: Sequence[str] | None
) -> tuple[list[str], str]:
    """The concepts and their source: `given`, else the prompts' metadata, else the seed prompt's semantic tokens.

    Different spellings of one key count once, as first written. Raises `UsageError` for metadata that is not a list of
    texts.
    """
    if given is not None:
        return _distinct(given), "given"
    listed = [
        c for p in prompts for c in _texts(p.prompt.metadata.get("concepts", []), f"prompt {p.prompt.probe_id!r}")
    ]
    if listed:
        return _distinct(listed), "metadata"
    return _distinct([t for t in seed.tokens if not functional.is_functional(t)]), "seed prompt"


def load_concepts(path: Path) -> list[str]:
    """Concepts from a JSON file: a list of texts, or an object of prompt id to such lists, which are joined."""
    raw = read_json_input(path)
    lists = list(raw.values()) if isinstance(raw, Mapping) else [raw]
    return _distinct([text for texts in lists for text in _texts(texts, str(path))])


def aligned_positions(
    seed: Sequence[str], other: Sequence[str]
) -> tuple[Int32[np.ndarray, " shared"], Int32[np.ndarray, " shared"]]:
    """Positions of the tokens that both prompts have: the k-th `x` of one corresponds to the k-th `x` of the other."""
    at: dict[tuple[str, int], int] = {(k, n): i for i, (k, n) in enumerate(_numbered(seed))}
    pairs = [(at[numbered], i) for i, numbered in enumerate(_numbered(other)) if numbered in at]
    return tuple(np.array([p[side] for p in pairs], np.int32) for side in (0, 1))  # type: ignore[return-value]


def _prompt_labels(
    p: CountedPrompt, functional: FunctionalTokens, code: Mapping[str, int], concepts: Sequence[str], window: int
) -> PromptLabels:
    tokens = p.prompt.tokens
    targets = [functional.target(tokens, i, window=window) for i in range(p.start, len(tokens))]
    found = {c: hit for c, concept in enumerate(concepts) if (hit := _find(concept, tokens)[p.start :]).any()}
    return PromptLabels(
        key=np.array([code[token_key(t)] for t in tokens[p.start :]], np.int32),
        functional=np.array([functional.is_functional(t) for t in tokens[p.start :]]),
        target=np.array([-1 if t is None else code[token_key(tokens[t])] for t in targets], np.int32),
        concepts=found,
    )


def _find(concept: str, tokens: Sequence[str]) -> Bool[np.ndarray, " pos"]:
    """Positions where the tokens spell the concept; compared as keys."""
    hit = np.zeros(len(tokens), bool)
    for start in range(len(tokens)):
        text = ""
        for end in range(start, len(tokens)):
            text += tokens[end]
            key = token_key(text)
            if key == concept and token_key(tokens[start]) and token_key(tokens[end]):
                hit[start : end + 1] = True
            if not concept.startswith(key):
                break
    return hit


def _numbered(tokens: Sequence[str]) -> list[tuple[str, int]]:
    seen: dict[str, int] = {}
    out = []
    for token in tokens:
        key = token_key(token)
        seen[key] = seen.get(key, -1) + 1
        out.append((key, seen[key]))
    return out


def _texts(raw: Any, where: str) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(c, str) and token_key(c) for c in raw):
        raise UsageError("concepts are not a list of texts", where=where, next_step='Write ["Dallas", "Texas"]')
    return raw


def _distinct(concepts: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    for c in concepts:
        first.setdefault(token_key(c), c.strip())
    return list(first.values())
