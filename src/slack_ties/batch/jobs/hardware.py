"""Jobs of Hugging Face: which machine suits a merge, how long it may take, and what that costs.

What the service says of its machines is text; what cannot be read is refused, and never guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slack_ties.batch.needs import LOADED, parents_bytes, time_limit
from slack_ties.errors import SlackTiesError
from slack_ties.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from huggingface_hub import JobHardwareInfo

__all__ = [
    "Estimate",
    "Flavor",
    "choose_flavor",
    "estimate",
    "flavors_of",
    "hours",
    "machine_for",
    "timeout_for",
]

GB = 1_000_000_000

# Of a machine's memory, what the system and the file cache of the mounts leave to us.
USABLE = 0.85

# Bytes of disk for the packages. Of 77 that uv chose, with torch 2.15.0, the wheels have 3.2 GB.
PACKAGES = 8 * GB

# Cores from which a merge computes faster than its parents are read: below, it waits for the CPU.
CORES = 8

# What a time limit allows for; each is far slower than what was measured elsewhere, because a job
# that is stopped has cost as much as one that ends. See docs/scale.md.
START = 15 * 60  # seconds until the packages are installed
READING = 50_000_000  # bytes in a second, from a mounted repository
SENDING = 25_000_000  # bytes in a second, to the Hub

UNITS = {"second": 3600, "minute": 60, "hour": 1}  # how many are in an hour

AMOUNT = re.compile(r"([\d.]{1,9})\s*(vCPU|[KMGT]i?B)", re.IGNORECASE)

FACTORS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
FACTORS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


@dataclass(frozen=True)
class Flavor:
    """A machine of the service."""

    name: str
    cores: float
    memory: int  # bytes
    disk: int  # bytes that are gone when the job ends
    gpu: int  # bytes of memory of all its GPUs; 0: none
    price: float  # USD in an hour

    def as_text(self) -> str:
        """Return it as a user reads it."""
        parts = [f"{self.cores:g} CPUs", f"{size(self.memory)} memory", f"{size(self.disk)} disk"]
        parts += [f"{size(self.gpu)} GPU memory"] if self.gpu else []
        return f"{self.name} ({', '.join(parts)}), ${self.price:.2f} an hour"


def flavors_of(hardware: Iterable[JobHardwareInfo]) -> list[Flavor]:
    """Return the machines that the service offers, the cheapest first.

    Args:
        hardware: What `HfApi.list_jobs_hardware` returns. Machines whose description cannot be
            read are left out.

    """
    found = [flavor for one in hardware if (flavor := _flavor(one))]
    return sorted(found, key=lambda one: (one.price, -one.cores, one.name))


def _flavor(one: JobHardwareInfo) -> Flavor | None:
    try:
        cores, memory = _amount(one.cpu), _amount(one.ram)
        disk = _amount(getattr(one, "ephemeral_storage", "") or "")  # of clients before 1.14: none
        gpu = _amount(one.accelerator.vram) if one.accelerator else 0.0
        price = float(one.unit_cost_usd) * UNITS[one.unit_label]
        per_hour = round(price, 2)  # the service rounds the price of a minute
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not (0 <= price < math.inf and isinstance(one.name, str)):
        return None
    return Flavor(one.name, cores, int(memory), int(disk), int(gpu), per_hour)


def _amount(text: str) -> float:
    match = AMOUNT.search(text)
    if not match:
        raise ValueError(text)
    return float(match[1]) * FACTORS.get(match[2].lower(), 1)


def choose_flavor(
    flavors: Sequence[Flavor], *, memory: int, disk: int, gpu: int = 0, name: str = ""
) -> Flavor:
    """Return the cheapest machine on which a merge fits.

    Of machines without a GPU, those with at least 8 cores come first: the next smaller one costs
    two cents less an hour, and merges at a fraction of the speed.

    Args:
        flavors: What there is, from `flavors_of`.
        memory: Bytes that the merge needs.
        disk: Bytes that it writes to the disk; the packages are added here.
        gpu: Bytes of GPU memory that an evaluation needs; 0: no GPU.
        name: The machine that the user has chosen: it is only looked up.

    Raises:
        SlackTiesError: There is none, or not the chosen one.

    """
    if name:
        chosen = next((one for one in flavors if one.name == name), None)
        if chosen is None:
            known = ", ".join(one.name for one in flavors) or "none"
            msg = f"Hugging Face Jobs has no machine {name!r}, expected one of: {known}"
            raise SlackTiesError(msg, hint="hf jobs hardware  # shows them with their prices")
        return chosen
    fits = [
        one
        for one in flavors
        if one.memory * USABLE >= memory
        and one.disk >= disk + PACKAGES
        and (one.gpu >= gpu if gpu else not one.gpu)
    ]
    if not fits:
        need = f"{size(memory)} of memory and {size(disk + PACKAGES)} of disk"
        need += f" and {size(gpu)} of GPU memory" if gpu else ""
        msg = f"no machine of Hugging Face Jobs has {need}"
        hint = "hf jobs hardware  # choose one, and name it with --flavor"
        raise SlackTiesError(msg, hint=hint)
    return min(fits, key=lambda one: (not gpu and one.cores < CORES, one.price, -one.cores))


def machine_for(  # noqa: PLR0913 - all but two by name
    plan: Mapping[str, Any],
    flavors: Sequence[Flavor],
    *,
    streamed: bool,
    evaluations: int = 0,
    name: str = "",
    timeout: int = 0,
) -> tuple[Flavor, int]:
    """Return the machine for a merge, and the seconds after which its job is stopped.

    Args:
        plan: What `slack-ties run --dry-run --json` printed.
        flavors: What there is, from `flavors_of`.
        streamed: Whether each file of the result is uploaded and deleted when it is merged.
        evaluations: How many evaluations there are.
        name: The machine that the user has chosen.
        timeout: The seconds that the user has chosen.

    Raises:
        SlackTiesError: There is no such machine.

    """
    # The parents are there as if they were downloaded: the memory and disk of that way count.
    way = {**plan, **(plan.get("with_download") or {})}
    result = way.get("disk") or 0
    flavor = choose_flavor(
        flavors,
        memory=way.get("memory") or 0,
        disk=way.get("streamed_disk", result) if streamed else result,
        gpu=int(LOADED * result) if evaluations else 0,
        name=name,
    )
    limit = timeout or timeout_for(parents_bytes(plan), result, evaluations=evaluations)
    return flavor, limit


def timeout_for(reads: int, sends: int, *, evaluations: int = 0) -> int:
    """Return after how many seconds a job may be stopped.

    The parents are read twice: once to compare their checksums with the Hub's, once to merge them.
    The rates are assumed, and the sum is doubled.

    Args:
        reads: Bytes of the weights of all parents.
        sends: Bytes of the merged weights.
        evaluations: How many evaluations there are.

    """
    return time_limit(START + 2 * reads / READING + sends / SENDING, evaluations)


def hours(seconds: float) -> str:
    """Return a time limit as text: 2 h, 90 min, 30 s."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


