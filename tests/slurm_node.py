"""A Slurm of one node for tests: munged, slurmctld and slurmd on loopback, with all their files in one folder.

The node is configured with more CPUs, memory and GPUs than the machine has, so that several jobs run at the same time.
Jobs of the partition `urgent` preempt those of `main`. A job that requeues itself waits for its credential to expire
before it starts again: 5 s here, 120 s by default.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from processes import free_port, kill, processes_with, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue")
_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])  # the servers are not in the path of every user
_GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")  # Slurm accepts any device; nothing opens them
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"}


def missing_programs() -> list[str]:
    return [p for p in PROGRAMS if shutil.which(p, path=_PATH) is None]


class Slurm:
    """A running Slurm. Programs of Slurm find it by `env`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        self.env = {**outside, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def call(self, *command: str, cwd: Path | None = None, **env: str) -> str:
        """The stdout of one of Slurm's programs, which must succeed."""
        done = subprocess.run(command, cwd=cwd, env={**self.env, **env}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def submit(self, cwd: Path, *flags: str, **env: str) -> str:
        """The number of a new job: `sbatch` in this folder with these flags, of which the last is the script."""
        return self.call("sbatch", "--parsable", *flags, cwd=cwd, **env).strip()

    def type(self, commands: Sequence[str], cwd: Path, **env: str) -> str:
        """What a shell shows for these lines."""
        return self.call("bash", "-ec", "\n".join(commands), cwd=cwd, **env)

    def fields(self, job: str) -> dict[str, str]:
        """What Slurm says about a job, or about one task of an array (`12_3`)."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", job)))

    def state(self, job: str) -> str:
        return self.fields(job)["JobState"]

    def restarts(self, job: str) -> int:
        return int(self.fields(job)["Restarts"])

    def wait(self, *jobs: str, seconds: float = 120) -> list[str]:
        """Wait until the jobs have ended; their exit codes and signals, such as `0:0`."""
        for job in jobs:
            wait_until(functools.partial(self._ended, job), seconds, f"job {job} ends")
        return [self.fields(job)["ExitCode"] for job in jobs]

    def _ended(self, job: str) -> bool:
        return self.state(job) in _ENDED


@contextmanager
def slurm_node() -> Iterator[Slurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: paths of sockets are limited
    folder.chmod(0o755)
    slurm = Slurm(folder)
    _configure(folder)
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (folder / f"{command[0]}.out").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=slurm.env, stdout=log, stderr=log)
        started.append(process)

    try:
        start("munged", "-F", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
              f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
              f"--seed-file={folder}/munged.seed", "--num-threads=2")  # fmt: skip
        wait_until((folder / "munge.socket").exists, 20, "munged listens")
        start("slurmctld", "-D", "-i", "-f", str(folder / "slurm.conf"))
        start("slurmd", "-D", "-N", "node1", "-f", str(folder / "slurm.conf"))
        wait_until(lambda: _is_idle(slurm), 60, "the node is idle")
        yield slurm
    finally:
        _stop(slurm, started)
        shutil.rmtree(folder, ignore_errors=True)


def _is_idle(slurm: Slurm) -> bool:
    done = subprocess.run(["sinfo", "-h", "-o", "%t"], env=slurm.env, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "idle"


def _stop(slurm: Slurm, started: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(started):
        process.terminate()
    for process in reversed(started):
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid in processes_with(f"SLURM_CONF={slurm.env['SLURM_CONF']}"):  # jobs outlive slurmd
        kill(pid)


def _configure(folder: Path) -> None:
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "gres.conf").write_text("".join(f"Name=gpu File={device}\n" for device in _GPUS))
    (folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0,sched_interval=1,bf_interval=1,defer_batch=no
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
JobRequeue=1
KillWait=30
MinJobAge=3600
ReturnToService=2
InactiveLimit=0
NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=32 RealMemory=1000000 Gres=gpu:{len(_GPUS)}
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=node1 MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
""")
