"""The speed of the log of a background container: box's monitor compared with conmon, podman's."""

import shlex
import shutil

import inputs
from measure import Subject, rows
from suites import table
from suites.start import box_root
from workshop import missing, need, say

TABLES = ("log-lines", "log-long-lines")
ROUNDS = 10
MIB = 1024
# box may take as long as conmon does.
TARGET = 1.0
# The size of one file; box keeps two of that size by default.
SIZE = 32 << 20


def run(shop, only=None):
    """All tables of logs, or those named in `only`."""
    need("conmon", "runc", "gzip", "tar")
    # Lines like those of a server, and lines longer than either buffer.
    short = f"yes 'GET /index.html 200 1234 a line of a log as a web server writes it' | head -c {MIB << 20}"
    long = f"yes {'x' * 65535} | head -c {MIB << 20}"
    for name, what, script in (("log-lines", "lines of 70 bytes", short), ("log-long-lines", "lines of 64 KiB", long)):
        if only is None or name in only:
            say(name)
            yield name, throughput(shop, what, script)


def throughput(shop, what, script):
    """Containers that write a fixed amount to stdout and end, each with its log; from the start to the recorded end."""
    subjects = [box(shop, "box", script, []), conmon(shop, "conmon", script, SIZE),
                box(shop, "box, no limit", script, ["--log-opt", "max-size=-1"]), conmon(shop, "conmon, no limit", script, None)]
    subjects[3].base = "box, no limit"
    subjects[1].target = subjects[3].target = TARGET
    measured = shop.meter.alternate(subjects, ROUNDS)
    entries = rows(subjects, measured, "box")
    entries[2].pop("ratio", None)
    for entry in entries:
        entry.pop("rss_kib", None)
        entry.pop("cpu_ms", None)
        if "wall_ms" in entry:
            entry["value"] = round(MIB * 1000 / entry["wall_ms"]["median"])
    return table(f"The log of {MIB} MiB of {what}", entries, unit="MiB/s", note="The start of the container is included. For containers with a limit, the remaining log has at most 64 MiB with box, 32 with conmon.")


def box(shop, name, script, options):
    command = [shop.box, "--root", box_root(shop)]
    made = "log{n}" + "-".join(options).replace("=", "")
    line = f"{shlex.join(map(str, [*command, 'run', '-d', '--net', 'none', '--name', made, *options, 'alpine', 'sh', '-c', script]))} && {shlex.join(map(str, [*command, 'wait', made]))}"
    return Subject(name, ["sh", "-c", line], after=lambda turn: shutil.rmtree(box_root(shop) / "instances" / made.replace("{n}", str(turn)) / "log"))


def conmon(shop, name, script, limit):
    """conmon as podman starts it, with runc, until it has recorded the end of the container."""
    bundle = "" if missing("runc") else inputs.bundle(shop, inputs.tree(shop, "minirootfs", inputs.minirootfs(shop)), ["sh", "-c", script])
    directory, state = shop.fresh("conmon"), shop.state("conmon")
    made = f"l{{n}}-{limit or 0}"
    log, ended = directory / f"{made}.log", directory / made
    options = ["--log-size-max", limit] if limit else []
    start = ["conmon", "-c", made, "-u", made, "-r", shutil.which("runc") or "runc", "-b", bundle, "-p", f"{ended}.pid", "-l", f"k8s-file:{log}",
             "--exit-dir", directory, "--socket-dir-path", shop.state("attach"), *options, "--runtime-arg", f"--root={state}"]
    runtime = shlex.join(["runc", "--root", str(state)])
    line = f"""{shlex.join(map(str, start))}
until {runtime} start {made} 2>/dev/null; do sleep 0.005; done
until [ -s {ended} ]; do sleep 0.005; done
{runtime} delete -f {made}"""

    def clean(turn):
        log.with_name(log.name.replace("{n}", str(turn))).unlink()

    return Subject(name, ["sh", "-c", line], "with runc, an unpacked bundle", after=clean, reason=missing("conmon") or missing("runc"))
