"""Tries the libraries of models, as a program: `python -m neuron_signatures.cli.doctor.probe PART...`.

A broken library can raise anything, hang, or kill its process; so the doctor runs this as a child. Each part is one
line of JSON on stdout, and the traceback of a failure is on stderr.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, Final

PROMPT: Final = "The capital of the state containing Dallas is"
ANSWER: Final = " Austin"


def torch_build() -> dict[str, Any]:
    """The build of torch, and the GPUs that it sees. Memory in bytes."""
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sees_cuda = torch.cuda.is_available()
    devices = []
    for n in range(torch.cuda.device_count() if sees_cuda else 0):
        free, total = torch.cuda.mem_get_info(n)
        major, minor = torch.cuda.get_device_capability(n)
        devices.append({
            "name": torch.cuda.get_device_name(n), "free": free, "total": total, "capability": [major, minor],
        })  # fmt: skip
    return {
        "version": torch.__version__, "cuda": torch.version.cuda, "devices": devices,
        "mps": torch.backends.mps.is_available(), "threads": torch.get_num_threads(),
        "warnings": [str(w.message) for w in said],
    }  # fmt: skip


def hub() -> dict[str, Any]:
    """Where the Hub's files are, and whether there is a token; never the token."""
    from huggingface_hub import constants, get_token

    return {
        "cache": str(constants.HF_HUB_CACHE), "token_file": str(constants.HF_TOKEN_PATH),
        "has_token": bool(get_token()), "offline": bool(constants.is_offline_mode()),
    }  # fmt: skip


def converted() -> dict[str, Any]:
    """Where models that were converted from GGUF files are kept."""
    from neuron_signatures.models.gguf.place import cache_folder

    return {"folder": str(cache_folder())}


def forward() -> dict[str, Any]:
    """What the demo model says on the default device."""
    import torch

    from neuron_signatures.models.load import load_model
    from neuron_signatures.models.spec import ModelSpec

    start = time.monotonic()
    model = load_model(ModelSpec("demo", dtype="fp32"), quiet=True)
    ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]], device=model.device)
    with torch.no_grad():
        probabilities = model.hf(ids).logits[0, -1].float().softmax(-1)
    best = int(probabilities.argmax())
    return {
        "token": model.tokenizer.decode([best]), "probability": float(probabilities[best]),
        "device": str(model.device), "seconds": time.monotonic() - start,
    }  # fmt: skip


PARTS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "torch": torch_build, "hub": hub, "converted": converted, "forward": forward,
}  # fmt: skip


def main(parts: list[str]) -> None:
    for part in parts:
        sys.stdout.write(json.dumps({"part": part, **PARTS[part]()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
