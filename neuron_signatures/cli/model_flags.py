"""The flags that choose the model, its device and its precision (docs/models.md)."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from neuron_signatures.models.spec import DEFAULT_MODEL, DEVICE_MAPS, QUANTIZATION_REQUESTS, Dtype, ModelSpec

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
    add_quantization_flag(group)
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


def add_quantization_flag(group: argparse._ArgumentGroup) -> None:
    """For commands that load a model for a new run; those of a run take its quantisation."""
    group.add_argument("--quantization", choices=QUANTIZATION_REQUESTS, default="auto",
                       help="with bitsandbytes; default auto: none, or if the model does not fit into the free memory "
                            "8bit or 4bit")  # fmt: skip


def add_deterministic_flag(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--deterministic", action="store_true",
                       help="bit-equal results: one prompt per forward pass, one CPU thread; slower")  # fmt: skip


def prepare_for_determinism() -> None:
    """Set the environment variables that numpy, torch and CUDA read when they start. `load_model` does the rest."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"


def model_spec(args: argparse.Namespace, *, default_dtype: Dtype = "bf16") -> ModelSpec:
    """The model of a new run. With `--quantization auto`, `models.fit` is to choose before it is loaded."""
    auto = args.quantization == "auto"
    return ModelSpec(
        name=args.model_name,
        revision=args.model_revision,
        dtype=args.model_dtype or default_dtype,
        device=args.device,
        quantization="none" if auto else args.quantization,
        device_map=args.device_map,
        trust_remote_code=args.trust_remote_code,
        deterministic=args.deterministic,
        may_quantize=auto,
    )


def model_overrides(args: argparse.Namespace) -> ModelOverrides:
    """What the flags of `add_rerun_flags` say. Imports torch."""
    from neuron_signatures.models.rerun.checked_prompt import ModelOverrides

    return ModelOverrides(
        args.model_name, args.model_dtype, args.device, args.device_map, args.trust_remote_code, args.deterministic
    )
