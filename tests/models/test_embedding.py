"""Sentence embeddings: masked means of the last hidden states, as unit vectors; other poolings are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertTokenizer

from neuron_signatures.models.embedding import load_embedder
from neuron_signatures.models.faults import quiet_libraries
from neuron_signatures.runs.errors import EnvironmentProblem, UsageError

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
    write_steps(folder, "Transformer", "Pooling", "Normalize")
    return folder


def write_steps(folder: Path, *kinds: str) -> None:
    steps = [{"idx": i, "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(steps))


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


def test_further_steps_are_refused(folder: Path) -> None:
    write_steps(folder, "Transformer", "Pooling", "Dense", "Normalize")
    with pytest.raises(UsageError, match="its steps are Transformer, Pooling, Dense, Normalize"):
        load_embedder(str(folder), device="cpu")
    write_steps(folder, "Transformer", "Pooling", "Normalize")


@pytest.mark.parametrize("most", [None, [], -1, 2, 9999, "8"])
def test_a_text_length_that_makes_no_sense_is_refused(folder: Path, most: object) -> None:
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": most}))
    with pytest.raises(UsageError, match="max_seq_length is"):
        load_embedder(str(folder), device="cpu")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')


def test_missing_weights_are_refused_not_invented(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    weights = load_file(copy / "model.safetensors")
    kept = {name: w for name, w in weights.items() if ".layer.1." not in name}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EnvironmentProblem, match=r"lacks \d+ weights"):
        load_embedder(str(copy), device="cpu")


def test_texts_that_cannot_be_embedded_are_refused(folder: Path) -> None:
    embedder = load_embedder(str(folder), device="cpu")
    with pytest.raises(UsageError, match="surrogate"):
        embedder.embed(["a\ud800"])
    with pytest.raises(ValueError, match="batch_size is 0"):
        embedder.embed(["a"], batch_size=0)
    for name in ("smollm2", "some.gguf"):
        with pytest.raises(UsageError, match="a language model"):
            load_embedder(name)


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
