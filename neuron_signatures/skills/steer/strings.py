"""The collected texts themselves: a run stores only the hash of each."""

from __future__ import annotations

import hashlib
from pathlib import Path

from neuron_signatures.runs.errors import UsageError
from neuron_signatures.runs.skills.meta import CollectMeta
from neuron_signatures.skills.collect.texts.demo import DEMO, demo_texts
from neuron_signatures.skills.collect.texts.files import read_labelled


def collected_strings(meta: CollectMeta, source: str | None) -> dict[str, str]:
    """The texts by the hash of their characters. `source` says where they are; None means where `collect` read them.

    There may be more than were collected. Raises `UsageError` if they cannot be read.
    """
    where = source or str(meta.settings.get("texts", ""))
    if where == DEMO:
        # more of the same stream: they contain the ones that were collected
        most = max(sum(skills.values()) for skills in meta.classes.values())
        texts = [row.text for row in demo_texts(2 * most, int(meta.settings.get("seed", 0)))]
    elif where and Path(where).expanduser().exists():
        texts = [row.text for row in read_labelled(Path(where).expanduser())]
    else:
        what = f"the collected texts are not there any more ({where or 'the record does not say where'})"
        raise UsageError(what, where="--texts", next_step="Say where they are now")
    return {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
