"""Counts system calls: unlike time, their number does not depend on the load of the machine, so a budget can be exact."""

import collections
import re
import shlex
import statistics

from suites import table
from workshop import missing, output

# The budget of a start, from box's own exec until its exit, without the calls of the container's command: a little more
# than the actual number, so that additions show.
START_BUDGET = 560
# The budget for one entry of an archive while the Debian root filesystem is unpacked.
ENTRY_BUDGET = 8.0

# Calls that wait for another process, whose own calls are counted already.
WAITS = ("wait4", "waitid", "ppoll", "poll", "read", "recvmsg", "recvfrom", "epoll_wait", "futex", "pause", "rt_sigsuspend", "rt_sigtimedwait", "signalfd4")

CALL = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()")


def count(shop, command, ends_at_exec=None):
    """{system call: number} of `command` and its descendants; a process is no longer counted once it executes the file
    `ends_at_exec`, which `command` may have among its arguments."""
    log = shop.fresh("strace") / "log"
    output(["strace", "-f", "-qq", "-e", "signal=none", "-o", log, *command])
    counts, left = collections.Counter(), set()
    for line in open(log, errors="replace"):
        match = CALL.match(line)
        if not match or match[2] or match[1] in left:
            continue
        counts[match[3]] += 1
        if ends_at_exec and f'{match[3]}("{ends_at_exec}"' in line:
            left.add(match[1])
    return counts


def total(counts, budget=None, units=1):
    """The cells of a row: all calls, for each of `units`, the most frequent ones, and whether the budget holds."""
    value = round(sum(counts.values()) / units, 2 if units > 1 else None)
    cells = {"value": value, "calls": dict(counts.most_common(12))}
    return cells | ({"budget": budget, "met": value <= budget} if budget else {})


def starts(peers):
    """The calls of one start, for box and for simpler programs."""
    entries = []
    for subject in peers.subjects(names=("box", "floor", "bwrap", "crun", "runc")):
        entry = {"name": subject.name, "command": shlex.join(subject.command(0)) if subject.reason is None else ""}
        reason = subject.reason or missing("strace")
        if reason:
            entries.append(entry | {"reason": reason})
            continue
        enter = ["nsenter", f"--mount={subject.mount_ns}"] if subject.mount_ns else []
        # After many starts at once, box's first starts clean up after them.
        for _ in range(10):
            output([*enter, *subject.command(0)])
        counts = count(peers.shop, [*enter, *subject.command(0)], "/bin/true")
        entry |= total(counts, START_BUDGET if entry["name"] == "box" else None)
        if entries and entries[0].get("value"):
            entry["ratio"] = {"median": round(entries[0]["value"] / entry["value"], 3)}
        entries.append(entry)
    return table("System calls of one start, without its command", entries, unit="calls")


def kernel(peers):
    """The time that each system call takes in a start of the floor program and of box, the slowest ones first."""
    rounds = peers.shop.meter.rounds(20)
    spent = {}
    subjects = peers.subjects(names=("floor", "box"))
    for subject in subjects:
        reason = subject.reason or missing("strace")
        if reason:
            return table(KERNEL, [{"name": subject.name, "reason": reason}])
        spent[subject.name] = [times(peers.shop, subject.command(0), "/bin/true") for _ in range(rounds)]
    median = lambda name, call: round(statistics.median(run[call] for run in spent[name]), 3)
    calls = {call for run in spent["floor"] for call in run}
    slowest = sorted(calls, key=lambda call: -median("floor", call))[:8]
    entries = [{"name": call, "value": median("floor", call), "beside": median("box", call)} for call in slowest]
    return table(KERNEL, entries, unit="floor, ms", other="box, ms")


KERNEL = "Where a start spends its time in the kernel"


def times(shop, command, ends_at_exec):
    """{system call: milliseconds within it}, counted as by `count`, without waiting for another process."""
    log = shop.fresh("strace") / "log"
    output(["strace", "-f", "-T", "-qq", "-e", "signal=none", "-o", log, *command])
    spent, left = collections.Counter(), set()
    for line in open(log, errors="replace"):
        match, took = CALL.match(line), TOOK.search(line)
        if not match or match[1] in left:
            continue
        call = match[2] or match[3]
        if took and call not in WAITS:
            spent[call] += float(took[1]) * 1000
        if f'{call}("{ends_at_exec}"' in line:
            left.add(match[1])
    return spent


TOOK = re.compile(r"<(\d+\.\d+)>$")


def unpacking(shop, tarball, entries):
    """The calls for each entry of `tarball`, of box and of tar."""
    found = []
    for name, command in {
        "box": [shop.box, "--root", shop.fresh("root"), "unpack", tarball, shop.fresh("strace-box", make=False)],
        "GNU tar": ["tar", "-xzf", tarball, "-C", shop.fresh("strace-tar")],
        "bsdtar": ["bsdtar", "-xzf", tarball, "-C", shop.fresh("strace-bsdtar")],
    }.items():
        entry = {"name": name, "command": shlex.join(map(str, command))}
        reason = missing("strace") or missing(str(command[0]))
        if reason:
            found.append(entry | {"reason": reason})
            continue
        counts = count(shop, command)
        entry |= total(counts, ENTRY_BUDGET if name == "box" else None, entries)
        if found and found[0].get("value"):
            entry["ratio"] = {"median": round(found[0]["value"] / entry["value"], 3)}
        found.append(entry)
    return table(f"System calls for each of the {entries:,} entries of the Debian root filesystem", found, unit="calls/entry")
