"""List usable models, or show facts about one model.

Reads a config from the Hub, the local cache or a folder, never weights. Writes only to stdout.

    python -m neuron_signatures.models --list
    python -m neuron_signatures.models --info google/gemma-2-2b
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from neuron_signatures.cli.command import command, ok
from neuron_signatures.cli.output import emit, emit_json, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.models.catalog import SUCCESSORS, SUGGESTIONS, VERIFIED
from neuron_signatures.models.packaged import INSTALL
from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, ModelSpec

if TYPE_CHECKING:
    from neuron_signatures.models.info import ModelInfo


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=False)
    if args.list:
        emit_json(_list_record()) if args.json else _show_list()
    else:
        spec = ModelSpec(args.info, revision=args.model_revision, trust_remote_code=args.trust_remote_code)
        _show_info(spec, as_json=args.json)
    return ok()


def make_parser() -> Parser:
    parser = Parser(prog="python -m neuron_signatures.models", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="verified architectures and suggested models by size")
    what.add_argument(
        "--info",
        metavar="NAME",
        help=f"facts about one model: {DEMO_MODEL}, {SMOLLM2_MODEL}, a folder, a .gguf file or a Hub id",
    )
    parser.add_argument("--model_revision", metavar="REV", help="branch, tag or commit (default: the repository's)")
    parser.add_argument("--trust_remote_code", action="store_true", help="run code from the model's repository")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    return parser


def _show_list() -> None:
    emit("Verified architectures (activations tested against a plain hook and transformer-lens):")
    for architecture in VERIFIED:
        emit(f"  {architecture.model_type:12} {architecture.hf_class:32} layer.{architecture.projection}")
    emit("")
    emit("Suggested models (GB of weights, without activations; * gated: needs a licence and HF_TOKEN):")
    emit(f"  {'--model_name':36} {'type':12} {'params':>8} {'neurons':>10} {'fp32':>7} {'bf16/fp16':>10}")
    for s in SUGGESTIONS:
        name = s.model_name + (" *" if s.gated else "")
        emit(
            f"  {name:36} {s.model_type:12} {_count(s.parameters):>8} {s.neurons:>10,} "
            f"{4 * s.parameters / 1e9:>7.1f} {2 * s.parameters / 1e9:>10.1f}"
        )
    emit("")
    emit("Other dense decoders work if their layers are recognised; mixture-of-experts models are refused.")
    for name, successor in SUCCESSORS.items():
        emit(f"Use {successor.model_name} instead of {name}:")
        emit(f"  {successor.reason}.")
    emit(f"--model_name {DEMO_MODEL} needs no download; {SMOLLM2_MODEL} needs a package:")
    emit(f"  {INSTALL}")


def _list_record() -> dict[str, Any]:
    models = [
        s._asdict() | {"neurons": s.neurons, "bytes_fp32": 4 * s.parameters, "bytes_bf16": 2 * s.parameters}
        for s in SUGGESTIONS
    ]
    return {"architectures": [a._asdict() for a in VERIFIED], "models": models}


def _show_info(spec: ModelSpec, *, as_json: bool) -> None:
    from neuron_signatures.models.info import model_info

    info = model_info(spec)
    memory = _memory(info)
    if as_json:
        emit_json(dataclasses.asdict(info) | {"neurons": info.neurons, "weights_bytes": memory})
        return
    for label, value in _facts(info):
        emit(f"{label:17} {value}")
    amounts = " · ".join(f"{name} {_size(n_bytes)}" for name, n_bytes in memory.items())
    emit(f"{'weights':17} {amounts}")


def _memory(info: ModelInfo) -> dict[str, int]:
    from neuron_signatures.models.info import weights_bytes

    return {
        "fp32": weights_bytes(info, "fp32"),
        "bf16": weights_bytes(info, "bf16"),
        "fp16": weights_bytes(info, "fp16"),
        "8bit": weights_bytes(info, "bf16", "8bit"),
        "4bit": weights_bytes(info, "bf16", "4bit"),
    }


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    window = f"{info.sliding_window} in {info.sliding_layers} of {info.layers} layers"
    caps = f"attention {_or_none(info.attn_soft_cap)}, final {_or_none(info.final_soft_cap)}"
    return [
        ("model", info.name + (f" @ {info.revision}" if info.revision else "")),
        ("architecture", f"{info.architecture} ({info.model_type})"),
        ("layers", str(info.layers)),
        ("d_model", str(info.d_model)),
        ("d_mlp", str(info.d_mlp)),
        ("neurons", f"{info.neurons:,}"),
        ("attention heads", f"{info.heads} ({info.kv_heads} key/value)"),
        ("vocabulary", f"{info.vocab:,}"),
        ("context", _or_none(info.context)),
        ("sliding window", window if info.sliding_window else "none"),
        ("norm", f"{info.norm}, {info.norm_placement}"),
        ("soft caps", caps),
        ("tied embeddings", "yes" if info.tied_embeddings else "no"),
        ("parameters", f"{info.parameters:,} ({_count(info.parameters)})"),
        ("checkpoint dtype", info.checkpoint_dtype),
    ]


def _or_none(value: int | float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 0.9995e9 else f"{parameters / 1e6:.1f}M"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2f} MB"


if __name__ == "__main__":
    sys.exit(main())
