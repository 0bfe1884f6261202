"""Targets: token, position and the model's prediction; a wrong token is an error."""

from __future__ import annotations

import pytest
import torch
from attribution_cases import LENGTH, REQUIRED, loaded, token_ids
from tiny_models import VOCAB, build_config, build_tokenizer
from transformers import AutoModelForCausalLM, GraniteConfig

from neuron_signatures.analysis.attribution.readout import function_value
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.analysis.tokens.vocab import explicit_tokens, single_token
from neuron_signatures.models.load import LoadedModel
from neuron_signatures.models.spec import ModelSpec
from neuron_signatures.models.weights import unembedding
from neuron_signatures.runs.errors import ExitCode, UsageError

AUSTIN = {"gpt2": 290, "llama": 346, "gemma2": 348}  # " Austin" in the tiny tokenizers


def logits_of(name: str) -> torch.Tensor:
    """The model's own logits (after its soft cap), at every position."""
    with torch.no_grad():
        return loaded(name).hf(input_ids=torch.tensor([token_ids()])).logits[0]


def resolve(name: str, *args: object, **kwargs: object) -> tuple:
    return resolve_target(loaded(name), token_ids(), TargetRequest(*args, **kwargs))[:2]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*REQUIRED, "opt"])
def test_facts_are_what_the_model_predicts(name: str) -> None:
    target, facts = resolve(name, "top1_logit", foil_id=9)
    logits = logits_of(name)[-1]
    assert target == Target(LENGTH - 1, int(logits.argmax()), 9, "pre_cap_logit", "top1_logit")
    for fact, token in ((facts.target, target.token_id), (facts.foil, 9)):
        assert fact.token_id == token
        assert fact.logit == pytest.approx(float(logits[token]), abs=1e-5)
        assert fact.probability == pytest.approx(float(logits.softmax(-1)[token]), rel=1e-4)
        assert fact.rank == int((logits > logits[token]).sum())
    assert [t.token_id for t in facts.top] == logits.topk(5).indices.tolist()
    assert facts.target.rank == 0 and facts.foil.rank > 0
    assert facts.value == pytest.approx(facts.target.pre_cap_logit - facts.foil.pre_cap_logit, abs=1e-6)


def test_facts_before_and_after_the_soft_cap() -> None:
    cap = 30.0
    _, facts = resolve("gemma2", "top1_logit")
    assert facts.soft_cap == cap
    assert facts.target.logit < facts.target.pre_cap_logit - 1e-4
    assert facts.target.logit == pytest.approx(cap * torch.tanh(torch.tensor(facts.target.pre_cap_logit / cap)).item())
    assert resolve("llama", "top1_logit")[1].soft_cap is None


@pytest.mark.parametrize("foil", [None, 9])
@pytest.mark.parametrize("function", ["pre_cap_logit", "logit", "logprob"])
def test_the_value_is_the_function(function: str, foil: int | None) -> None:
    target, facts = resolve("gemma2", "top1_logit", foil_id=foil, function=function)
    after = logits_of("gemma2")[-1]
    before = 30 * torch.atanh(after / 30)
    values = {"pre_cap_logit": before, "logit": after, "logprob": after.log_softmax(-1)}[function]
    want = float(values[target.token_id] - (values[foil] if foil is not None else 0))
    assert facts.value == pytest.approx(want, abs=1e-4)
    hf = loaded("gemma2").hf
    with torch.no_grad():
        hidden = hf.model(input_ids=torch.tensor([token_ids()])).last_hidden_state[:, -1]
    assert float(function_value(unembedding(hf), hidden, target)[0]) == pytest.approx(want, abs=1e-4)


