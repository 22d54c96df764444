"""Microbenchmarks: runs criterion and collects its results for the page."""

import json
import os
import pathlib
import subprocess
import sys

import inputs
from suites import table
from workshop import TOP, output

BENCHES = ["-p", "box-cache", "--bench", "find", "-p", "box-bench", "--bench", "inner"]


TABLES = ("inflate", "micro")


def run(shop, only=None):
    """One table for the ways to inflate, and one for all the rest."""
    environment = os.environ | {
        "BOX_BENCH_TARBALL": str(inputs.minirootfs(shop)),
        "BOX_BENCH_SCRATCH": str(shop.fresh("micro")),
        "CRITERION_HOME": str(shop.fresh("criterion")),
    }
    ended = subprocess.run(["cargo", "bench", "--locked", *BENCHES, "--", "--noplot", *(["--quick"] if shop.meter.share < 1 else [])], cwd=TOP, env=environment, stdout=sys.stderr)
    if ended.returncode != 0:
        raise SystemExit("error: cargo bench failed; its output is above")
    found = sorted(pathlib.Path(environment["CRITERION_HOME"]).rglob("new/estimates.json"))
    entries = [entry(path) for path in found]
    ours = next((e["ns"] for e in entries if "(box's)" in e["name"]), None)
    for other in entries:
        if ours and other["name"].startswith("inflate/") and "(box's)" not in other["name"]:
            other["ratio"] = {"median": round(ours / other["ns"], 3)}
    for name, title, mine in (
        ("inflate", "Ways to inflate the minirootfs", [e for e in entries if e["name"].startswith("inflate/")]),
        ("micro", "The inner parts", [e for e in entries if not e["name"].startswith("inflate/")]),
    ):
        if only is None or name in only:
            yield name, table(title, mine)


def entry(path):
    """One benchmark: its median time, and its throughput if it declares an amount."""
    estimate = json.loads(path.read_text())["median"]
    about = json.loads((path.parent / "benchmark.json").read_text())
    row = {"name": about["full_id"], "ns": estimate["point_estimate"]}
    amount = about.get("throughput")
    if amount and "Bytes" in amount:
        row["note"] = f"{amount['Bytes'] / row['ns'] * 1e9 / 2**20:,.0f} MiB/s"
    elif amount and "Elements" in amount:
        row["note"] = f"{row['ns'] / amount['Elements'] / 1000:.1f} µs each"
    return row
