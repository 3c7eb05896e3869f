"""A real Slurm of one node on this machine: munged, slurmctld and slurmd, in a folder of its own.

Needs no root and nothing that runs already: `apt-get install slurm-wlm munge` is enough. It has no
accounting database, as many small clusters.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

START = 30.0  # seconds until a daemon answers, on a busy machine
DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "setpriv")
FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")  # of daemons, which users have not on PATH

# {name} is this machine, {user} who runs the tests. AuthInfo: a job that is queued again waits
# until the credential of its last start is invalid. JobRequeue=0: only jobs that ask for it are.
CONFIG = """\
ClusterName=tests
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=100000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MessageTimeout=5
KillWait=5
MinJobAge={job_age}
ReturnToService=2
JobRequeue=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={name} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 GraceTime=4 PriorityTier=1 State=UP
PartitionName=short Nodes=ALL MaxTime=10 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=9 State=UP
"""


def missing() -> str:
    """Return why no Slurm can run here; "" if it can."""
    if sys.platform != "linux":
        return "Slurm runs on Linux only"
    found = [name for name in PROGRAMS if not program(name)]
    if found:
        return f"{', '.join(found)} not found: apt-get install slurm-wlm munge"
    return ""


def program(name: str) -> str:
    """Return the path of a program; "" if it is not installed."""
    folders = [os.environ.get("PATH", ""), *FOLDERS]
    return shutil.which(name, path=os.pathsep.join(folders)) or ""


@dataclass
class Cluster:
    """A running Slurm; its commands find it by SLURM_CONF."""

    folder: Path  # its own: settings, logs, state
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)  # jobs of earlier tests

    @property
    def conf(self) -> Path:
        """Return the settings, for SLURM_CONF."""
        return self.folder / "slurm.conf"

    @property
    def node(self) -> str:
        """Return the name of its only node."""
        return socket.gethostname().partition(".")[0]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which Slurm's commands speak to this Slurm."""
        return {**os.environ, "SLURM_CONF": str(self.conf)}

    def call(self, *words: str) -> str:
        """Run one of Slurm's commands; return its output without the last line break."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def jobs(self) -> dict[str, str]:
        """Return the states of all jobs since it was cleared, such as {"12_3": "RUNNING"}."""
        lines = self.call("squeue", "--noheader", "--array", "--states=all", "--format=%i %T")
        found = dict(line.split(maxsplit=1) for line in lines.splitlines())
        return {job: state for job, state in found.items() if job not in self.cleared}

    def start_daemon(self, name: str, *more: str) -> None:
        """Start a daemon, with more options; it ends with the tests, even if they are killed."""
        options = {
            "munged": ["--foreground", "--force", *self._munge_options()],
            "slurmctld": ["-D", "-f", str(self.conf)],
            "slurmd": ["-D", "-f", str(self.conf)],
        }[name]
        with (self.folder / f"{name}.out").open("ab") as output:
            self.started[name] = subprocess.Popen(
                [program("setpriv"), "--pdeathsig", "TERM", program(name), *options, *more],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C at the tests does not come to it
            )

    def _munge_options(self) -> list[str]:
        names = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        names |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        return [f"--{option}={self.folder / name}" for option, name in names.items()]

    def kill_controller(self) -> None:
        """End the controller as a power cut does, once it has saved what it knows of jobs.

        Otherwise it takes jobs for waiting that run, and starts them again.
        """
        saved, began = self.folder / "state" / "job_state", time.time()
        live = [job for job, state in self.jobs().items() if state in {"RUNNING", "PENDING"}]
        for job in live[-1:]:  # one that has ended cannot be changed
            self.call("scontrol", "update", f"JobId={job}", "Comment=saved")
        end = time.monotonic() + START * bool(live)
        while time.monotonic() < end and not (saved.exists() and saved.stat().st_mtime > began):
            time.sleep(0.1)
        self.started["slurmctld"].kill()
        self.started["slurmctld"].wait(START)

    def start_controller(self, *, forgetful: bool = False) -> None:
        """Start the controller again, which goes on with the jobs, and wait until it answers.

        Args:
            forgetful: Whether it forgets all jobs.

        """
        self.start_daemon("slurmctld", *(["-c"] if forgetful else []))
        self.wait_until_it_answers()

    def wait_until_it_answers(self) -> None:
        """Wait until the controller answers and the node is up."""
        end, said = time.monotonic() + START, ""
        while time.monotonic() < end:
            done = subprocess.run(
                [program("sinfo"), "--noheader", "--format=%T"],
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=START,
                check=False,
            )
            said = done.stdout + done.stderr
            if done.returncode == 0 and set(done.stdout.split()) <= {"idle", "mixed", "allocated"}:
                return
            time.sleep(0.2)
        logs = [path.read_text("utf-8", "replace")[-1000:] for path in self.folder.glob("*.log")]
        msg = "\n".join(["Slurm does not answer:", said, *logs])
        raise TimeoutError(msg)

    def stop(self) -> None:
        """Cancel all jobs, wait for their end, and stop the daemons and what they started."""
        with contextlib.suppress(Exception):  # it may not answer: its processes are killed below
            self.clear()
        for name in reversed(DAEMONS):
            if process := self.started.get(name):
                process.terminate()
                try:
                    process.wait(START)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(START)
        for pid in self._steps():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def clear(self) -> None:
        """Cancel all jobs, and wait for their end; start the controller if it was killed."""
        self.cleared = set()
        if self.started["slurmctld"].poll() is not None:
            self.start_controller()
        self.call("scancel", f"--user={getpass.getuser()}")
        end = time.monotonic() + START
        while self.call("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.2)
        self.cleared = {*self.jobs()}
        # A controller that has forgotten a job may give its number to another: the node then takes
        # no further jobs ("Duplicate jobid").
        with contextlib.suppress(AssertionError):  # it takes jobs already
            self.call("scontrol", "update", f"nodename={self.node}", "state=resume")

    def _steps(self) -> Iterator[int]:
        """Yield the processes of jobs of this Slurm, and those that look after them."""
        mark = f"SLURM_CONF={self.conf}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                names = (folder / "environ").read_bytes()
                if mark in names and (
                    b"SLURM_JOB_ID=" in names or b"slurmstepd" in (folder / "cmdline").read_bytes()
                ):
                    yield int(folder.name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running_slurm(
    *, job_age: int = 300, more: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Start a Slurm with this machine as its only node, and stop all of it at the end.

    Args:
        job_age: The seconds after which it forgets a job that has ended.
        more: Further settings of slurm.conf.

    """
    # A short path: that of a socket may have 100 letters only.
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # munged wants everybody to reach its socket
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        for one in ("state", "spool"):
            (folder / one).mkdir()
        cluster = Cluster(folder)
        text = CONFIG.format(
            name=cluster.node,
            user=getpass.getuser(),
            folder=folder,
            controller_port=_free_port(),
            node_port=_free_port(),
            job_age=job_age,
            cpus=os.cpu_count(),
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        )
        text += "".join(f"{key}={value}\n" for key, value in (more or {}).items())
        cluster.conf.write_text(text, "utf-8")
        try:
            cluster.start_daemon("munged")
            end = time.monotonic() + START
            while not (folder / "munge.socket").exists() and time.monotonic() < end:
                time.sleep(0.05)
            cluster.start_daemon("slurmctld")
            cluster.start_daemon("slurmd")
            cluster.wait_until_it_answers()
            yield cluster
        finally:
            cluster.stop()
