"""A host `node` for tests: an sshd on loopback whose users are in a folder of their own when they log in."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from processes import children, free_port, kill, processes_with, wait_until

PROGRAMS = ("sshd", "ssh", "scp", "ssh-keygen", "rsync", "tmux")
_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])  # sshd is not in the path of every user


class Node(NamedTuple):
    home: Path
    """Where users of the node are when they log in; `node:runs` is `home/runs`."""
    bin: Path
    """Programs `ssh` and `scp` that know the host `node`: put it first in PATH."""
    sshd: subprocess.Popen[bytes]

    def env(self, **more: str) -> dict[str, str]:
        """The environment of your machine, whose Python is that of the tests."""
        path = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, **more}

    def run(self, command: str, cwd: Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command line of your machine, in bash."""
        return subprocess.run(
            ["bash", "-c", command], cwd=cwd, env=self.env(), timeout=seconds, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def sessions(self) -> list[int]:
        """Processes of sshd that serve one connection each."""
        return children(self.sshd.pid)


def missing_programs() -> list[str]:
    return [p for p in PROGRAMS if shutil.which(p, path=_PATH) is None]


@contextmanager
def ssh_node(env: Mapping[str, str]) -> Iterator[Node]:
    """The node while sshd runs; `env` is the environment of its users."""
    folder = Path(tempfile.mkdtemp(prefix="node-"))
    node = _configure(folder, free_port(), env)
    sshd = shutil.which("sshd", path=_PATH)
    assert sshd is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of Debian needs it, and systemd is what makes it
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    node = node._replace(sshd=process)
    try:
        wait_until(lambda: node.run("ssh node true", folder).returncode == 0, 20, "sshd answers")
        yield node
    finally:
        process.kill()
        process.wait()
        for pid in processes_with(f"HOME={node.home}"):  # what was started on the node, tmux included
            kill(pid)
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, port: int, env: Mapping[str, str]) -> Node:
    home, programs = folder / "home", folder / "bin"
    home.mkdir()
    programs.mkdir()
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    login, own = folder / "login", {**env, "HOME": str(home), "TMUX_TMPDIR": str(folder)}  # not the tmux of the user
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in own.items())
    login.write_text(f"""{exports}cd {shlex.quote(str(home))} || exit
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec bash -c "$SSH_ORIGINAL_COMMAND"; else exec bash; fi
""")
    (folder / "sshd_config").write_text(f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand exec bash {login}
""")
    (folder / "ssh_config").write_text(f"""
Host node
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  LogLevel ERROR
""")
    for name in ("ssh", "scp"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shutil.which(name)} -F {folder}/ssh_config "$@"\n')
        program.chmod(0o755)
    return Node(home, programs, None)  # type: ignore[arg-type]
