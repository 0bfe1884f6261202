"""The commands of docs/remote.md over a real sshd on loopback, and what a lost connection does."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from processes import children, free_port, kill, processes_of, wait_until
from project_copy import commands_of, copy_project
from ssh_node import Node, missing_programs, ssh_node

from neuron_signatures.runs.run import Run

pytestmark = [
    pytest.mark.ssh,
    pytest.mark.skipif(sys.platform != "linux", reason="an sshd of Debian"),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]
LINUX, LOST, WINDOWS = "From Linux or macOS", "A lost connection", "From Windows PowerShell"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with ssh_node({"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"}) as found:
        yield found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder on your machine in which the commands are typed."""
    return copy_project(tmp_path_factory.mktemp("mine") / "project")


@pytest.fixture(scope="module")
def sent(node: Node, project: Path) -> Path:
    """The project's folder on the node, after the command that sends it. Its Python is that of the tests: to install
    everything takes minutes."""
    send, install = commands_of("remote.md", LINUX)[:2]
    assert node.run(send, project).returncode == 0
    folder = node.home / "neuron-signatures"
    assert "pip install" in install and (folder / "neuron_signatures" / "runs" / "run.py").exists()
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


class Terminal:
    """A terminal window of your machine, in which one command runs."""

    def __init__(self, node: Node, command: str, cwd: Path) -> None:
        self._terminal, other = pty.openpty()
        self.shown = b""
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=cwd, env=node.env(TERM="xterm-256color"), stdin=other, stdout=other,
            stderr=other, start_new_session=True,
        )  # fmt: skip
        os.close(other)
        os.set_blocking(self._terminal, False)

    def shows(self, *texts: str) -> bool:
        """Whether the terminal has shown one of these."""
        try:
            while part := os.read(self._terminal, 65536):
                self.shown += part
        except OSError:  # nothing to read now, or the end
            pass
        return any(t.encode() in self.shown for t in texts)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def ended(self) -> bool:
        self.shows()
        return self.process.poll() is not None


def drop(node: Node, terminal: Terminal) -> None:
    """Break the connection without a goodbye: kill the client and the processes of sshd that serve it."""
    terminal.process.kill()
    terminal.process.wait()
    for session in node.sessions():
        for pid in (session, *(p for p in children(session) if is_sshd(p))):
            kill(pid)


def is_sshd(pid: int) -> bool:
    return b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes()


def write_prompts(sent: Path) -> None:
    """Prompts that take some seconds one by one."""
    texts = [f"the capital of the state with city {i} is " + "Austin or " * 10 for i in range(500)]
    (sent / "prompts.json").write_text(json.dumps([{"id": f"p{i}", "text": t} for i, t in enumerate(texts)]))


def long_dump(command: str, out_dir: str) -> str:
    """A command of the page with longer work and another run."""
    more = f"--out_dir {out_dir} --batch_size 1 --shard_size 2MB --save_dtype fp32"
    return command.replace("docs/probe_prompts_list.json", "prompts.json").replace("--out_dir runs/poc1_node", more)


def is_whole(run: Path) -> bool:
    with Run.open(run, check="sha256") as found:
        return len(found.prompts) == 500


def test_the_commands_from_linux(node: Node, sent: Path, project: Path) -> None:
    dry_run, dump, verify, browse, fetch, verify_here, explore = commands_of("remote.md", LINUX)[2:]
    done = node.run(dry_run, project)
    assert done.returncode == 0 and "nothing was written" in done.stdout, done.stdout

    terminal = Terminal(node, dump, project)
    wait_until(terminal.ended, 120, "the dump ends")
    assert b"[exited]" in terminal.shown
    done = node.run(verify, project)
    assert done.returncode == 0, done.stdout

    terminal = Terminal(node, browse, project)
    wait_until(lambda: terminal.shows("seed_prompt"), 60, "the browser shows the run")
    terminal.type("q")
    wait_until(terminal.ended, 30, "the browser ends")

    for command in (fetch, verify_here):
        done = node.run(command, project)
        assert done.returncode == 0, done.stdout
    assert Run.is_complete(project / "runs" / "poc1_node")
    explored(node, explore, project)


