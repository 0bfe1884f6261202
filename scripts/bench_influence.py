"""Speed of the influence metrics on a random Gemma-2; part of `bench_poc2.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from bench_common import Bar, alternate, at_most
from transformers import Gemma2Config, Gemma2ForCausalLM

from neuron_signatures.analysis.attribution.estimators.ablation import every_neuron, single_ablations
from neuron_signatures.analysis.attribution.estimators.dla import direct_logit_attribution
from neuron_signatures.analysis.attribution.estimators.gradients import act_grad, relp
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.target import Target
from neuron_signatures.demo import model_dir
from neuron_signatures.models.load import LoadedModel, load_model, to_bridge
from neuron_signatures.models.spec import ModelSpec

SEQ_LEN = 16
BATCH = 64


def bench_one_pass(quick: bool) -> list[Bar]:
    """dla, act_grad and relp of every neuron against one forward pass of the bridge."""
    with tempfile.TemporaryDirectory() as tmp:
        folder = random_gemma2(Path(tmp))
        model, ids, target = _loaded(folder)
        bridge = to_bridge(_loaded(folder)[0])
        tokens = torch.tensor([ids], device=model.device)

        def forward() -> None:
            with torch.no_grad():
                bridge(tokens)

        problem = Problem(model.hf, ids, target, (target.pos,))
        actions = {
            "bridge": forward,
            "dla": lambda: direct_logit_attribution(problem),
            "act_grad": lambda: act_grad(problem),
            "relp": lambda: relp(problem),
        }
        times = alternate(actions, 9 if quick else 31)
    bars = {"dla": 1.3, "act_grad": 4, "relp": 4}
    return [at_most(f"{name} / one bridge forward", times, name, "bridge", bar) for name, bar in bars.items()]


def bench_ablation(quick: bool) -> list[Bar]:
    """Ablating N neurons at the first position, the most expensive, against N / batch plain batched forward passes."""
    n = 128 if quick else 512
    with tempfile.TemporaryDirectory() as tmp:
        model, ids, target = _loaded(random_gemma2(Path(tmp)))
        problem = Problem(model.hf, ids, target, (target.pos,))
        batch = torch.tensor([ids] * BATCH, device=model.device)
        out = []
        for pos in (1, target.pos):
            neurons = every_neuron(model.hf, layers=[0], positions=[pos])[:n]

            def plain() -> None:
                with torch.no_grad():
                    for _ in range(n // BATCH):
                        model.hf(batch, use_cache=False, logits_to_keep=1)

            def ours(neurons: torch.Tensor = neurons) -> None:
                found = single_ablations(problem, neurons, values=torch.zeros(n), batch=BATCH)
                assert sum(len(chunk.rows) for chunk in found) == n

            times = alternate({"ablation": ours, "plain": plain}, 3)
            name = f"{n} ablations at position {pos} / plain batches"
            out.append(at_most(name, times, "ablation", "plain", 1.2))
    return out


def random_gemma2(folder: Path) -> Path:
    """A random Gemma-2 of 8 layers, d_model 512, d_mlp 2048, with the demo model's tokenizer."""
    config = Gemma2Config(
        vocab_size=4096, hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8,
        num_key_value_heads=4, head_dim=64, max_position_embeddings=1024, sliding_window=512,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(folder)
    for file in model_dir().glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _loaded(folder: Path) -> tuple[LoadedModel, list[int], Target]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 2800, (SEQ_LEN,), generator=generator).tolist()
    target = Target(pos=SEQ_LEN - 1, token_id=100, foil_id=None, function="pre_cap_logit", mode="next_token")
    return load_model(ModelSpec(str(folder), dtype="fp32"), quiet=True), ids, target