def test_the_modes_choose_position_and_token() -> None:
    ids = token_ids()
    assert resolve("gpt2", "last_token")[0] == Target(LENGTH - 2, ids[-1], None, "pre_cap_logit", "last_token")
    assert resolve("gpt2", "last_token", pos=LENGTH - 2)[0].pos == LENGTH - 2
    assert resolve("gpt2", "next_token", pos=3)[0].token_id == ids[4]
    assert resolve("gpt2", "next_token", pos=-4)[0].token_id == ids[LENGTH - 3]
    given = resolve("gpt2", "next_token", token=" Austin", foil=" Dallas")[0]
    assert given.token_id == AUSTIN["gpt2"] and given.foil_id is not None and given.pos == LENGTH - 1
    assert resolve("gpt2", "next_token", token_id=0)[0].token_id == 0
    assert resolve("gpt2", "top1_logit", pos=4)[0].token_id == int(logits_of("gpt2")[4].argmax())


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (TargetRequest("top1_logit", token_id=5), "target_mode top1_logit: the target is the most likely token"),
        (TargetRequest("last_token", token=" Austin"), "the target is the prompt's last token, at position 9"),
        (TargetRequest("last_token", pos=3), "the target is the prompt's last token, at position 9"),
        (TargetRequest("next_token"), "no token follows the prompt's last one. Give --target_token"),
        (TargetRequest("next_token", token=" Austin", token_id=5), "give the token or its id, not both"),
        (TargetRequest("next_token", token_id=VOCAB), f"--target_token_id: {VOCAB} is not in 0..{VOCAB - 1}"),
        (TargetRequest("next_token", token_id=-1), "--target_token_id: -1 is not in"),
        (TargetRequest("top1_logit", foil_id=9999), "--foil_token_id: 9999 is not in"),
        (TargetRequest("top1_logit", foil=" no such"), "--foil_token: '·no such' is not one token"),
        (TargetRequest("next_token", token_id=8, foil_id=8), "the foil is the target"),
        (TargetRequest("top1_logit", pos=LENGTH), f"--target_pos: {LENGTH} is not in a prompt of {LENGTH} tokens"),
        (TargetRequest("top1_logit", pos=-LENGTH - 1), f"--target_pos: {-LENGTH - 1} is not in a prompt"),
    ],
)
def test_a_contradiction_is_refused(request_: TargetRequest, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_target(loaded("gpt2"), token_ids(), request_)
    assert message in caught.value.line() and caught.value.exit_code == ExitCode.USAGE


def test_a_single_token_has_nothing_that_predicts_it() -> None:
    with pytest.raises(UsageError, match="nothing predicts it"):
        resolve_target(loaded("gpt2"), [5], TargetRequest("last_token"))


@pytest.mark.parametrize("name", AUSTIN)
def test_a_token_is_taken_with_its_space(name: str) -> None:
    assert single_token(build_tokenizer(name), " Austin", where="flag") == AUSTIN[name]


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_the_space_is_not_guessed_and_the_tokens_are_shown(name: str) -> None:
    tokenizer = build_tokenizer(name)
    with pytest.raises(UsageError) as caught:
        single_token(tokenizer, "Austin", where="--target_token")
    a = tokenizer.convert_tokens_to_ids("A")
    line = caught.value.line()
    assert line.startswith("--target_token: 'Austin' is not one token: 'Austin' is 'A' ")
    assert f"'A' {a}, 'u' " in line and f"; '·Austin' is '·Austin' {AUSTIN[name]}. " in line


def test_a_tokenizer_that_adds_a_space_does_not_change_the_token() -> None:
    """Llama's encodes `Austin` and ` Austin` alike; its vocabulary has no `Austin` here, but it has `A` and ` a`."""
    tokenizer = build_tokenizer("llama")
    with pytest.raises(UsageError, match="'Austin' is '·Austin' 346"):
        single_token(tokenizer, "Austin", where="flag")
    assert single_token(tokenizer, "A", where="flag") == tokenizer.convert_tokens_to_ids("A")
    assert single_token(tokenizer, " a", where="flag") == tokenizer.convert_tokens_to_ids("▁a")
    assert single_token(tokenizer, "a", where="flag") == tokenizer.convert_tokens_to_ids("a")


@pytest.mark.parametrize("text", ["", " Austin Dallas", "\x1b]52;c;x\x07", "\ud800"])
def test_other_texts_are_refused_in_one_printable_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        single_token(build_tokenizer("gpt2"), text, where="flag")
    assert caught.value.line().isprintable()


def test_explicit_tokens_keep_their_spaces() -> None:
    tokenizer = build_tokenizer("gpt2")
    got = explicit_tokens(tokenizer, " Austin| Dallas|A")
    assert [tokenizer.decode([i]) for i in got] == [" Austin", " Dallas", "A"]
    for wrong in ("Austin", " Austin|", "", " Austin| no such"):
        with pytest.raises(UsageError, match="--explicit_tokens"):
            explicit_tokens(tokenizer, wrong)


def test_a_model_that_scales_its_logits_is_refused() -> None:
    config = {k: v for k, v in build_config("llama").to_dict().items() if k not in ("model_type", "architectures")}
    hf = AutoModelForCausalLM.from_config(GraniteConfig(**config, logits_scaling=4.0)).eval()
    model = LoadedModel(hf, build_tokenizer("llama"), ModelSpec("granite"), torch.device("cpu"))
    with pytest.raises(UsageError, match="not those of its unembedding and soft cap"):
        resolve_target(model, token_ids(), TargetRequest("top1_logit"))
