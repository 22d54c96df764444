"""Takes under a minute, with two other programs: fails if box has become much slower than its targets."""

import contextlib

import inputs
import syscalls
from measure import rows
from suites import table
from suites.start import Peers
from suites.unpack import subjects
from workshop import need

# If box may take at most `target` of another program's time, twice that fails.
SLACK = 2
# If other programs use more of the CPUs than this, in percent, wall times mean little, and CPU time must be exceeded too.
NOISY = 30


def run(shop):
    """Compares starts with crun, which creates cgroups too, and unpacking with tar."""
    need("crun", "runc", "tar", "gzip", "strace")
    with contextlib.ExitStack() as stack:
        starts = Peers(shop, stack, images=False).subjects(names=("box", "crun"))
        yield table("A warm start", rows(starts, shop.meter.alternate_tight(starts, 60), "box"))
    unpacks = [s for s in subjects(shop, "minirootfs", inputs.minirootfs(shop), {"GNU tar": 0.6}) if s.name in ("box", "GNU tar")]
    yield table("Unpacking the Alpine minirootfs", rows(unpacks, shop.meter.alternate(unpacks, 25), "box"))
    calls = syscalls.total(syscalls.count(shop, starts[0].command(0), "/bin/true"), syscalls.START_BUDGET)
    yield table("System calls of one start, without its command", [{"name": "box", **calls}], unit="calls")


def failures(result, busy):
    """The failures of one table, a message for each failed row; `busy` is the CPU use of other programs."""
    first, *peers = result["rows"]
    if "reason" in first or peers and all("reason" in peer for peer in peers):
        yield f"{result['title']}: " + "; ".join(f"{entry['name']}: {entry['reason']}" for entry in result["rows"] if "reason" in entry)
        return
    for entry in result["rows"]:
        if "reason" in entry:
            continue
        if "budget" in entry and not entry["met"]:
            yield f"{result['title']}: {entry['value']}, the budget is {entry['budget']}"
        elif "target" in entry:
            limit = SLACK * entry["target"]
            wall = first["wall_ms"]["min"] / entry["wall_ms"]["min"]
            cpu = first["cpu_ms"]["median"] / entry["cpu_ms"]["median"]
            if wall > limit and (busy <= NOISY or cpu > limit):
                yield f"{result['title']}: box takes {wall:.2f} of {entry['name']}'s time and {cpu:.2f} of its CPU time, more than {SLACK} times the target {entry['target']:g}"
