"""`--mode collect` with a line on stderr at each batch of the pass, for a process that is killed."""

from __future__ import annotations

import sys
import time

from neuron_signatures import poc7_compare_skills
from neuron_signatures.skills.collect.batches import SiteReader


def main() -> int:
    run = SiteReader.run

    def slowly(self: SiteReader, *args: object) -> None:
        print("batch", file=sys.stderr, flush=True)
        time.sleep(0.02)
        run(self, *args)  # type: ignore[arg-type]

    SiteReader.run = slowly  # type: ignore[method-assign]
    return poc7_compare_skills.main(sys.argv[1:])
