"""Under a minute, two peers: fails where box has become much slower than its targets say."""

import inputs
import syscalls
from measure import Subject, rows
from suites import table
from suites.start import box_root
from suites.unpack import subjects
from workshop import need

# Where box may be at most `target` times as slow as a peer, twice that fails. A machine shared with others can make any
# single run slow, but not the median of many alternating ones by that much.
SLACK = 2


def run(shop, only=None):
    """Starts against bubblewrap, unpacking against tar."""
    need("bwrap", "tar", "gzip", "strace")
    tarball, root = inputs.minirootfs(shop), box_root(shop)
    rootfs = inputs.tree(shop, "minirootfs", tarball)
    starts = [
        Subject("box", [shop.box, "--root", root, "run", "--rm", "--net", "none", "alpine", "/bin/true"]),
        Subject("bwrap", ["bwrap", "--unshare-all", "--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"], target=1.2),
    ]
    unpacks = [s for s in subjects(shop, "minirootfs", tarball, {"GNU tar": 0.6}) if s.name in ("box", "GNU tar")]
    counts = syscalls.count(shop, starts[0].command(0), "/bin/true")
    calls = {"name": "box", "value": sum(counts.values()), "budget": syscalls.START_BUDGET, "met": sum(counts.values()) <= syscalls.START_BUDGET}
    return {
        "smoke-start": table("A start, warm", rows(starts, shop.meter.alternate_tight(starts, 60), "box")),
        "smoke-unpack": table("Unpacking the Alpine minirootfs", rows(unpacks, shop.meter.alternate(unpacks, 25), "box")),
        "smoke-syscalls": table("System calls of one start, its command left out", [calls], unit="calls"),
    }


def failures(tables):
    """What fails: one sentence for each."""
    for result in tables.values():
        for entry in result["rows"]:
            if "reason" in entry:
                yield f"{result['title']}: {entry['name']}: {entry['reason']}"
            elif "budget" in entry and not entry["met"]:
                yield f"{result['title']}: {entry['value']}, the budget is {entry['budget']}"
            elif "target" in entry and entry["ratio"]["median"] > SLACK * entry["target"]:
                yield f"{result['title']}: box takes {entry['ratio']['median']:.2f} of {entry['name']}; more than {SLACK} times the target {entry['target']:.2f}"
