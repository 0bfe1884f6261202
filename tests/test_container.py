"""The Dockerfile, read as text: there is no Docker where the tests run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT

DOCKERFILE = ROOT / "Dockerfile"
PAGE = ROOT / "docs" / "docker.md"


class Step(NamedTuple):
    """An instruction of a stage, on one line. Before the first FROM the stage is empty."""

    stage: str
    word: str
    rest: str


def steps() -> list[Step]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    found, stage = list[Step](), ""
    for line in filter(None, " \n".join(lines).replace("\\ \n", " ").split("\n")):
        word, _, rest = line.strip().partition(" ")
        if not word:
            continue
        if word == "FROM":
            stage = rest.split()[-1]
        found.append(Step(stage, word, " ".join(rest.split())))
    return found


def words(word: str, stage: str | None = None) -> list[str]:
    return [step.rest for step in steps() if step.word == word and stage in (None, step.stage)]


def test_the_instructions_are_known_ones() -> None:
    known = {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "VOLUME", "EXPOSE", "CMD"}
    assert {step.word for step in steps()} == known
    assert steps()[0].word == "ARG" and steps()[1].word == "FROM"


def test_the_two_commands_are_those_of_the_readme() -> None:
    """The last stage is what `docker build` makes without a target."""
    readme = (ROOT / "README.md").read_text()
    section = readme[readme.index("## Two commands") :]
    commands = re.findall(r"^(make \w+)", section[: section.index("```", section.index("```bash") + 7)], re.MULTILINE)
    assert commands == ["make demo", "make test"]
    assert [" ".join(json.loads(rest)) for rest in words("CMD", "demo")] == ["make demo"]
    assert [" ".join(json.loads(rest)) for rest in words("CMD", "test")] == ["make test"]
    assert words("FROM")[-1] == "installed AS demo"


def test_base_images_are_pinned() -> None:
    bases = [rest.partition("=")[2] for rest in words("ARG") if rest.startswith("BASE=")]
    bases += re.findall(r"BASE=(\S+)", PAGE.read_text()) + re.findall(r"BASE=(\S+)", DOCKERFILE.read_text())
    assert len(set(bases)) == 2
    for base in bases:
        name, _, tag = base.rpartition(":")
        assert name and re.search(r"\d+\.\d+", tag) and "latest" not in tag
    assert {rest.split()[0] for rest in words("FROM")} == {"${BASE}", "installed"}


def test_what_is_copied_exists_and_the_targets_of_make_too() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for rest in words("COPY"):
        options, *files = rest.split()
        assert options == "--chown=neuron:neuron"
        for file in files[:-1]:
            assert (ROOT / file).exists(), file
    for target in re.findall(r"make \.venv/(\S+)", " ".join(words("RUN"))):
        assert f"$(VENV)/{target}:" in makefile, target


def test_it_runs_as_a_user_without_rights_who_owns_the_volumes() -> None:
    installed = [step for step in steps() if step.stage == "installed"]
    user = next(i for i, step in enumerate(installed) if step.word == "USER")
    assert installed[user].rest == "neuron" and len(words("USER")) == 1
    assert not [s for s in installed[:user] if s.word == "RUN" and "pip" in s.rest.replace("ensurepip", "")]
    (volumes,) = words("VOLUME")
    made = next(s.rest for s in installed if "install --directory" in s.rest)
    for volume in json.loads(volumes):
        assert volume in made
        assert volume in PAGE.read_text()


def test_no_secret_and_no_host_of_a_registry() -> None:
    text = DOCKERFILE.read_text() + PAGE.read_text()
    names = [rest.partition("=")[0] for rest in words("ARG")] + re.findall(r"(\w+)=", " ".join(words("ENV")))
    assert not [n for n in names if re.search("TOKEN|KEY|SECRET|PASSWORD", n)]
    hosts = set(re.findall(r"https?://([\w.:-]+)", text))
    assert hosts == {"127.0.0.1:8600", "127.0.0.1:8501"}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", "runs/*", ".env", "**/*.key"} <= set(ignored)


def test_ports_are_published_on_this_machine_only_and_the_server_has_a_token() -> None:
    published = re.findall(r" -p (\S+)", PAGE.read_text())
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    exposed = words("EXPOSE")[0].split()
    assert {port.rpartition(":")[2] for port in published} == set(exposed)
    (serve,) = [
        b for b in re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL) if "neuron_signatures.serve" in b
    ]
    assert "-e NEURON_SIGNATURES_TOKEN" in serve and "--host 0.0.0.0" in serve


@pytest.mark.parametrize("command", words("RUN"))
def test_the_shell_can_read_the_commands(command: str, tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_text(command)
    assert subprocess.run(["/bin/sh", "-n", str(script)], check=False).returncode == 0
