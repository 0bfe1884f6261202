"""The scorer `fade`: four measures of how well an explanation describes a neuron, as a group.

After Puri et al. 2025, "FADE: Why Bad Descriptions Happen to Good Features". `concept` is the explanation.

- `clarity/fade`: 2·AUROC - 1 of the activations of sentences that a language model writes of the concept, against
  those of natural windows (the uniform sample). Can the concept be recognised from the activations on clean cases?
- `responsiveness/fade`: 2·AUROC - 1 of the activations of natural windows that a judge rates as expressing the concept
  (2) against those that it rates as not (0); windows rated 1 are left out.
- `purity/fade`: the average precision of the same. Low if the neuron is active on other things too.
- `faithfulness/fade`: (P - P₀) / (1 - P₀), P the share of continuations that express the concept when the neuron is
  steered, P₀ when it is not. `faithfulness_random/fade`: the mean of the same of random neurons of the layer, for the
  own explanation only.

Here and not in the paper: sentences are written by one prompt with those of `generation` (and are paid once for both);
a natural window counts in clarity by a stretch as long as the median sentence, since a longer text has a larger
maximum; the rated windows are the strongest of the split and some of the uniform sample, so purity's chance level is
their share of expressed ones, which is not that of a corpus; the dose is chosen on half of the prompts and reported on
the other, both ways; the paper takes the largest over all doses, and steers with the sign of either pole. Ablation is
not among the doses.

A measure is `too_few_examples` below `min_positives` sentences, windows of either rating, or prompts; faithfulness is
`always_expressed` if every unsteered text expresses the concept. Requests that fail leave their texts out. Intervals
are over sentences, documents, or prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from neuron_signatures.interventions.side_effects.neutral import load_neutral
from neuron_signatures.llm.chat import ChatRequest
from neuron_signatures.runs.records.names import NeuronPole
from neuron_signatures.runs.scores.names import Control, Scorer
from neuron_signatures.scoring.design import NeuronTexts
from neuron_signatures.scoring.outputs import fade_measures, rating, steering, writing
from neuron_signatures.scoring.outputs.asking import Replies, shown
from neuron_signatures.scoring.outputs.fade_measures import Outcomes, RatedWindow, best_doses, faithfulness
from neuron_signatures.scoring.outputs.generation import labelled
from neuron_signatures.scoring.outputs.intervals import random_of
from neuron_signatures.scoring.outputs.rating import in_requests, rating_requests, read_ratings
from neuron_signatures.scoring.outputs.steering import Steered, steered_texts
from neuron_signatures.scoring.outputs.writing import read_sentences, writing_requests
from neuron_signatures.scoring.scorer import Item, Measured, Scored
from neuron_signatures.scoring.texts import Text, strongest_texts
from neuron_signatures.scoring.tools import Tools

if TYPE_CHECKING:
    from neuron_signatures.scoring.outputs.loaded import LoadedSubject

N_STRONG: Final = 10
N_UNIFORM: Final = 20
"""Windows that are rated."""
WINDOWS_PER_REQUEST: Final = 5
TEXTS_PER_REQUEST: Final = 10
_KEPT: Final = 256


class FadeScorer:
    name: Scorer = "fade"
    prompt_version: str | None = f"{writing.VERSION} {rating.VERSION}"
    controls: frozenset[Control] = frozenset({"own", "other"})
    n_others = 0

    def __init__(self, tools: Tools) -> None:
        self._tools, self._subject = tools, tools.subject_model
        self._neutral = load_neutral(None)
        self._kept: dict[NeuronPole, Steered] = {}

    async def score(self, item: Item, texts: NeuronTexts) -> Scored:
        replies = Replies(self._tools.session, item)
        clarity = await self._clarity(replies, item, texts)
        rated = await self._rated_windows(replies, item, texts)
        steered = await self._subject.use(lambda subject: self._steered(subject, texts))
        ratings = await self._rated_texts(replies, item, steered)
        design, own = self._tools.design, item.control == "own"
        measures = {
            "clarity/fade": clarity,
            "responsiveness/fade": fade_measures.responsiveness(rated, item.at, design, interval=own),
            "purity/fade": fade_measures.purity(rated, item.at, design, interval=own),
            **self._faithfulness(item, steered, ratings),
        }
        return replies.scored(measures, _examples(rated, steered, ratings) if own else [])

    def requests_of(self, item: Item, texts: NeuronTexts) -> Sequence[ChatRequest]:
        """For forecasts: as many as `score` sends at most. Which continuations there are only the model can say; they
        are taken to be 15 short words long, and all different."""
        own = item.control == "own"
        n = steering.N_PROMPTS * (1 + len(steering.DOSES) * (1 + steering.N_RANDOM * own))
        return [
            *writing_requests(item.said.text, self._seed),
            *self._window_requests(item, self._windows(texts)),
            *self._text_requests(item, [" word" * steering.N_NEW] * n),
        ]

    def settings(self) -> dict[str, Any]:
        return {
            "n_requests": writing.N_REQUESTS, "n_sentences": writing.N_SENTENCES, "temperature": writing.TEMPERATURE,
            "n_strong": N_STRONG, "n_uniform": N_UNIFORM, "doses": list(steering.DOSES),
            "n_prompts": steering.N_PROMPTS, "n_random": steering.N_RANDOM, "n_new": steering.N_NEW,
            "neutral": self._neutral.sha256,
        }  # fmt: skip

    @property
    def _seed(self) -> int:
        return self._tools.design.seed

    async def _clarity(self, replies: Replies, item: Item, texts: NeuronTexts) -> Measured:
        """Asks the writer."""
        found = await replies.ask(writing_requests(item.said.text, self._seed), lambda text, _: read_sentences(text))
        written = [text for text, should in labelled(found) if should]
        peaks = await self._subject.use(lambda s: s.peaks(item.at, written)) if written else []
        measured = [peak for peak in peaks if peak is not None]
        design = self._tools.design
        n = round(float(np.median([p.n_positions for p in measured]))) if measured else 1
        natural = fade_measures.stretch_peaks(texts.scored.get("uniform", ()), n, random_of(item.at, design, 25))
        own = item.control == "own"
        return fade_measures.clarity([p.act for p in measured], natural, item.at, design, interval=own)

    async def _rated_windows(self, replies: Replies, item: Item, texts: NeuronTexts) -> list[RatedWindow]:
        windows = self._windows(texts)
        found = await self._ratings(
            replies, self._window_requests(item, windows), [_text(w) for w in windows], WINDOWS_PER_REQUEST
        )
        return [
            RatedWindow(text.window, text.document, text.peak, rated)
            for text, rated in zip(windows, found, strict=True)
            if rated is not None
        ]

    async def _rated_texts(self, replies: Replies, item: Item, steered: Steered) -> dict[str, int | None]:
        """The rating of each different continuation; an empty one expresses nothing, and is not asked about."""
        used = _used(item, steered)
        different = sorted({text for some in used for text in some if text.strip()})
        order = random_of(item.at, self._tools.design, 26).permutation(len(different))
        texts = [different[i] for i in order]
        found = await self._ratings(replies, self._text_requests(item, texts), texts, TEXTS_PER_REQUEST)
        empty = {text: rating.NOT_EXPRESSED for some in used for text in some if not text.strip()}
        return {**empty, **dict(zip(texts, found, strict=True))}

    async def _ratings(
        self, replies: Replies, requests: Sequence[ChatRequest], texts: Sequence[str], per_request: int
    ) -> list[int | None]:
        """One per text; None where the request failed."""
        sizes = [len(some) for some in in_requests(texts, per_request)]
        found = await replies.ask(requests, lambda text, i: read_ratings(text, sizes[i]))
        values: list[int | None] = []
        for reply, n in zip(found, sizes, strict=True):
            values += [None] * n if reply.value is None else reply.value
        return values

    def _window_requests(self, item: Item, windows: Sequence[Text]) -> list[ChatRequest]:
        texts = [_text(w) for w in windows]
        return rating_requests(item.said.text, texts, per_request=WINDOWS_PER_REQUEST, seed=self._seed)

    def _text_requests(self, item: Item, texts: Sequence[str]) -> list[ChatRequest]:
        return rating_requests(item.said.text, texts, per_request=TEXTS_PER_REQUEST, seed=self._seed)

    def _windows(self, texts: NeuronTexts) -> list[Text]:
        """The strongest of the split and some of the uniform sample, each once, in random order."""
        random, split = random_of(texts.at, self._tools.design, 27), self._tools.design.split
        strong = strongest_texts(self._tools.records, texts.at, parts=(split,), k=N_STRONG)
        taken = {text.window for text in strong}
        others = [text for text in texts.scored.get("uniform", ()) if text.window not in taken]
        chosen = [*strong, *(others[i] for i in random.permutation(len(others))[:N_UNIFORM])]
        return [chosen[i] for i in random.permutation(len(chosen))]

    def _steered(self, subject: LoadedSubject, texts: NeuronTexts) -> Steered:
        """Measured once for all explanations that are tried on a neuron."""
        if texts.at not in self._kept:
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[texts.at] = steered_texts(
                subject, self._tools.records, texts.at, texts.largest, self._neutral, self._tools.design
            )
        return self._kept[texts.at]

    def _faithfulness(
        self, item: Item, steered: Steered, ratings: dict[str, int | None]
    ) -> dict[str, Measured]:  # fmt: skip
        design, own = self._tools.design, item.control == "own"
        outcomes = [_outcomes(neuron, steered, ratings) for neuron in steered.neurons[: None if own else 1]]
        found = {"faithfulness/fade": faithfulness(outcomes[0], item.at, design, interval=own)}
        if own:
            others = [faithfulness(one, item.at, design, interval=False) for one in outcomes[1:]]
            found["faithfulness_random/fade"] = _mean(others)
        return found


def _used(item: Item, steered: Steered) -> list[tuple[str, ...]]:
    """Random neurons are beside the own explanation only."""
    cells = steered.texts.items()
    return [steered.clean, *(t for (neuron, _), t in cells if item.control == "own" or neuron == item.at.neuron)]


def _outcomes(neuron: int, steered: Steered, ratings: dict[str, int | None]) -> Outcomes:
    def expressed(texts: Sequence[str]) -> list[bool | None]:
        return [None if (rated := ratings[text]) is None else rated == rating.EXPRESSED for text in texts]

    by_dose = {dose: expressed(texts) for (n, dose), texts in steered.texts.items() if n == neuron}
    return Outcomes(expressed(steered.clean), by_dose)


def _mean(some: Sequence[Measured]) -> Measured:
    values = [one.value for one in some if one.value is not None]
    n = sum(one.n for one in some)
    if not values:
        return Measured(None, None, None, n, None, some[0].undefined if some else "no_neurons")
    return Measured(float(np.mean(values)), None, None, n, None)


def _text(window: Text) -> str:
    return "".join(window.tokens)


def _examples(rated: Sequence[RatedWindow], steered: Steered, ratings: dict[str, int | None]) -> list[dict[str, Any]]:
    """Rated windows, the doses that were chosen for the two halves of the prompts, and continuations."""
    windows = [{"window": w.window, "act": float(f"{w.act:.4g}"), "rating": w.rating} for w in rated]
    doses = [
        {"neuron": n, "doses": list(best_doses(_outcomes(n, steered, ratings)))} for n in steered.neurons
    ]  # fmt: skip
    clean = [_continuation(p, None, 0.0, text, ratings) for p, text in zip(steered.prompts, steered.clean, strict=True)]
    texts = [
        _continuation(prompt, neuron, dose, text, ratings)
        for (neuron, dose), some in steered.texts.items()
        for prompt, text in zip(steered.prompts, some, strict=True)
    ]
    return [*windows, *doses, *clean, *texts]


def _continuation(
    prompt: str, neuron: int | None, dose: float, text: str, ratings: dict[str, int | None]
) -> dict[str, Any]:
    return {"prompt": prompt, "neuron": neuron, "dose": dose, "text": shown(text), "rating": ratings[text]}
