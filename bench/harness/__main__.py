"""scripts/bench: measures box beside its peers and writes down what came out."""

import argparse
import importlib
import json
import os
import sys

import machine
import page
from workshop import TOP, Workshop, say

SUITES = ("pull", "unpack", "start", "scale", "micro")


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
        raise SystemExit("error: containers and caches are measured as root\nhint: sudo scripts/bench")
    if options.priority:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    names = SUITES if options.suite == "all" else [options.suite]
    with Workshop(options.work, options.box, 0.2 if options.quick else 1) as shop:
        if options.suite == "smoke":
            return smoke(shop)
        for name in names:
            measure(shop, name, options)


def measure(shop, name, options):
    """One suite: measured, printed, kept."""
    about = machine.describe(shop, options.box) | {"busy_before": machine.busy(), "priority": "nice -20" if options.priority else "normal priority"}
    for table_name, result in importlib.import_module(f"suites.{name}").run(shop, options.only):
        about = about | {"busy_after": machine.busy()}
        result["machine"] = about
        shorten(result, shop)
        print(page.terminal(result), flush=True)
        if not options.dry:
            results = load() | {table_name: result}
            page.RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
            page.write(results)
        about["busy_before"] = about["busy_after"]


def smoke(shop):
    """The quick check of CI."""
    from suites import smoke as suite
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
    for failure in failed:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failed else 0


def shorten(result, shop):
    """Takes this machine's directories out of what is written down."""
    for entry in result["rows"]:
        for key in ("command", "reason"):
            if key in entry:
                text = entry[key].replace(shop.box, "box").replace(str(shop.runs), "$RUN").replace(str(shop.work), "$WORK")
                entry[key] = text.replace(str(TOP.parent), "..")


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
