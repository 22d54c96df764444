"""Scaling: starts and listings with 1, 100 and 1,000 cached references, kept containers and running containers."""

import os
import subprocess

import inputs
from measure import Subject, row, spread
from suites import table
from suites.start import box_root
from workshop import output, say

TABLES = ("scale-references", "scale-instances", "scale-running")
COUNTS, ROUNDS = (1, 100, 1000), 15
VERBS = {"run": ["run", "--rm", "--net", "none", "alpine", "/bin/true"], "ps -a": ["ps", "-a"], "images": ["images"], "gc": ["gc"]}


def run(shop, only=None):
    """All tables of growth, or those named in `only`."""
    for name, make in zip(TABLES, (references, instances, running), strict=True):
        if only is None or name in only:
            say(name)
            yield name, make(shop)


def references(shop):
    """Cached references, all of one image: the index grows, the blobs do not."""
    def fill(root, count):
        if count > 1:
            mirror = inputs.mirror(shop, {f"3.20.{number}": inputs.minirootfs(shop) for number in range(100, 99 + count)})
            names = (f"alpine:3.20.{number}" for number in range(100, 99 + count))
            output([shop.box, "--root", root, "--mirror", f"file://{mirror}", "pull", "-q", *names])

    return grown(shop, "Cached references", fill, lambda *_: None)


def instances(shop):
    """Kept containers: made by `run` without --rm."""
    def fill(root, count):
        for number in range(count):
            output([shop.box, "--root", root, "run", "--name", f"kept-{number}", "--net", "none", "alpine", "/bin/true"])

    return grown(shop, "Kept containers", fill, lambda *_: None)


def running(shop):
    """Running containers: made by `run -d`."""
    def fill(root, count):
        for number in range(count):
            output([shop.box, "--root", root, "run", "-d", "--name", f"running-{number}", "--net", "none", "alpine", "/bin/sleep", "10000"])

    def empty(root, count):
        subprocess.run([shop.box, "--root", root, "rm", "-f", *(f"running-{number}" for number in range(count))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return grown(shop, "Running containers", fill, empty)


def grown(shop, what, fill, empty):
    """Measures all of `VERBS` with each count side by side; the ratio of a row is its time divided by that with one."""
    roots, entries, reason = {}, [], None
    # Each root has its own run directory: <root>/run.
    shared = os.environ.pop("BOX_RUN")
    try:
        for count in COUNTS:
            root = roots[count] = shop.fresh("scale")
            output(["cp", "-a", f"{box_root(shop)}/.", root])
            try:
                fill(root, count)
            except SystemExit as error:
                reason = f"not measured: {str(error).removeprefix('error: ')[-300:]}"
                break
        for verb, arguments in VERBS.items():
            every = [
                Subject(f"box {verb}, {count:,}", [shop.box, "--root", roots[count], *arguments] if count in roots else None, reason=reason)
                for count in COUNTS
            ]
            measured = shop.meter.alternate(every, ROUNDS) if reason is None else {}
            for subject in every:
                entry = row(subject, measured.get(subject.name), None)
                if "wall_ms" in entry and subject is not every[0]:
                    pairs = zip(measured[subject.name], measured[every[0].name])
                    entry["growth"] = spread([many.wall / one.wall for many, one in pairs])
                entries.append(entry)
    finally:
        for count, root in roots.items():
            empty(root, count)
        os.environ["BOX_RUN"] = shared
    return table(what, entries, note="Growth is the time with this many divided by the time with one.")
