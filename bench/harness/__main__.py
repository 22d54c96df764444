"""scripts/bench: measures box beside its peers and writes down what came out."""

import argparse
import importlib
import json
import os
import re
import signal
import sys
import time

import inputs
import machine
import page
from workshop import TOP, Workshop, say

# Those that make few files first: what comes after many were deleted or made is slower.
SUITES = ("start", "log", "scale", "micro", "unpack", "pull")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("suite", nargs="?", default="all", choices=[*SUITES, "smoke", "page", "all"], help="what to measure; `page` only writes docs/performance.md again from bench/results.json")
    parser.add_argument("--only", action="append", metavar="TABLE", help="only this table of the suite, for example start-warm; repeatable")
    parser.add_argument("--box", metavar="FILE", default=os.environ.get("BOX_BENCH_BIN"), help="measure this binary [default: scripts/build makes it]")
    parser.add_argument("--work", metavar="DIR", default=str(TOP / "bench/work"), help="where inputs are kept and measurements are made")
    parser.add_argument("--check", action="store_true", help="with `page`: fail where the page is not what the results say")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds: to see whether it works, not for the page")
    parser.add_argument("--priority", action="store_true", help="measure at nice -20; it takes the CPUs from all others, so only where nobody else works")
    parser.add_argument("--dry", action="store_true", help="print the tables, write no file")
    options = parser.parse_args()

    if options.suite == "page":
        return write_page(options.check)
    if os.getuid() != 0:
        raise SystemExit('error: containers and caches are measured as root\nhint: sudo env "PATH=$PATH" scripts/bench')
    if options.priority:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    names = SUITES if options.suite == "all" else [options.suite]
    tables = [table for name in names if name in SUITES for table in importlib.import_module(f"suites.{name}").TABLES]
    for name in options.only or []:
        if name not in tables:
            raise SystemExit(f"error: there is no table {name!r} here\nhint: {' '.join(tables)}")
    # As Ctrl-C does, so that all is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    began, failed = time.monotonic(), []
    binary = options.box and os.path.abspath(options.box)
    with Workshop(options.work, names, binary, 0.2 if options.quick else 1) as shop:
        if options.suite == "smoke":
            return smoke(shop)
        for name in names:
            # One suite that cannot be measured does not cost the others, or what was measured before.
            try:
                failed += measure(shop, name, options)
            except (Exception, SystemExit) as error:
                if "SIGTERM" in str(error):
                    raise
                failed.append(f"{name}: {str(error).removeprefix('error: ') or type(error).__name__}")
    say(f"{len(tables) if not options.only else len(options.only)} tables in {time.monotonic() - began:.0f} seconds")
    for failure in failed:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failed else 0


def measure(shop, name, options):
    """One suite: measured, printed, kept. Gives a sentence for each table without a figure of box, which is not kept."""
    failed = []
    disk = shop.calm()
    about = machine.describe(shop, options.box) | {"disk": disk, "busy_before": machine.busy(), "priority": "nice -20" if options.priority else "normal priority"}
    began = time.monotonic()
    for table_name, result in importlib.import_module(f"suites.{name}").run(shop, options.only):
        about = about | {"busy_after": machine.busy()}
        result["machine"] = about
        shorten(result, shop)
        print(page.terminal(result), flush=True)
        say(f"{table_name} took {time.monotonic() - began:.0f} seconds")
        missing = [entry for entry in result["rows"] if entry["name"].startswith("box") and "reason" in entry]
        if missing or not result["rows"]:
            failed.append(f"{table_name}: {missing[0]['reason'] if missing else 'nothing was measured'}; what was known before is kept")
        elif not options.dry:
            page.keep(load() | {table_name: result})
        about = about | {"busy_before": about["busy_after"]}
        began = time.monotonic()
    return failed


def smoke(shop):
    """The quick check of CI."""
    from suites import smoke as suite
    say(f"measuring {shop.box}")
    began = time.monotonic()
    for _attempt in range(3):
        busy = machine.busy()
        say(f"other programs use {busy} % of the CPUs")
        failed = []
        for result in suite.run(shop):
            print(page.terminal(result), flush=True)
            failed += suite.failures(result, busy)
        if not failed:
            break
        say("that was slow; once more, lest it was the neighbours")
    say(f"the smoke test took {time.monotonic() - began:.0f} seconds")
    for failure in failed:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failed else 0


def shorten(result, shop):
    """Takes what is this machine's or this run's alone out of what is written down: directories, sockets, ports."""
    for entry in result["rows"]:
        for key in ("command", "reason"):
            if key in entry:
                text = entry[key].replace(shop.box, "box").replace(str(shop.runs), "$RUN").replace(shop.running, "$STATE").replace(str(shop.work), "$WORK")
                text = text.replace(str(inputs.minirootfs(shop)), "minirootfs.tar.gz").replace(str(TOP.parent), "..")
                for pattern, plain in GENERIC:
                    text = re.sub(pattern, plain, text)
                entry[key] = text


# A directory of a run is named NUMBER-WHAT-ROUND.
GENERIC = (
    (r"\$(RUN|STATE)/\d+-([a-z]+(?:-[a-z]+)*)(?:-\d+)?", r"$\1/\2"),
    (r"unix://\S*/box-bench-docker\S*\.sock", "unix://$RUN/docker.sock"),
    (r"http://127\.0\.0\.1:\d+", "$MIRROR"),
    (r"127\.0\.0\.1:\d+", "$REGISTRY"),
    (r"\b[0-9a-f]{12}\b", "$IMAGE"),
)


def load():
    """The results so far."""
    return json.loads(page.RESULTS.read_text()) if page.RESULTS.exists() else {}


def write_page(check):
    """The page alone, or only the question whether it is right."""
    results = load()
    if not check:
        return page.write(results)
    for path in page.stale(results):
        print(f"error: {path.relative_to(TOP)} is not what bench/results.json says\nhint: scripts/bench page", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
