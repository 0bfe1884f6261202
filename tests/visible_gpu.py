"""A stage for tests, whose shards write which GPU they see and whether torch was imported before they began."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    if argv and "--shard" in argv:
        facts = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "torch": "torch" in sys.modules, "argv": list(argv)}
        Path(f"shard-{argv[-1].partition('/')[0]}.json").write_text(json.dumps(facts))
        time.sleep(1)
    return 0


if __name__ == "__main__":
    from neuron_signatures.cli.ray_engine import RayRequest, run_on_ray

    with_gpu = "--gpu" in sys.argv
    sys.exit(run_on_ray(RayRequest("visible_gpu", ("-x", "a b"), None, (), "auto", None, True, with_gpu, "again")))
