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
from neuron_signatures.models.load import find_device
from neuron_signatures.models.packaged import MINILM, find_packaged
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.runs.errors import UsageError

DEFAULT_EMBEDDER: Final = MINILM.name
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

        Texts of like length share a batch; a vector differs between batches by rounding only (about 1e-7).
        """
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
        pooling = _read_json(source, _POOLING)
        max_tokens = int(_read_json(source, _LENGTH)["max_seq_length"])
        tokenizer = AutoTokenizer.from_pretrained(source.path, **common)
        model = AutoModel.from_pretrained(source.path, dtype=torch.float32, **common)
    ways = sorted(key for key, on in pooling.items() if key.startswith("pooling_mode_") and on)
    if ways != ["pooling_mode_mean_tokens"]:
        raise UsageError(f"pools by {', '.join(ways) or 'nothing'}; mean pooling is needed", where=f"model {name}")
    model.eval().requires_grad_(False).to(where_to)
    fingerprint = weights_fingerprint(Path(source.path)) if source.is_local else None
    return SentenceEmbedder(name, model, tokenizer, max_tokens, where_to, fingerprint)


def _find(spec: ModelSpec) -> Source:
    if spec.name == MINILM.name:
        return Source(str(find_packaged(MINILM).parent), is_local=True, local_files_only=True)
    return find_source(spec)


def _read_json(source: Source, name: str) -> dict[str, Any]:
    path = cached_file(source.path, name, local_files_only=source.local_files_only)
    record: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return record