def explored(node: Node, command: str, project: Path) -> None:
    port = free_port()
    env = node.env(STREAMLIT_SERVER_PORT=str(port), STREAMLIT_SERVER_HEADLESS="true")
    server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=project, env=env, stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).status == 200
        except OSError:
            return False

    try:
        wait_until(answers, 60, "the explorer answers")
    finally:
        server.terminate()
        server.wait(20)


def test_the_commands_with_scp(node: Node, sent: Path, project: Path) -> None:
    first, send, fetch = commands_of("remote.md", WINDOWS)
    assert node.run(first, project).returncode == 0
    (sent / "docs" / "remote.md").unlink()
    (sent / "runs" / "poc1_node").mkdir(parents=True, exist_ok=True)
    (sent / "runs" / "poc1_node" / "note").touch()
    for command in (send, fetch):
        done = node.run(command, project)
        assert done.returncode == 0, done.stdout
    assert (sent / "docs" / "remote.md").exists() and (project / "runs" / "poc1_node" / "note").exists()


def test_tmux_survives_a_lost_connection(node: Node, sent: Path, project: Path) -> None:
    write_prompts(sent)
    command = long_dump(commands_of("remote.md", LINUX)[3], "runs/tmux")
    run = sent / "runs" / "tmux"
    terminal = Terminal(node, command, project)
    wait_until(lambda: list(run.glob("activations-00002-*")), 120, "two files are written")
    drop(node, terminal)
    assert node.sessions() == [] and processes_of("runs/tmux") and not Run.is_complete(run)

    again = Terminal(node, command, project)
    wait_until(lambda: again.shows("tok"), 30, "the progress bar is shown again")
    assert not Run.is_complete(run)
    wait_until(again.ended, 120, "the dump ends")
    assert is_whole(run)


def test_without_tmux_a_lost_connection_stops_the_stage_and_resume_continues(
    node: Node, sent: Path, project: Path
) -> None:
    write_prompts(sent)
    command = long_dump(commands_of("remote.md", LINUX)[3], "runs/hangup").replace("tmux new -A -s dump ", "")
    run = sent / "runs" / "hangup"
    # The system signals the shell that leads the session, and when that has ended, what runs in the terminal. Another
    # shell between the two writes down the exit code.
    note = "&& bash -c 'trap : HUP; .venv"
    terminal = Terminal(node, command.replace("&& .venv", note)[:-1] + "; echo \\$? > code'; true\"", project)
    wait_until(lambda: list(run.glob("activations-00002-*")), 120, "two files are written")
    drop(node, terminal)
    wait_until(lambda: (sent / "code").exists() and (sent / "code").read_text(), 30, "the stage stops")
    assert (sent / "code").read_text() == "75\n" and not Run.is_complete(run)
    kept = {p.name: p.stat().st_mtime_ns for p in run.glob("activations-*")}

    done = node.run(f'{command[:-1]} --resume"'.replace("ssh -t", "ssh"), project)
    assert done.returncode == 0, done.stdout
    assert is_whole(run) and {name: (run / name).stat().st_mtime_ns for name in kept} == kept


def test_without_a_terminal_the_stage_continues(node: Node, sent: Path, project: Path) -> None:
    write_prompts(sent)
    command = long_dump(commands_of("remote.md", LINUX)[3], "runs/silent").replace("tmux new -A -s dump ", "")
    run = sent / "runs" / "silent"
    terminal = Terminal(node, command.replace("ssh -t", "ssh"), project)
    wait_until(lambda: list(run.glob("activations-00002-*")), 120, "two files are written")
    drop(node, terminal)
    wait_until(lambda: Run.is_complete(run), 120, "the dump ends")
    assert is_whole(run)


def test_nohup(node: Node, sent: Path, project: Path) -> None:
    start, log = commands_of("remote.md", LOST)
    assert node.run(start, project).returncode == 0
    run = sent / "runs" / "poc1_nohup"
    wait_until(lambda: Run.is_complete(run), 120, "the dump ends")
    wait_until(lambda: "poc1_nohup" in node.run(log, project).stdout, 30, "the log has the summary")