@dataclass(frozen=True)
class Estimate:
    """What the jobs of a batch can cost at most."""

    flavors: tuple[Flavor, ...]  # one for each job
    seconds: tuple[int, ...]  # the time limit of each

    @property
    def most(self) -> float:
        """USD if every job uses all its time."""
        pairs = zip(self.flavors, self.seconds, strict=True)
        return sum(flavor.price * seconds / 3600 for flavor, seconds in pairs)

    def as_text(self) -> str:
        """Return what a user reads before anything starts."""
        kinds = dict.fromkeys(zip(self.flavors, self.seconds, strict=True), 0)
        for pair in zip(self.flavors, self.seconds, strict=True):
            kinds[pair] += 1
        lines = [
            f"{counted(count, 'job')} on {flavor.as_text()}, at most {hours(seconds)} each"
            for (flavor, seconds), count in kinds.items()
        ]
        total = f"At most ${math.ceil(self.most * 100) / 100:.2f} in total; "
        return "\n".join([*lines, total + "the service counts the minutes that a job runs."])


def estimate(jobs: Iterable[tuple[Flavor, int]]) -> Estimate:
    """Return what jobs cost at most: the price of an hour times the hours of their time limits.

    Args:
        jobs: Of each job, the machine and the seconds after which it is stopped.

    """
    pairs = [*jobs]
    return Estimate(tuple(one for one, _ in pairs), tuple(seconds for _, seconds in pairs))
