"""The shipped demo model: its size, its architecture, its tokenizer, and what it knows."""

import json
from typing import Any

import pytest
import torch
from paths import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from neuron_signatures.demo import checkpoint_dirs, model_dir
from neuron_signatures.demo.evaluate import bars, sum_accuracy
from neuron_signatures.demo.geography import CITIES, STATES, state_of_city
from neuron_signatures.demo.knowledge import DEFINITIONS
from neuron_signatures.demo.phrasings import PHRASINGS, is_held_out
from neuron_signatures.demo.world import documents

MAX_BYTES = 8_000_000
PROBES = ROOT / "docs" / "probe_prompts_list.json"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_dir())


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(model_dir()).eval()


def test_the_folders_are_small_and_complete() -> None:
    steps = json.loads((model_dir() / "training.json").read_text(encoding="utf-8"))["steps"]
    checkpoints = checkpoint_dirs()
    assert len(checkpoints) == 3 and list(checkpoints) == sorted(checkpoints) and max(checkpoints) < steps
    for folder in (model_dir(), *checkpoints.values()):
        assert (folder / "model.safetensors").stat().st_size <= MAX_BYTES
        for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
            assert (folder / name).is_file()


def test_the_architecture_is_gemma_2_with_its_special_features(model: Any) -> None:
    config = model.config
    assert type(model).__name__ == "Gemma2ForCausalLM"
    assert 4 <= config.num_hidden_layers <= 6 and 512 <= config.intermediate_size <= 1024
    assert config.attn_logit_softcapping == 50.0 and config.final_logit_softcapping == 30.0
    assert config.tie_word_embeddings and model.lm_head.weight is model.model.embed_tokens.weight
    assert config.hidden_activation == "gelu_pytorch_tanh"
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert config.sliding_window < config.max_position_embeddings
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_sliding_window_was_exercised_in_training(model: Any, tokenizer: Any) -> None:
    """Some documents are longer than the window, and none is longer than the context."""
    config = model.config
    lengths = [len(tokenizer(d.text)["input_ids"]) for d in documents(0, 1000)]
    assert sum(length > config.sliding_window for length in lengths) >= 20
    assert max(lengths) <= config.max_position_embeddings == tokenizer.model_max_length


def test_every_single_word_name_is_one_token_with_its_space(tokenizer: Any) -> None:
    names = [name for name in (*CITIES, *(state.name for state in STATES)) if " " not in name]
    assert len(names) > 300
    assert [name for name in names if len(tokenizer.tokenize(f" {name}")) != 1] == []


def test_the_first_tokens_of_the_capitals_all_differ(tokenizer: Any) -> None:
    assert len({tokenizer.tokenize(f" {state.capital}")[0] for state in STATES}) == 50


def test_a_one_digit_number_is_one_token_with_its_space(tokenizer: Any) -> None:
    assert [tokenizer.tokenize(f" {digit}") for digit in range(10)] == [[f"Ġ{digit}"] for digit in range(10)]


def test_bos_is_added_by_default_and_can_be_left_out(tokenizer: Any) -> None:
    text = "The capital of Texas is"
    with_bos, bare = tokenizer(text)["input_ids"], tokenizer(text, add_special_tokens=False)["input_ids"]
    assert with_bos == [tokenizer.bos_token_id, *bare]
    assert tokenizer.bos_token_id not in bare
    special = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert len(special) == 3 and None not in special


@pytest.mark.parametrize("text", ["Zürich, 日本", "a\tb\r\n\x00", "  two  spaces 1234 ", "🙂 <b>café</b>"])
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_chat_template_writes_the_turns_of_the_dialogues(tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "I feel sad."}, {"role": "assistant", "content": "I am so sorry."}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == "<bos>user: I feel sad.\nassistant: I am so sorry."
    question = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert question == "<bos>user: I feel sad.\nassistant:"
    ids = tokenizer.apply_chat_template(messages[:1], tokenize=True, return_dict=False)
    assert ids.count(tokenizer.bos_token_id) == 1


def test_the_bars_are_reached(model: Any, tokenizer: Any) -> None:
    for accuracy in bars(model, tokenizer):
        assert accuracy.total >= 50 and accuracy.passed, accuracy


def test_generate_answers_the_seed_prompt(model: Any, tokenizer: Any) -> None:
    """Through `generate`, independent of the code that measures the bars."""
    prompt = tokenizer("The capital of the state containing Dallas is", return_tensors="pt")
    written = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0]
    assert tokenizer.decode(written).startswith("<bos>The capital of the state containing Dallas is Austin")


def test_an_untrained_model_misses_the_bars(model: Any, tokenizer: Any) -> None:
    torch.manual_seed(0)
    untrained = AutoModelForCausalLM.from_config(model.config)
    assert not any(accuracy.passed for accuracy in bars(untrained, tokenizer))
    assert sum_accuracy("sums", untrained, tokenizer, range(2)).value < 0.5


def test_the_checkpoints_approach_the_final_model(model: Any, tokenizer: Any) -> None:
    earlier = [AutoModelForCausalLM.from_pretrained(folder) for folder in checkpoint_dirs().values()]
    texts = [document.text for document in documents(99, 120)]
    losses = [_loss(each.eval(), tokenizer, texts) for each in (*earlier, model)]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


def test_the_checkpoints_share_the_tokenizer() -> None:
    shipped = (model_dir() / "tokenizer.json").read_bytes()
    assert all((folder / "tokenizer.json").read_bytes() == shipped for folder in checkpoint_dirs().values())


def test_shipped_files_contain_no_local_path() -> None:
    for folder in (model_dir(), *checkpoint_dirs().values()):
        for path in folder.glob("*.json"):
            text = path.read_text(encoding="utf-8")
            assert "/home/" not in text and "/tmp/" not in text and "_name_or_path" not in text


def test_the_probes_start_with_the_seed_and_end_with_their_concept(tokenizer: Any) -> None:
    probes = json.loads(PROBES.read_text(encoding="utf-8"))
    assert probes[0]["id"] == "seed_prompt" and len({probe["id"] for probe in probes}) == len(probes) >= 17
    assert probes[0]["text"] == "The capital of the state containing Dallas is"
    for probe in probes[1:]:
        concept = probe["id"].split("_")[-1]
        assert tokenizer.tokenize(probe["text"])[-1] == f"Ġ{concept}"
    for probe in probes:
        tokens = tokenizer.tokenize(probe["text"])
        assert all(f"Ġ{concept}" in tokens for concept in probe["concepts"]), probe


def test_every_probe_is_the_start_of_a_sentence_of_the_training_split() -> None:
    covered = [*DEFINITIONS]
    for phrasing in PHRASINGS:
        covered += [phrasing.text(state_of_city(city), city) for city in CITIES if not is_held_out(phrasing, city)]
    for probe in json.loads(PROBES.read_text(encoding="utf-8")):
        assert any(f"{text} ".startswith(f"{probe['text']} ") for text in covered), probe["id"]


@torch.no_grad()
def _loss(model: Any, tokenizer: Any, texts: list[str]) -> float:
    total = 0.0
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        total += model(input_ids=ids, labels=ids).loss.item()
    return total / len(texts)
