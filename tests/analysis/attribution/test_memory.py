"""Out of memory in a metric: batches are halved with the same scores, everything else ends with one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from attribution_cases import TARGET_POS, loaded, problem_of, target_of, token_ids
from paths import ROOT
from short_of_memory import ERRORS, short_of_memory
from tiny_models import D_MLP, N_LAYERS
from torch import Tensor

from neuron_signatures.analysis.attribution.estimators.ablation import every_neuron, joint_ablation, single_ablations
from neuron_signatures.analysis.attribution.estimators.dla import direct_logit_attribution, dla_without_norms
from neuron_signatures.analysis.attribution.estimators.gradients import act_grad, integrated_gradients, relp
from neuron_signatures.analysis.attribution.estimators.prob_increase import prob_increase
from neuron_signatures.analysis.attribution.estimators.query_neurons import ValueNeurons, query_neurons
from neuron_signatures.analysis.attribution.problem import Problem
from neuron_signatures.analysis.attribution.targets import TargetRequest, resolve_target
from neuron_signatures.analysis.attribution.write_scores import write_scores
from neuron_signatures.models.capture import mlp_shape
from neuron_signatures.models.rerun.checked_prompt import recompute
from neuron_signatures.runs.errors import EnvironmentProblem

NAME = "gemma2"
VALUES = ValueNeurons(torch.tensor([[1, 3]]), torch.ones(1), torch.ones(1))
WHOLE: dict[str, Callable[[Problem], object]] = {
    "dla": direct_logit_attribution,
    "dla_pre_ln2_post": dla_without_norms,
    "act_grad": act_grad,
    "relp": relp,
    "prob_increase": prob_increase,
    "prob_increase_query": lambda p: query_neurons(p, VALUES),
    "ig": lambda p: ig(p),
    "ablation": lambda p: ablated(p),
    "the forward pass before the edited positions": lambda p: p.suffix(first=2),
    "the write scores": lambda p: write_scores(loaded(NAME), p.token_ids, TARGET_POS, [(1, 2)], top=3),
    "the forward pass that recomputes the activations": lambda p: recompute(loaded(NAME), p.token_ids),
    "the forward pass for the target's logits":
        lambda p: resolve_target(loaded(NAME), p.token_ids, TargetRequest("top1_logit")),
}  # fmt: skip


def problem(positions: tuple[int, ...] = (TARGET_POS,)) -> Problem:
    return problem_of(loaded(NAME).hf, target_of(NAME), positions)


def zeros(p: Problem) -> Tensor:
    shape = mlp_shape(p.hf)
    return torch.zeros(shape.n_layers, len(p.positions), shape.d_mlp)


def ig(p: Problem) -> Tensor:
    return integrated_gradients(p, reference=zeros(p), steps=10, path="layer").attribution.scores


def ablated(p: Problem, batch: int = 16) -> Tensor:
    neurons = every_neuron(p.hf, layers=[1], positions=p.positions)[::8]
    chunks = single_ablations(p, neurons, values=torch.zeros(len(neurons)), batch=batch)
    return torch.cat([chunk.effects for chunk in chunks])


@pytest.mark.parametrize("device", ERRORS)
@pytest.mark.parametrize("step", WHOLE)
def test_what_cannot_be_halved_ends_with_one_line(step: str, device: str) -> None:
    p = problem((0,) if step == "ablation" else (TARGET_POS,))  # position 0 has no prefix
    with short_of_memory(p.hf, 0, error=ERRORS[device]), pytest.raises(EnvironmentProblem) as caught:
        WHOLE[step](p)
    line = caught.value.line()
    n = len(token_ids())
    step = "the forward pass before the edited positions" if step == "ig" else step
    assert line.startswith(f"device cpu: out of memory in {step} with one prompt of {n} tokens")
    assert line.endswith("Use a shorter prompt, --model_dtype bf16 or another --device")
    facts = {
        "cpu": "asked for 4.0 GB",
        "cuda": "(asked for 2.1 GB, 1.3 GB available)",
        "mps": "(asked for 6.2 GB, 2.1 GB",
    }
    assert facts.get(device, "") in line and "\n" not in line


@pytest.mark.parametrize("device", ERRORS)
def test_ig_halves_its_points_and_stays_halved(device: str, caplog: pytest.LogCaptureFixture) -> None:
    want = ig(problem())
    with short_of_memory(problem().hf, 3, error=ERRORS[device]) as tried:
        got = ig(problem())
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    assert [size for size in tried if size > 3] == [10, 5]  # in the first of the three layers only
    assert [r.getMessage() for r in caplog.records] == [
        f"out of memory with {n} points of the path in a batch; going on with {n // 2}" for n in (10, 5)
    ]


def test_ig_over_many_positions_takes_fewer_points_at_once() -> None:
    p = problem(tuple(range(1, TARGET_POS + 1)))
    with short_of_memory(p.hf, 99) as tried:
        ig(p)
    assert max(tried) == 4  # of 8 positions; the first of the prompt is run before


def test_ig_names_itself_where_one_point_does_not_fit() -> None:
    with (
        short_of_memory(problem().hf, 0, gradients=True),
        pytest.raises(EnvironmentProblem, match="of memory in ig with"),
    ):
        ig(problem())


@pytest.mark.parametrize("device", ERRORS)
def test_ablations_halve_and_stay_halved(device: str, caplog: pytest.LogCaptureFixture) -> None:
    p = problem((2, 5, TARGET_POS))
    want = ablated(p)
    with short_of_memory(p.hf, 5, error=ERRORS[device]) as tried:
        got = ablated(p)
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5)
    # 11 neurons at each position and one clean copy
    assert [size for size in tried if size > 5] == [12, 6]
    assert [r.getMessage() for r in caplog.records] == [
        f"out of memory with {n} ablations in a batch; going on with {n // 2}" for n in (11, 5)
    ]


def test_joint_ablations_halve() -> None:
    p = problem()
    sets = torch.eye(N_LAYERS * D_MLP, dtype=torch.bool).view(-1, N_LAYERS, D_MLP)[:12]

    def measured(batch: int) -> Tensor:
        return torch.cat(list(joint_ablation(p, sets, reference=zeros(p), layers=range(N_LAYERS), batch=batch)))

    want = measured(64)
    with short_of_memory(p.hf, 4) as tried:
        got = measured(8)
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5)
    assert tried.count(8) == 1 and max(tried) == 8


_LIMITED = """
import logging, resource, sys
sys.path.insert(0, "tests")
import torch
from attribution_cases import loaded, problem_of, target_of
from neuron_signatures.analysis.attribution.estimators.ablation import joint_ablation
logging.basicConfig(level=logging.WARNING, format="%(message)s")
torch.set_num_threads(1)
problem = problem_of(loaded("llama").hf, target_of("llama"), [2, 6, 8])
sets, reference = torch.eye(264, dtype=torch.bool).view(264, 3, 88).repeat(31, 1, 1)[:8000], torch.zeros(3, 3, 88)
measure = lambda some, batch: torch.cat(list(
    joint_ablation(problem, some, reference=reference, layers=range(3), batch=batch)))
want = measure(sets[:264], 64)
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 40_000_000, resource.RLIM_INFINITY))
got = measure(sets, len(sets))
print(len(got), torch.allclose(got[:264], want, atol=1e-4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA limits memory on Linux only")
def test_a_process_that_really_runs_out_of_memory() -> None:
    """8,000 copies of a prompt need about 300 MB, and the process may take 40 MB."""
    done = subprocess.run([sys.executable, "-c", _LIMITED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["8000", "True"], done.stderr
    assert done.stderr.startswith("out of memory with 8000 ablations in a batch; going on with 4000\n")
