"""scripts/bench: measures box and comparable programs and writes the results."""

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

# Suites that create few files come first: after many were created or deleted, the next ones are slower.
SUITES = ("start", "log", "scale", "micro", "unpack", "pull")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("suite", nargs="?", default="all", choices=[*SUITES, "smoke", "page", "all"], help="the suite to measure; `page` only rewrites docs/performance.md from bench/results.json")
    parser.add_argument("--only", action="append", metavar="TABLE", help="only this table of the suite, for example start-warm; repeatable")
    parser.add_argument("--box", metavar="FILE", default=os.environ.get("BOX_BENCH_BIN"), help="measure this binary [default: the one that scripts/build makes]")
    parser.add_argument("--work", metavar="DIR", default=str(TOP / "bench/work"), help="directory for inputs and measurements")
    parser.add_argument("--check", action="store_true", help="with `page`: fail if the page does not match the results")
    parser.add_argument("--quick", action="store_true", help="run a fifth of the rounds: a trial run, not for the page")
    parser.add_argument("--priority", action="store_true", help="measure at nice -20; this takes the CPUs from all other programs, so use it only on an idle machine")
    parser.add_argument("--dry", action="store_true", help="print the tables without writing files")
    options = parser.parse_args()

    if options.suite == "page":
        return write_page(options.check)
    if os.getuid() != 0:
        raise SystemExit('error: measuring containers and caches needs root\nhint: sudo env "PATH=$PATH" scripts/bench')
    if options.priority:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    names = SUITES if options.suite == "all" else [options.suite]
    tables = [table for name in names if name in SUITES for table in importlib.import_module(f"suites.{name}").TABLES]
    for name in options.only or []:
        if name not in tables:
            raise SystemExit(f"error: no such table in this suite: {name!r}\nhint: {' '.join(tables)}")
    # The same as Ctrl-C, so that everything is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM"))
    began, failed = time.monotonic(), []
    binary = options.box and os.path.abspath(options.box)
    with Workshop(options.work, names, binary, 0.2 if options.quick else 1) as shop:
        if options.suite == "smoke":
            return smoke(shop)
        for name in names:
            # A suite that fails does not affect the others, or earlier results.
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
    """Measures one suite, prints it and saves it. Returns a message for each table without a figure for box; such a table is not saved."""
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
            failed.append(f"{table_name}: {missing[0]['reason'] if missing else 'nothing was measured'}; the earlier results are kept")
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
        say("that was slow; trying again, in case other programs were the cause")
    say(f"the smoke test took {time.monotonic() - began:.0f} seconds")
    for failure in failed:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failed else 0


def shorten(result, shop):
    """Removes from the results everything specific to this machine or run: directories, sockets, ports."""
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
    """Reads the existing results."""
    return json.loads(page.RESULTS.read_text()) if page.RESULTS.exists() else {}


def write_page(check):
    """Writes the page, or only checks it."""
    results = load()
    if not check:
        return page.write(results)
    for path in page.stale(results):
        print(f"error: {path.relative_to(TOP)} does not match bench/results.json\nhint: scripts/bench page", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
