"""The flags that choose the model, its device and its precision (docs/models.md)."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from neuron_signatures.models.spec import DEFAULT_MODEL, DEVICE_MAPS, ModelSpec

if TYPE_CHECKING:
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model_name", default=DEFAULT_MODEL, metavar="NAME",
        help=f"demo, smollm2, a Hugging Face id, a local folder or a .gguf file; default {DEFAULT_MODEL}",
    )  # fmt: skip
    group.add_argument("--model_revision", metavar="REV", help="branch, tag or commit")
    group.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="default: bf16")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps; default auto")
    group.add_argument("--quantization", choices=("none", "8bit", "4bit"), default="none", help="needs bitsandbytes")
    group.add_argument("--device_map", choices=DEVICE_MAPS, help="auto spreads the model over several GPUs")
    group.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")
    add_deterministic_flag(group)


def add_rerun_flags(parser: argparse.ArgumentParser, *, dtype_help: str) -> None:
    """The flags that load the model of a run again."""
    group = parser.add_argument_group("the model (default: as in the manifest)")
    group.add_argument("--model_name", metavar="NAME", help="path or name of the same model, if it has moved")
    group.add_argument("--model_dtype", choices=("bf16", "fp16", "fp32"), help=dtype_help)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps; default auto")
    group.add_argument("--device_map", choices=DEVICE_MAPS, help="auto distributes the model over several GPUs")
    group.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")
    add_deterministic_flag(group)


def add_deterministic_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--deterministic", action="store_true",
                       help="bit-equal results: one prompt per forward pass, one CPU thread; slower")  # fmt: skip


def prepare_for_determinism() -> None:
    """Set the environment variables that numpy, torch and CUDA read when they start. `load_model` does the rest."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def model_spec(args: argparse.Namespace) -> ModelSpec:
    return ModelSpec(
        name=args.model_name,
        revision=args.model_revision,
        dtype=args.model_dtype,
        device=args.device,
        quantization=args.quantization,
        device_map=args.device_map,
        trust_remote_code=args.trust_remote_code,
        deterministic=args.deterministic,
    )


def model_overrides(args: argparse.Namespace) -> ModelOverrides:
    """What the flags of `add_rerun_flags` say. Imports torch."""
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides

    return ModelOverrides(
        args.model_name, args.model_dtype, args.device, args.device_map, args.trust_remote_code, args.deterministic
    )
