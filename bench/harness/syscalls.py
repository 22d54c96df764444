"""System calls counted: unlike time, a number that a noisy machine cannot change, so a budget can be kept exactly."""

import collections
import re

from suites import table
from workshop import missing, output

# What a start may cost, from box's own exec until its exit, the calls of the container's command left out.
START_BUDGET = 300
# What one entry of an archive may cost while the Debian root filesystem is unpacked.
ENTRY_BUDGET = 8.0

CALL = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()")


def count(shop, command, ends_at_exec=None):
    """{system call: number} of `command` and what it forks; a process is no longer counted once it executes `ends_at_exec`."""
    log = shop.fresh("strace") / "log"
    output(["strace", "-f", "-qq", "-e", "signal=none", "-o", log, *command])
    counts, left = collections.Counter(), set()
    for line in open(log, errors="replace"):
        match = CALL.match(line)
        if not match or match[2] or match[1] in left:
            continue
        counts[match[3]] += 1
        if ends_at_exec and match[3].startswith("execve") and f'"{ends_at_exec}"' in line:
            left.add(match[1])
    return counts


def total(counts, budget=None, units=1):
    """The cells of a row: all calls, for each of `units`, the most frequent ones, and whether the budget holds."""
    value = round(sum(counts.values()) / units, 2 if units > 1 else None)
    cells = {"value": value, "calls": dict(counts.most_common(12))}
    return cells | ({"budget": budget, "met": value <= budget} if budget else {})


def starts(peers):
    """The calls of one start, of box and of those that do less."""
    entries = []
    for subject in peers.subjects(names=("box", "floor", "bwrap", "crun", "runc")):
        entry = {"name": subject.name, "command": " ".join(subject.command(0)) if subject.reason is None else ""}
        reason = subject.reason or missing("strace")
        if reason:
            entries.append(entry | {"reason": reason})
            continue
        enter = ["nsenter", f"--mount={subject.mount_ns}"] if subject.mount_ns else []
        counts = count(peers.shop, [*enter, *subject.command(0)], "/bin/true")
        entry |= total(counts, START_BUDGET if entry["name"] == "box" else None)
        if entries and entries[0].get("value"):
            entry["ratio"] = {"median": round(entries[0]["value"] / entry["value"], 3)}
        entries.append(entry)
    return table("System calls of one start, its command left out", entries, unit="calls")


def unpacking(shop, tarball, entries):
    """The calls for each entry of `tarball`, of box and of tar."""
    found = []
    for name, command in {
        "box": [shop.box, "--root", shop.fresh("root"), "unpack", tarball, shop.fresh("strace-box", make=False)],
        "GNU tar": ["tar", "-xzf", tarball, "-C", shop.fresh("strace-tar")],
        "bsdtar": ["bsdtar", "-xzf", tarball, "-C", shop.fresh("strace-bsdtar")],
    }.items():
        entry = {"name": name, "command": " ".join(map(str, command))}
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
