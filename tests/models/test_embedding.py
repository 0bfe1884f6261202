"""Sentence embeddings: masked means of the last hidden states, as unit vectors; other poolings are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertTokenizer

from neuron_signatures.models.embedding import load_embedder
from neuron_signatures.models.faults import quiet_libraries
from neuron_signatures.runs.errors import UsageError

TEXTS = ["the sun is hot", "rain", "the rain is in the sun and the sun is in the rain", ""]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "sun", "rain", "is", "hot", "in", "and"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random encoder in the layout of sentence-transformers, which reads eight tokens of a text."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        initializer_range=0.5,
    )  # fmt: skip
    with quiet_libraries():
        AutoModel.from_config(config).save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    write_pooling(folder, "mean_tokens")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    return folder


def write_pooling(folder: Path, *ways: str) -> None:
    record = {"word_embedding_dimension": 16} | {
        f"pooling_mode_{w}": w in ways for w in ("cls_token", "mean_tokens", "max_tokens")
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(record))


def test_is_the_mean_of_the_last_hidden_states_of_each_text_alone(folder: Path) -> None:
    embedder = load_embedder(str(folder), device="cpu")
    got = embedder.embed(TEXTS, batch_size=3)
    assert got.shape == (4, 16) and got.dtype == np.float32 and embedder.dimensions == 16
    for text, vector in zip(TEXTS, got, strict=True):
        ids = embedder.tokenizer(text)["input_ids"]
        ids = ids if len(ids) <= 8 else [*ids[:7], ids[-1]]
        with torch.no_grad():
            mean = embedder.model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(got, embedder.embed(TEXTS, batch_size=1), atol=1e-6)
    assert embedder.embed([]).shape == (0, 16)


def test_other_poolings_are_refused(folder: Path) -> None:
    for ways in (("cls_token",), ("cls_token", "mean_tokens"), ()):
        write_pooling(folder, *ways)
        with pytest.raises(UsageError, match="mean pooling is needed"):
            load_embedder(str(folder), device="cpu")
    write_pooling(folder, "mean_tokens")


@pytest.mark.real
def test_minilm_gives_the_published_similarities() -> None:
    """The three sentences and similarities of sentence-transformers' own quickstart for all-MiniLM-L6-v2."""
    embedder = load_embedder(device="cpu")
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = embedder.embed(texts)
    assert (embedder.dimensions, embedder.max_tokens) == (384, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    want = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, want, atol=1e-4)
