"""Write labelled texts of four skills as one JSONL file for stage 7, from public data sets or files of your own.

Reads:  MATH, APPS, EmpatheticDialogues and MMLU, from the Hub or a local copy; CSV, JSONL or Parquet with labels.
Writes: OUT (one object per line: text, class, skill) and OUT.record.json (data sets, revisions, licences, counts).

    python scripts/prepare_skill_texts.py --out texts.jsonl
    python scripts/prepare_skill_texts.py --out texts.jsonl --local data --sets math,mmlu
    python scripts/prepare_skill_texts.py --out texts.jsonl --sets none --labelled mathematics=math.csv all.csv
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skill_sets import SETS, Labelled, SkillSet, read_labelled_csv, read_set

from neuron_signatures.cli.arguments import at_least, folder
from neuron_signatures.cli.command import command
from neuron_signatures.cli.output import emit, setup_logging
from neuron_signatures.cli.parser import Parser
from neuron_signatures.runs.errors import EnvironmentProblem, ExitCode, UsageError, shorten
from neuron_signatures.runs.files import json_text, whole_file
from neuron_signatures.runs.tokens import encodable
from neuron_signatures.runs.versions import now_utc

MAX_TEXT = 20_000
"""Characters of a text; longer ones are left out: stage 7 reads the beginning only."""


@command
def main(argv: Sequence[str] | None = None) -> int:
    args = make_parser().parse_args(argv)
    setup_logging(quiet=args.quiet)
    sets = _sets(args.sets)
    if not sets and not args.labelled:
        raise UsageError("there is nothing to read", next_step="Give --sets or --labelled")
    revisions = _revisions(args.revision, sets)
    records: list[dict[str, Any]] = []
    texts: list[Labelled] = []
    for found in sets:
        where, resolved = _local(args.local, found) if args.local else _downloaded(found, revisions[found.name])
        texts += read_set(found, where)
        records.append({
            "set": found.name, "repo": found.repo, "revision": None if args.local else revisions[found.name],
            "resolved_revision": resolved, "licence": found.licence, "class": found.cls,
        })  # fmt: skip
    for item in args.labelled:
        cls, path = _labelled(item)
        texts += read_labelled_csv(path, cls)
        records.append({"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "class": cls})
    chosen, left = choose(texts, n=args.n, seed=args.seed)
    _write(args, chosen, left, records)
    counts = Counter(t.cls for t in chosen)
    skills = {cls: len({t.skill for t in chosen if t.cls == cls}) for cls in counts}
    emit("\n".join(f"{cls}: {n:,} texts of {skills[cls]} skills" for cls, n in sorted(counts.items())))
    return ExitCode.OK


def make_parser() -> Parser:
    parser = Parser(prog="python scripts/prepare_skill_texts.py", description=__doc__)
    parser.add_argument("--out", type=folder, required=True, metavar="FILE", help="the JSONL file")
    parser.add_argument("--sets", default=",".join(SETS), metavar="LIST", help=f"of {', '.join(SETS)}; or none")
    parser.add_argument("--local", type=folder, metavar="DIR",
                        help="local copies, one folder per set (DIR/math, ...), in the files of the Hub")  # fmt: skip
    parser.add_argument("--labelled", nargs="+", default=[], metavar="[CLASS=]FILE",
                        help="files with columns for text, skill and (without CLASS) class")  # fmt: skip
    parser.add_argument("--revision", nargs="+", default=[], metavar="SET=REV",
                        help="commit or branch of a data set; the commit that it means is recorded")  # fmt: skip
    parser.add_argument("--n", type=at_least(1), default=5000, help="texts of each class; default 5000")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the sample; default 0")
    parser.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    return parser


def choose(texts: Iterable[Labelled], *, n: int, seed: int) -> tuple[list[Labelled], Counter[str]]:
    """At most `n` different texts of each class, as evenly over its skills as they allow, and how many were left out.

    Texts are equal if they differ in white space and case only. One that several classes have is in none of them. Which
    are chosen depends on the texts and the seed, not on their order in files.
    """
    left: Counter[str] = Counter()
    by_key: dict[str, Labelled] = {}
    ambiguous: set[str] = set()
    for t in texts:
        text = encodable(t.text).strip()
        if not text or not t.skill or not t.cls:
            left["empty, or without a label"] += 1
        elif len(text) > MAX_TEXT:
            left[f"longer than {MAX_TEXT} characters"] += 1
        elif (before := by_key.get(key := _key(text))) is None:
            by_key[key] = Labelled(text, t.cls, t.skill)
        elif before.cls != t.cls:
            ambiguous.add(key)
            left["in several classes"] += 1
        else:
            by_key[key] = min(before, Labelled(text, t.cls, t.skill))
            left["repeated"] += 1
    left["in several classes"] += len(ambiguous)
    groups: dict[str, dict[str, list[Labelled]]] = defaultdict(lambda: defaultdict(list))
    for key in sorted(by_key):
        if key not in ambiguous:
            groups[by_key[key].cls][by_key[key].skill].append(by_key[key])
    chosen: list[Labelled] = []
    for cls in sorted(groups):
        shares = even_shares({skill: len(of) for skill, of in groups[cls].items()}, n)
        for skill in sorted(groups[cls]):
            rng = random.Random(f"{seed} {cls} {skill}")
            chosen += rng.sample(groups[cls][skill], shares[skill])
        left["not sampled"] += sum(map(len, groups[cls].values())) - sum(shares.values())
    return chosen, +left


def even_shares(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """How many of each group are taken, `n` in all if there are so many: small groups whole, the others equally."""
    shares: dict[str, int] = {}
    for i, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(size, (n - sum(shares.values())) // (len(sizes) - i))
    return shares


def _key(text: str) -> str:
    return hashlib.sha256(" ".join(text.lower().split()).encode()).hexdigest()


def _sets(text: str) -> list[SkillSet]:
    names = [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in SETS]:
        raise UsageError(f"there is no set {unknown[0]!r}", where="--sets", next_step=f"There are {', '.join(SETS)}")
    return [SETS[name] for name in dict.fromkeys(names)]


def _revisions(given: Sequence[str], sets: Sequence[SkillSet]) -> dict[str, str]:
    found = {s.name: s.revision for s in sets}
    for item in given:
        name, _, revision = item.partition("=")
        if name not in found or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", revision):
            what = f"{item[:80]!r} is not SET=REVISION of a chosen set"
            raise UsageError(what, where="--revision", next_step=f"Sets: {', '.join(found) or 'none'}")
        found[name] = revision
    return found


def _local(root: Path, found: SkillSet) -> tuple[Path, None]:
    where = root / found.name
    if not where.is_dir():
        what = f"there is no folder {found.name} with {found.repo}"
        raise UsageError(what, where=str(root), next_step="Copy it there, or choose others with --sets")
    return where, None


def _downloaded(found: SkillSet, revision: str) -> tuple[Path, str]:
    """The folder of a data set in the cache of the Hub, and its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        where = Path(snapshot_download(
            found.repo, repo_type="dataset", revision=revision, allow_patterns=list(found.files),
        ))  # fmt: skip
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as e:
        reason = shorten(" ".join(str(e).split()), 160)
        next_step = "Check the network and --revision, or give a copy with --local"
        raise EnvironmentProblem(
            f"cannot be had ({reason})", where=f"data set {found.repo}", next_step=next_step
        ) from e
    return where, where.name


