"""Side effects: on which texts, compared with the bridge's hooks, and hand-made perplexities."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from attribution_cases import loaded
from tiny_models import ARCHITECTURES

from neuron_signatures.interventions.changes import Changes, joined, setting
from neuron_signatures.interventions.controls.random_sets import write_norms
from neuron_signatures.interventions.edits import Edit
from neuron_signatures.interventions.session import Session
from neuron_signatures.interventions.side_effects.elsewhere import at_latest
from neuron_signatures.interventions.side_effects.measure import Found, SideEffectSettings, side_effects
from neuron_signatures.interventions.side_effects.neutral import Neutral, NeutralText, load_neutral
from neuron_signatures.interventions.side_effects.perplexity import perplexity, token_losses
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.models.tokens import encode_text
from neuron_signatures.runs.errors import UsageError

SHORT = Neutral(
    (NeutralText("the capital of"), NeutralText("in Dallas and Austin is"), NeutralText("the er")),
    "the capital of Dallas is in Austin and the capital is on",
    "short",
)
CELLS = setting(
    torch.tensor([1, 2, 2]), torch.tensor([4, 4, 4]), torch.tensor([3, 5, 60]), torch.tensor([2.0, -3.0, 1.5])
)


@functools.cache
def session(name: str) -> Session:
    return Session(loaded(name), (3, 4, 5))


def measured(name: str, changes: Changes, neutral: Neutral = SHORT, *, n_sets: int = 4, seed: int = 0) -> Found:
    model = loaded(name)
    norms = write_norms(model.hf, [5, 6, 7])
    return side_effects(model, changes, neutral, SideEffectSettings(True, n_sets, seed, batch=3), norms=norms)


def edits_at(pos: tuple[int, ...]) -> list[Edit]:
    return [Edit(1, (3,), pos, "set", 2.0), Edit(2, (5, 60), pos, "set", (-3.0, 1.5))]


@pytest.mark.parametrize("name", [*ARCHITECTURES, "demo"])
def test_equal_the_bridge(name: str) -> None:
    record = measured(name, CELLS).record
    tokenizer = loaded(name).tokenizer
    for prompt, found in zip(SHORT.prompts, record.prompts, strict=True):
        ids = encode_text(tokenizer, prompt.text, prepend_bos=True)
        clean, edited = (session(name).logits(ids, e)[-1].log_softmax(-1) for e in ((), edits_at((len(ids) - 1,))))
        kl = float((clean.exp() * (clean - edited)).sum())
        assert found.kl == pytest.approx(kl, abs=2e-5, rel=1e-3)
        top = int(clean.argmax())
        assert found.probability_before == pytest.approx(float(clean[top].exp()), abs=1e-5)
        assert found.probability_after == pytest.approx(float(edited[top].exp()), abs=1e-5)
    ids = encode_text(tokenizer, SHORT.held_out, prepend_bos=True)
    for edits, ppl in (
        ([], record.perplexity_before),
        (edits_at(tuple(range(1, len(ids)))), record.perplexity_after),
    ):
        logprobs = session(name).logits(ids, edits).log_softmax(-1)
        nll = [-float(logprobs[i, ids[i + 1]]) for i in range(len(ids) - 1)]
        assert ppl == pytest.approx(math.exp(sum(nll) / len(nll)), rel=1e-4)


def test_additions_equal_the_bridge() -> None:
    added = Changes(CELLS.layer, CELLS.pos, CELLS.neuron, torch.ones(3), CELLS.offset)
    found = measured("gemma2", added).record.prompts[1]
    ids = encode_text(loaded("gemma2").tokenizer, SHORT.prompts[1].text, prepend_bos=True)
    edits = [Edit(e.layer, e.neurons, (len(ids) - 1,), "add", e.values) for e in edits_at((0,))]
    clean, edited = (session("gemma2").logits(ids, e)[-1].log_softmax(-1) for e in ((), edits))
    assert found.kl == pytest.approx(float((clean.exp() * (clean - edited)).sum()), abs=1e-5)


def test_clean_values_change_nothing() -> None:
    model = loaded("llama")
    one = Neutral(SHORT.prompts[:1], "the capital", "one")
    ids = encode_text(model.tokenizer, one.prompts[0].text, prepend_bos=True)
    acts = recompute(model, ids)[:, -1]
    layer, neuron = torch.tensor([0, 1, 2]), torch.tensor([7, 8, 9])
    record = measured("llama", setting(layer, torch.zeros_like(layer), neuron, acts[layer, neuron]), one).record
    assert record.kl_mean == pytest.approx(0, abs=1e-6)
    assert record.n_top_changed == 0
    assert record.random is not None and record.random.kl_high == pytest.approx(0, abs=1e-6)


def test_adding_nothing_changes_nothing() -> None:
    nothing = Changes(CELLS.layer, CELLS.pos, CELLS.neuron, torch.ones(3), torch.zeros(3))
    record = measured("qwen3", nothing).record
    assert record.kl_max == pytest.approx(0, abs=1e-6)
    assert record.perplexity_after == record.perplexity_before


def test_latest_position_counts() -> None:
    earlier = setting(torch.tensor([1]), torch.tensor([2]), torch.tensor([3]), torch.tensor([99.0]))
    assert at_latest(joined([earlier, CELLS])).offset.tolist() == [2.0, -3.0, 1.5]
    assert measured("gpt2", joined([earlier, CELLS])).record == measured("gpt2", CELLS).record


def test_random_sets() -> None:
    record, again, other = (measured("gpt2", CELLS, seed=s).record.random for s in (0, 0, 1))
    assert record is not None and record == again and record != other
    assert record.n_sets == 4
    assert 0 < record.kl_low <= record.kl_mean <= record.kl_high
    assert measured("gpt2", CELLS, n_sets=0).record.random is None


def test_a_set_with_all_neurons_of_a_layer_has_no_other_sets_but_permutations() -> None:
    """Every random set has all neurons of the layer, whose deltas differ."""
    n = 72  # of tiny OPT
    whole = setting(torch.ones(n).long(), torch.zeros(n).long(), torch.arange(n), torch.linspace(-1, 1, n))
    assert measured("opt", whole).record.random is not None


def test_facts_are_counted_over_continuations_of_one_token() -> None:
    model = loaded("demo")
    texts = ("the capital of", "in the")
    ids = [encode_text(model.tokenizer, t, prepend_bos=True) for t in texts]
    tops = [int(session("demo").logits(i)[-1].argmax()) for i in ids]
    known = model.tokenizer.decode([tops[0]])
    neutral = Neutral(
        (NeutralText(texts[0], known), NeutralText(texts[1], " a word of many tokens"), NeutralText(texts[1])),
        SHORT.held_out,
        "facts",
    )
    record = measured("demo", CELLS, neutral).record
    assert (record.facts, record.facts_before) == (1, 1)


def test_perplexity_of_equally_likely_tokens_is_their_number() -> None:
    model = loaded("gpt2")
    vocab = model.config.vocab_size
    hook = model.hf.transformer.ln_f.register_forward_hook(lambda *args: torch.zeros_like(args[2]))
    try:
        assert perplexity(model, [5, 6, 7]) == pytest.approx(vocab, rel=1e-5)
    finally:
        hook.remove()


def test_perplexity_from_a_position_on() -> None:
    model = loaded("qwen2")
    losses = token_losses(model, [5, 6, 7, 8])
    assert len(losses) == 3
    assert perplexity(model, [5, 6, 7, 8], first=3) == pytest.approx(math.exp(float(losses[2])), rel=1e-5)
    assert perplexity(model, [5, 6, 7, 8], first=2) == pytest.approx(math.exp(float(losses[1:].mean())), rel=1e-5)


def test_prompts_that_are_too_long_or_short_are_left_out() -> None:
    neutral = Neutral((*SHORT.prompts, NeutralText("the " * 100)), SHORT.held_out * 20, "long")
    found = measured("gpt2", CELLS, neutral)
    assert found.record.n_prompts == 3
    assert found.record.n_tokens == 64  # the context
    assert any("1 neutral prompts are left out" in w for w in found.warnings)
    with pytest.raises(UsageError, match="no neutral prompt"):
        measured("gpt2", CELLS, Neutral(neutral.prompts[3:], SHORT.held_out, "long"))


def test_infinite_values_are_an_error() -> None:
    with pytest.raises(UsageError, match="not finite"):
        measured("phi", setting(CELLS.layer, CELLS.pos, CELLS.neuron, torch.full((3,), 3e38)))


def test_default_prompts() -> None:
    neutral = load_neutral(None)
    assert len(neutral.prompts) >= 60 and neutral.warnings() == ()
    assert sum(p.continuation is not None for p in neutral.prompts) >= 25
    assert len({p.text for p in neutral.prompts}) == len(neutral.prompts)
    assert 200 <= len(neutral.held_out.split()) <= 300
    for p in neutral.prompts:
        assert p.text == p.text.strip()
        assert p.continuation is None or (p.continuation[0] == " " and " " not in p.continuation[1:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "keys prompts"),
        ('{"prompts": []}', "keys prompts"),
        ('{"prompts": [], "held_out": "a b"}', "there are no prompts"),
        ('{"prompts": [{"text": "a b"}], "held_out": 3}', "held_out is not a text"),
        ('{"prompts": [{"text": ""}], "held_out": "a b"}', "not an object with a text"),
        ('{"prompts": ["a b"], "held_out": "a b"}', "not an object with a text"),
        ('{"prompts": [{"text": "a", "next": "b"}], "held_out": "a b"}', "not an object with a text"),
        ('{"prompts": [{"text": "a", "continuation": 3}], "held_out": "a b"}', "the continuation is not a text"),
        ("{", "not valid JSON"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "n.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as e:
        load_neutral(path)
    assert "n.json" in str(e.value) and "\n" not in str(e.value)


def test_a_file_with_few_prompts_gives_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    path.write_text(json.dumps({"prompts": [{"text": "a b"}], "held_out": "a b c"}))
    neutral = load_neutral(path)
    assert neutral.name == "n.json"
    assert neutral.warnings() == ("1 neutral prompts are few: side effects are means over them, so use 50 or more",)


def test_means() -> None:
    record = measured("gpt_neox", CELLS).record
    kl = [p.kl for p in record.prompts]
    assert record.kl_mean == pytest.approx(np.mean(kl))
    assert record.kl_median == pytest.approx(np.median(kl))
    assert record.kl_max == max(kl) > 0
