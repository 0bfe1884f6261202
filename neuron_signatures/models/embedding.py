"""Sentence embeddings: texts to unit vectors whose cosine is how alike the texts are.

The model is a transformers encoder with mean pooling, as sentence-transformers publishes them (Reimers and
Gurevych, arXiv 1908.10084); the default, all-MiniLM-L6-v2, comes as a package.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as TokenizerBase
from transformers.utils import cached_file

from neuron_signatures.models.faults import library_faults, quiet_libraries
from neuron_signatures.models.fingerprint import weights_fingerprint
from neuron_signatures.models.hub import Source, find_source
from neuron_signatures.models.load import find_device, refuse_invented_weights
from neuron_signatures.models.packaged import MINILM, find_packaged
from neuron_signatures.models.spec import SMOLLM2_MODEL, ModelSpec
from neuron_signatures.models.tokens import refuse_surrogates
from neuron_signatures.runs.errors import UsageError

DEFAULT_EMBEDDER: Final = MINILM.name
_STEPS: Final = "modules.json"
_POOLING: Final = "1_Pooling/config.json"
_LENGTH: Final = "sentence_bert_config.json"


@dataclass(frozen=True)
class SentenceEmbedder:
    """An encoder in eval mode, float32. `max_tokens` of a text are read, special tokens included; the rest is cut.

    `fingerprint` is that of the weights (see `weights_fingerprint`), None for a model from the Hub.
    """

    name: str
    model: PreTrainedModel
    tokenizer: TokenizerBase
    max_tokens: int
    device: torch.device
    fingerprint: str | None

    @property
    def dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    def embed(self, texts: Sequence[str], *, batch_size: int = 64) -> Float[np.ndarray, "text dim"]:
        """Unit vectors, float32, in the order of `texts`: the mean of the last hidden states over the text's tokens
        (special tokens count, padding does not), divided by its length.

        Texts of like length share a batch; a vector differs between batches by rounding only (about 1e-7). Raises
        `UsageError` for a text with an unpaired surrogate, `ValueError` for a batch size below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}")
        assert not isinstance(texts, str), "a list of texts, not one text"
        for text in texts:
            refuse_surrogates(text)
        out = np.empty((len(texts), self.dimensions), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), batch_size):
            members = order[start : start + batch_size]
            out[members] = self._embed_batch([texts[i] for i in members]).cpu().numpy()
        return out

    @torch.no_grad()
    def _embed_batch(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        batch = batch.to(self.device)
        hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=-1)


def load_embedder(name: str = DEFAULT_EMBEDDER, *, device: str = "auto") -> SentenceEmbedder:
    """The embedder called `minilm` (from its package), in a folder, or on the Hub.

    Raises `UsageError` for a model that does not pool by the mean, `EnvironmentProblem` when it cannot be had.
    """
    spec = ModelSpec(name, dtype="fp32", device=device)
    where_to = find_device(device)
    source = _find(spec)
    common: dict[str, Any] = {"local_files_only": source.local_files_only}
    with library_faults(spec), quiet_libraries():
        _check_steps(spec, source)
        tokenizer = AutoTokenizer.from_pretrained(source.path, **common)
        model, report = AutoModel.from_pretrained(source.path, dtype=torch.float32, output_loading_info=True, **common)
        max_tokens = _max_tokens(spec, source, model)
    report["missing_keys"] = [key for key in report["missing_keys"] if not key.startswith("pooler.")]  # not used
    refuse_invented_weights(spec, report)
    model.eval().requires_grad_(False).to(where_to)
    fingerprint = weights_fingerprint(Path(source.path)) if source.is_local else None
    return SentenceEmbedder(name, model, tokenizer, max_tokens, where_to, fingerprint)


def _find(spec: ModelSpec) -> Source:
    if spec.name == SMOLLM2_MODEL or spec.name.lower().endswith(".gguf"):
        raise UsageError("a language model, not one of sentence embeddings", where=f"model {spec.name}")
    if spec.name == MINILM.name:
        return Source(str(find_packaged(MINILM).parent), is_local=True, local_files_only=True)
    return find_source(spec)


def _check_steps(spec: ModelSpec, source: Source) -> None:
    """Refuse models that do more or other than an encoder, mean pooling and normalisation."""
    where = f"model {spec.name}"
    steps = [str(step["type"]).rpartition(".")[2] for step in _read_json(source, _STEPS, list)]
    if steps not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UsageError(f"its steps are {', '.join(steps)}; only mean pooling is supported", where=where)
    pooling = _read_json(source, _POOLING, dict)
    ways = sorted(key for key, on in pooling.items() if key.startswith("pooling_mode_") and on)
    if ways != ["pooling_mode_mean_tokens"]:
        raise UsageError(f"pools by {', '.join(ways) or 'nothing'}; mean pooling is needed", where=where)


def _max_tokens(spec: ModelSpec, source: Source, model: PreTrainedModel) -> int:
    """Tokens of a text that are read: at least one beside the two special ones, at most the encoder's positions."""
    most = _read_json(source, _LENGTH, dict).get("max_seq_length")
    if not isinstance(most, int) or not 3 <= most <= model.config.max_position_embeddings:
        raise UsageError(f"max_seq_length is {most!r} in {_LENGTH}", where=f"model {spec.name}")
    return most


def _read_json(source: Source, name: str, kind: type) -> Any:
    path = cached_file(source.path, name, local_files_only=source.local_files_only)
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(record, kind):
        raise ValueError(f"{name} holds no {kind.__name__}")
    return record