def _labelled(item: str) -> tuple[str, Path]:
    """`CLASS=FILE`, or a file that has a column of classes."""
    cls, equals, path = item.partition("=")
    file = Path(path if equals else item).expanduser()
    if not file.is_file():
        raise UsageError("there is no such file", where=str(file), next_step="Write FILE, or CLASS=FILE")
    return (cls.strip() if equals else ""), file


def _write(
    args: Namespace, chosen: Sequence[Labelled], left: Counter[str], records: Sequence[Mapping[str, Any]]
) -> None:
    if not chosen:
        raise UsageError("no text is left", next_step="Check the labels of the files")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(
        json.dumps({"text": t.text, "class": t.cls, "skill": t.skill}, ensure_ascii=False) + "\n" for t in chosen
    ).encode()
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for (cls, skill), n in sorted(Counter((t.cls, t.skill) for t in chosen).items()):
        counts[cls][skill] = n
    record = {
        "created_at_utc": now_utc(), "file": args.out.name, "sha256": hashlib.sha256(raw).hexdigest(),
        "n_per_class": args.n, "seed": args.seed, "sources": list(records), "texts": counts, "left_out": dict(left),
    }  # fmt: skip
    for name, data in ((args.out.name, raw), (f"{args.out.name}.record.json", json_text(record).encode())):
        with whole_file(args.out.parent, name) as file:
            file.write(data)


if __name__ == "__main__":
    sys.exit(main())
