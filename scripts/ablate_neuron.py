"""What one neuron does to the logits of some tokens after many prompts, beside every other neuron of its layer.

Reads   a run and its model.
Prints  per prompt the neuron's activation, the effect of ablating it (clean less ablated, so that a negative effect
        means that the neuron lowers the token), and the token's probability before and after; then the mean effect over
        the prompts, with that of all other neurons of the layer as the null.
Run     python scripts/ablate_neuron.py --run_dir runs/france --neuron L29N864 --prompts kind=france --tokens ' French'

A neuron is set to its mean over the run, at the last position of each prompt.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neuron_signatures.runs.errors import ExitCode, ProjectError
from neuron_signatures.runs.tokens import escape, visible

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_signatures.models.load import LoadedModel
    from neuron_signatures.runs.manifest import PromptRecord
    from neuron_signatures.runs.run import Run
    from neuron_signatures.views.coords import NeuronAt


class Measured(NamedTuple):
    """One prompt: the neuron's activation at the last position, and for each token the effect of every neuron of the
    layer on its logit, and its probability before and after the ablation of the neuron."""

    prompt: str
    act: float
    effects: Float[Tensor, "token neuron"]
    before: list[float]
    after: list[float]


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        for line in report(args):
            print(line, flush=True)
    except ProjectError as error:
        print(escape(str(error)), file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.OK)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run_dir", type=Path, required=True)
    parser.add_argument("--neuron", required=True, help="such as L29N864")
    parser.add_argument("--prompts", default="*", help="as side A of a contrast: ids or kind=...")
    parser.add_argument("--tokens", required=True, help="tokens with | between them, with their leading spaces")
    return parser.parse_args(argv)


def report(args: argparse.Namespace) -> list[str]:
    from neuron_signatures.analysis.attribution.reference import run_mean
    from neuron_signatures.analysis.contrast.grammar import chosen_prompts, parse_side
    from neuron_signatures.analysis.tokens.vocab import single_token
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides, check_prompt
    from neuron_signatures.runs.run import Run
    from neuron_signatures.views.coords import parse_neuron

    run = Run.open(args.run_dir)
    at = parse_neuron(args.neuron, run)
    prompts = chosen_prompts(parse_side(args.prompts, flag="--prompts"), run.prompts, flag="--prompts")
    model = check_prompt(run, prompts[0].probe_id, ModelOverrides(dtype="fp32", device="cpu")).model
    tokens = args.tokens.split("|")
    ids = [single_token(model.tokenizer, t, where="--tokens") for t in tokens]
    mean = run_mean(run)
    measured = [_measure(run, model, p, at, ids, mean.values[at.layer]) for p in prompts]
    lines = [f"{at.label}, set to its mean {mean.values[at.layer, at.neuron]:.3f} over {mean.n_tokens} tokens"]
    return [*lines, "", *_table(measured, tokens, at.neuron), "", *_against_null(measured, tokens, at)]


def _measure(
    run: Run, model: LoadedModel, prompt: PromptRecord, at: NeuronAt, ids: list[int], values: Float[Tensor, " neuron"]
) -> Measured:
    import torch

    from neuron_signatures.analysis.attribution.estimators.ablation import every_neuron, single_ablations
    from neuron_signatures.analysis.attribution.problem import Problem
    from neuron_signatures.analysis.attribution.target import Target, TargetFunction

    last = prompt.seq_len - 1
    neurons = every_neuron(model.hf, layers=[at.layer], positions=[last])
    mine = torch.tensor([at.neuron])

    def effects(token_id: int, function: TargetFunction, rows: Tensor) -> Tensor:
        target = Target(last, token_id, None, function, "next_token")
        problem = Problem(model.hf, prompt.token_ids, target, (last,))
        found = torch.empty(len(rows))
        for chunk in single_ablations(problem, neurons[rows], values=values[rows]):
            found[chunk.rows] = chunk.effects
        return found

    with torch.no_grad():
        clean = model.hf(torch.tensor([prompt.token_ids])).logits[0, -1].float().softmax(-1)
    before = [float(clean[i]) for i in ids]
    after = [p * float(torch.exp(-effects(i, "logprob", mine))) for i, p in zip(ids, before, strict=True)]
    every = torch.arange(len(neurons))
    of_all = torch.stack([effects(i, "pre_cap_logit", every) for i in ids])
    act = float(run.acts(prompt, layer=at.layer)[-1, at.neuron])
    return Measured(prompt.probe_id, act, of_all, before, after)


def _table(measured: list[Measured], tokens: list[str], neuron: int) -> list[str]:
    heads = "".join(f"  {visible(t) + ' effect':>16}{'probability':>18}" for t in tokens)
    lines = [f"{'prompt':24}{'act':>9}{heads}"]
    for m in measured:
        cells = "".join(
            f"  {m.effects[i, neuron]:>+16.3f}{f'{m.before[i]:.4f} to {m.after[i]:.4f}':>18}"
            for i in range(len(tokens))
        )
        lines.append(f"{escape(m.prompt)[:23]:24}{m.act:>+9.2f}{cells}")
    return lines


def _against_null(measured: list[Measured], tokens: list[str], at: NeuronAt) -> list[str]:
    import torch

    means = torch.stack([m.effects for m in measured]).mean(0)
    others = torch.arange(means.shape[1]) != at.neuron
    lines = [
        f"mean effect over {len(measured)} prompts; null: the {int(others.sum())} other neurons of layer {at.layer}"
    ]
    for token, row in zip(tokens, means, strict=True):
        null, own = row[others], row[at.neuron]
        beyond = int((null.abs() >= own.abs()).sum())
        lines.append(
            f"  {visible(token):14}{own:>+8.3f}   null: mean {null.mean():+.3f}, standard deviation {null.std():.3f}, "
            f"{null.min():+.3f} to {null.max():+.3f}; {beyond} at least as far from 0"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
