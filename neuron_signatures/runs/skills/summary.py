"""What `skills/` of a run holds, for listings: read from the stage records only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuron_signatures.runs.errors import BadRunError, UsageError
from neuron_signatures.runs.files import counted
from neuron_signatures.runs.skills.meta import CollectMeta, read_meta
from neuron_signatures.runs.skills.names import MODES, SKILLS, UNFINISHED, record_name


@dataclass(frozen=True)
class SkillsSummary:
    """Counts are None if nothing was collected; `problem` says what is damaged."""

    n_texts: int | None = None
    n_classes: int = 0
    sources: tuple[str, ...] = ()
    n_banks: int = 0
    stopped: bool = False
    """Whether a command was stopped that can be resumed."""
    modes: tuple[str, ...] = ()
    """Other modes whose record is there."""
    problem: str = ""

    def text(self) -> str:
        """In one line."""
        if self.problem:
            return f"damaged: {self.problem}"
        if self.n_texts is None:
            return "stopped; --resume continues it" if self.stopped else "unfinished"
        units = f"{', '.join(self.sources)} in {counted(self.n_banks, 'bank')}"
        classes = f"{self.n_classes} {'class' if self.n_classes == 1 else 'classes'}"
        return ", ".join([f"{counted(self.n_texts, 'text')} of {classes}: {units}", *self.modes])


def summarise_skills(run_dir: Path) -> SkillsSummary | None:
    """None if the run has no folder of skills."""
    folder = run_dir / SKILLS
    if not folder.is_dir():
        return None
    stopped = (folder / UNFINISHED).is_file()
    try:
        meta = read_meta(run_dir, "collect", CollectMeta)
    except UsageError:
        return SkillsSummary(stopped=stopped)
    except BadRunError as e:
        return SkillsSummary(problem=e.what)
    return SkillsSummary(
        n_texts=meta.n_texts,
        n_classes=len(meta.classes),
        sources=tuple(dict.fromkeys(bank.source for bank in meta.banks)),
        n_banks=len(meta.banks),
        stopped=stopped,
        modes=tuple(mode for mode in MODES[1:] if (folder / record_name(mode)).is_file()),
    )
