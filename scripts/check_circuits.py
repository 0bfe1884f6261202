"""Measure the bars of circuits on the demo model, and the same figures on the real one.

Sets, edges and groups of neurons in circuits of capitals are tested by intervention. The reference is the mean over
prompts of the same template with other entities, at the position with the same role (`circuits.template_mean`); the
target is the pre-cap logit of the answer minus that of another entity's answer. Random sets are drawn for each prompt.

Prints  a table with each figure, its bar, and PASS or FAIL, or JSON with --json. Exit code 1 if a bar is missed.
Run     python scripts/check_circuits.py [--models demo smollm2] [--n_random 1000] [--most 50] [--json]
"""

import argparse
import json
import logging
import sys
import time


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    logging.basicConfig(level=logging.WARNING if args.quiet else logging.INFO, format="%(message)s", stream=sys.stderr)
    from circuit_figures import Settings, demo_figures, real_figures

    from neuron_signatures.models.load import load_model
    from neuron_signatures.models.spec import DEMO_MODEL, SMOLLM2_MODEL, ModelSpec

    settings = Settings(args.most, args.k, args.n_random, args.n_groups, args.seed)
    start, found = time.monotonic(), []
    for name in args.models or [DEMO_MODEL]:
        figures = {DEMO_MODEL: demo_figures, SMOLLM2_MODEL: real_figures}[name]
        for figure in figures(load_model(ModelSpec(name, dtype="fp32", device="cpu"), quiet=True), settings):
            logging.info("%4.0f s  %s: %s", time.monotonic() - start, figure.what, figure.value)
            found.append(figure)
    if args.json:
        print(json.dumps([{**f._asdict(), "passed": f.passed} for f in found], indent=2))
    else:
        print("\n".join(["| figure | value | bar | | |", "|---|---|---|---|---|", *map(row, found)]))
    return 0 if all(f.passed is not False for f in found) else 1


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=("demo", "smollm2"), help="default demo")
    parser.add_argument("--n_random", type=int, default=1000, help="random sets per prompt; default 1000")
    parser.add_argument("--n_groups", type=int, default=100, help="random groups per swap; default 100")
    parser.add_argument("--most", type=int, default=50, help="prompts per template; default 50")
    parser.add_argument("--k", type=int, default=200, help="units of a set; default 200")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


def row(figure) -> str:  # type: ignore[no-untyped-def]  # its module imports torch
    value = "undefined" if figure.value is None else f"{figure.value:.3g}"
    bar = "" if figure.bar is None else f"{figure.bar[0]} {figure.bar[1]:g}"
    verdict = {None: "", True: "PASS", False: "FAIL"}[figure.passed]
    return f"| {figure.what} | {value} | {bar} | {verdict} | {figure.note} |"


if __name__ == "__main__":
    sys.exit(main())
