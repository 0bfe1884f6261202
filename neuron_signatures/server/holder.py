"""The one model that the server holds: loaded, switched and unloaded on the model's thread."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import Final, NamedTuple

from neuron_signatures.api.models import LoadRequest, ModelFacts, ModelState
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.catalog import SUGGESTIONS
from neuron_signatures.models.fit import fit_to_memory
from neuron_signatures.models.hub import resolved_commit
from neuron_signatures.models.info import model_info
from neuron_signatures.models.load import LoadedModel, find_device, load_config, load_model
from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, ModelSpec
from neuron_signatures.models.tokens import adds_bos, context_length
from neuron_signatures.runs.errors import EnvironmentProblem, ProjectError, UsageError
from neuron_signatures.server.held import Held
from neuron_signatures.server.memory import forget_frames, free_caches
from neuron_signatures.server.problems import problem_error, unavailable
from neuron_signatures.server.settings import Settings, default_dtype

log = logging.getLogger(__name__)

LOADING_RETRY: Final = 2
"""Seconds after which to ask again while a model is loaded."""
_REVISION: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
"""A branch, tag or commit, which is part of a path in the Hub's cache."""


class Resolved(NamedTuple):
    """What is loaded, and why it is quantised or not (empty if that was asked for)."""

    spec: ModelSpec
    reason: str


class Holder:
    """`held` is the model, used by the model's thread alone. `state` says to all threads what is loaded or why not.

    `failure` is the error of the last load, None if it succeeded.
    """

    def __init__(self, settings: Settings, held: Held | None = None) -> None:
        self._settings = settings
        self.held = held
        self.state = ModelState(state="none") if held is None else _ready(held)
        self.failure: ProjectError | None = None
        self._wanted: LoadRequest | None = None

    def names(self) -> tuple[str, ...]:
        """The models that may be loaded, those of the command line first."""
        first = (self._settings.model_name,) if self._settings.model_name is not None else ()
        suggested = (s.model_name for s in SUGGESTIONS)
        return tuple(dict.fromkeys((*first, *self._settings.allow_models, DEMO_MODEL, SMOLLM2_MODEL, *suggested)))

    def announce(self, wanted: LoadRequest) -> bool:
        """Whether `wanted` has to be loaded; if so, the state becomes loading.

        Raises `ProblemError` 403 for a model that is not on the list and 503 while another one, or this one in another
        form, is loaded; `UsageError` for what is no revision.
        """
        if wanted.model_name not in self.names():
            step = "GET /v1/models lists what may be loaded; --allow_model adds to it"
            raise problem_error(403, "forbidden", f"the server does not load {wanted.model_name!r}", next_step=step)
        if wanted.model_revision is not None and not _REVISION.fullmatch(wanted.model_revision):
            raise UsageError("not a branch, tag or commit", where=f"model_revision {wanted.model_revision[:60]!r}")
        wanted = wanted.model_copy(update={"wait_seconds": 0.0})
        if self.state.state in ("loading", "ready") and wanted == self._wanted:
            return False
        if self.state.state == "loading":  # each load of a queue would be of a state that the next one ends
            raise unavailable(f"{self.state.model_name} is being loaded", retry_after=LOADING_RETRY)
        self._wanted = wanted
        self.state = ModelState(state="loading", model_name=wanted.model_name)
        return True

    def load(self, wanted: LoadRequest, *, warn: bool = True) -> None:
        """Unload the present model and load this one. A `ProjectError` ends in the state failed, with a warning."""
        self.unload()
        start, failure, held = time.monotonic(), "a defect of the server; its log says more", None
        try:
            held = _load(wanted, self._settings, start)
            self.failure = None
            log.info("loaded %s in %.1f s", wanted.model_name, held.facts.loaded_seconds)
        except ProjectError as e:
            forget_frames(e)  # which hold what was loaded of the model
            self.failure, failure = e, e.line()
            if warn:
                log.warning("loading %s failed: %s", wanted.model_name, failure)
        finally:
            if held is None:
                free_caches()
            self.held = held
            failed = ModelState(state="failed", model_name=wanted.model_name, failure=failure)
            self.state = _ready(held) if held is not None else failed

    def announce_none(self) -> None:
        """The state becomes none; `unload` is to follow."""
        self._wanted = None
        self.state = ModelState(state="none")

    def unload(self) -> None:
        """Drop the model and give its memory back."""
        self.held = None
        free_caches()


def _ready(held: Held) -> ModelState:
    return ModelState(state="ready", model_name=held.facts.model_name, facts=held.facts)


def _load(wanted: LoadRequest, settings: Settings, start: float) -> Held:
    resolved = _resolved_spec(wanted, settings)
    model = load_model(resolved.spec, quiet=True)
    facts = model_facts(model, resolved.reason, seconds=time.monotonic() - start)
    most = min(settings.max_tokens, facts.context or settings.max_tokens)
    return Held(model, facts, settings.runs_root, most)


def _resolved_spec(wanted: LoadRequest, settings: Settings) -> Resolved:
    """The model to load, with the server's defaults and the quantisation that `auto` means.

    Raises `EnvironmentProblem` for a model that fits in no form: if the system kills a process for its memory, it is
    the server. `quantization` none tries it.
    """
    device = settings.device if wanted.device is None else wanted.device
    dtype = wanted.model_dtype or settings.model_dtype or default_dtype(find_device(device).type)
    spec = ModelSpec(wanted.model_name, revision=wanted.model_revision, dtype=dtype, device=device)
    if wanted.quantization != "auto":
        return Resolved(replace(spec, quantization=wanted.quantization), "")
    config = load_config(spec)
    found = fit_to_memory(replace(spec, may_quantize=True), config, model_info(spec, config))
    if found.warning:
        raise EnvironmentProblem(found.warning, where=f"model {spec.name}", next_step="quantization none tries it")
    return Resolved(found.spec, found.reason)


def model_facts(model: LoadedModel, reason: str = "", *, seconds: float = 0.0) -> ModelFacts:
    """What is known of a loaded model. Raises `UsageError` for an architecture without MLP neurons."""
    shape = mlp_shape(model.hf)
    return ModelFacts(
        model_name=model.spec.name,
        model_revision=resolved_commit(model.spec),
        architecture=type(model.hf).__name__,
        n_layers=shape.n_layers,
        d_mlp=shape.d_mlp,
        d_model=model.config.get_text_config().hidden_size,
        vocab=model.hf.get_input_embeddings().weight.shape[0],
        context=context_length(model.config),
        parameters=model.hf.num_parameters(),
        dtype=model.spec.dtype,
        device=str(model.device),
        quantization=model.spec.quantization,
        quantization_reason=reason,
        weights_bytes=model.hf.get_memory_footprint(),
        adds_bos=adds_bos(model.tokenizer),
        loaded_seconds=round(seconds, 3),
    )
