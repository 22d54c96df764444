"""How long a start takes: `run --rm` of /bin/true in the real minirootfs, against the floor and the peers."""

import contextlib
import os
import pathlib
import shlex
import subprocess
import time

import inputs
import services
import syscalls
from measure import Failed, Subject, rows, spread
from suites import table
from workshop import missing, need, output, say

WARM, PARALLEL, CONTAINERS = 100, 200, 20
# What may stay in memory for each running container besides its command.
MONITOR_KIB = 2048
TARGETS = {"floor": 1.3, "bwrap": 1.2, "crun": 0.6, "podman": 1 / 30}


TABLES = ("start-warm", "start-cold", "start-pty", "start-parallel", "memory-running", "start-syscalls", "start-kernel")


def run(shop, only=None):
    """All tables of starts, or those named in `only`."""
    need("bwrap", "crun", "runc", "systemd-nspawn", "podman", "dockerd", "strace", "tar", "gzip", "skopeo")
    with contextlib.ExitStack() as stack:
        peers = Peers(shop, stack)
        makers = (warm, cold, terminal, parallel, resident, syscalls.starts, syscalls.kernel)
        for name, make in zip(TABLES, makers, strict=True):
            if only is None or name in only:
                say(name)
                yield name, make(peers)


def box_root(shop, tarball=None):
    """A BOX_ROOT of its own in which `alpine` is cached and unpacked; the same one each time."""
    def make():
        root = shop.fresh("box")
        mirror = inputs.mirror(shop, {"3.20.3": tarball or inputs.minirootfs(shop)})
        output([shop.box, "--root", root, "--mirror", f"file://{mirror}", "pull", "-q", "alpine"])
        output([shop.box, "--root", root, "run", "--rm", "--net", "none", "alpine", "/bin/true"])
        return root
    return shop.once(("root", tarball), make)


class Peers:
    """Every program that can start a container here, each with the same root filesystem made ready."""

    def __init__(self, shop, stack, images=True):
        """`images`: podman and docker too, whose images and daemon take some seconds."""
        self.shop = shop
        self.tarball = inputs.minirootfs(shop)
        self.rootfs = inputs.tree(shop, "minirootfs", self.tarball)
        self.root = box_root(shop)
        self.podman = services.podman(shop)
        self.docker = self.daemons = self.docker_reason = None
        self.images = images and not missing("podman")
        if not images:
            self.docker_reason = "not measured here"
            return
        if self.images:
            # The process id of podman's pause or database set-up must not fall into the first measured run.
            output([*self.podman, "pull", "-q", f"oci:{inputs.oci_layout(shop, 'alpine', self.tarball)}:alpine"])
        try:
            self.docker, self.daemons, _ = stack.enter_context(services.docker(shop))
            output(["sh", "-c", f"gzip -dc {self.tarball} | {shlex.join(self.docker)} import - alpine"])
        except (services.Unavailable, FileNotFoundError) as error:
            self.docker_reason = f"not measured: {error}"

    def subjects(self, args=("/bin/true",), pty=False, names=None, detached=False):
        """One subject for each program."""
        shop, runtimes = self.shop, self.shop.once("runtimes", lambda: self.shop.fresh("runtimes"))
        args = list(args)
        bundle = shop.once(("bundle", tuple(args), pty), lambda: inputs.bundle(shop, self.rootfs, args, pty)) if not missing("runc") else ""
        image = self.image()
        tty, detach = ["-t"] * pty, ["-d"] * detached
        keep = detach or ["--rm"]
        limits = ["--network", "none", *services.PODMAN_LIMITS]
        v1 = shop.v1_only()
        nspawn = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network", "-D", self.rootfs, *(["--console=interactive"] * pty), *args]
        every = [
            Subject("box", [shop.box, "--root", self.root, "run", *keep, *tty, "--net", "none", *(["--name", "b{n}"] * detached), "alpine", *args]),
            Subject("floor", [shop.program("floor"), self.rootfs, *args], "the same kernel work by the shortest C program"),
            Subject("seed", [shop.program("seed"), self.rootfs, *args], "pid and uts namespaces, chroot, /proc: no sandbox"),
            Subject("bwrap", ["bwrap", "--unshare-all", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev", *args], "no overlay, cgroup or seccomp"),
            Subject("crun", ["crun", "--root", runtimes / "crun", "run", *detach, "-b", bundle, "c{n}"], "an unpacked bundle" + (", where the v2 tree of the hybrid host is unmounted" if v1 else ""), mount_ns=v1),
            Subject("runc", ["runc", "--root", runtimes / "runc", "run", *detach, "-b", bundle, "r{n}"], "an unpacked bundle"),
            Subject("systemd-nspawn", nspawn, "an unpacked directory, no registration"),
            Subject("podman", [*self.podman, "run", *keep, *tty, *limits, image, *args], "--network none"),
            Subject("docker", [*(self.docker or []), "run", *keep, *tty, "--network", "none", "alpine", *args], "--network none; the daemon's CPU included", daemons=self.daemons, reason=self.docker_reason),
        ]
        for subject in every:
            subject.terminal = pty
            subject.target = TARGETS.get(subject.name)
            command = subject.argv[0] if subject.argv else None
            subject.reason = subject.reason or ("not measured: shared/floor/floor.c is not beside the checkout" if command is None else missing(str(command)))
        return [s for s in every if names is None or s.name in names]

    def image(self):
        """The id of podman's image: its name depends on how it was pulled."""
        return self.shop.once("image", lambda: output([*self.podman, "images", "-q"]).splitlines()[0]) if self.images else ""


def warm(peers):
    """Starts one after the other, everything in the page cache."""
    subjects = peers.subjects()
    quick = [s for s in subjects if s.name not in ("podman", "docker", "systemd-nspawn", "runc")]
    # The slow ones would only stretch the run; each of their rounds has a start of box beside it to compare with.
    slow = [s for s in subjects if s not in quick]
    measured = peers.shop.meter.alternate_tight(quick, WARM)
    entries = rows(quick, measured, "box")
    beside = [subjects[0], *slow]
    entries += rows(beside, peers.shop.meter.alternate_tight(beside, WARM // 5), "box")[1:]
    return table("A start, warm", entries, chart="wall_ms")


def cold(peers):
    """Starts after the image's files were dropped from the page cache."""
    subjects = peers.subjects(names=("box", "floor", "bwrap", "crun", "runc", "podman"))
    layers = peers.root / "layers"
    storage = peers.podman[2]
    for subject in subjects:
        where = {"box": layers, "podman": storage}.get(subject.name, peers.rootfs)
        subject.before = lambda _, where=where: drop(where)
        subject.target = None
    return table("A start, the image's files not in the page cache", rows(subjects, peers.shop.meter.alternate(subjects, 15), "box"))


def terminal(peers):
    """Starts on a terminal, each program with a pty of its own for the container where it makes one."""
    subjects = peers.subjects(names=("box", "bwrap", "crun", "runc", "podman", "docker"), pty=True)
    for subject in subjects:
        subject.target = None
        if subject.name == "bwrap":
            subject.note += "; makes no pty"
    return table("A start with a terminal", rows(subjects, peers.shop.meter.alternate(subjects, 15), "box"))


def parallel(peers):
    """Many starts at once: starts per second."""
    subjects = peers.subjects(names=("box", "floor", "bwrap", "crun", "runc", "podman"))
    cpus = os.cpu_count()
    for subject in subjects:
        subject.target = None
        count = PARALLEL if subject.name != "podman" else 20
        if subject.reason is None:
            line = shlex.join(str(a).replace("{n}", "{}") for a in subject.argv)
            subject.argv = ["sh", "-c", f"seq {count} | xargs -P {2 * cpus} -I{{}} {line}"]
        subject.note = f"{count} starts, {2 * cpus} at a time" + (f"; {subject.note}" if subject.note else "")
    measured = peers.shop.meter.alternate(subjects, 3, warmup=0)
    entries = rows(subjects, measured, "box")
    for subject, entry in zip(subjects, entries):
        if "wall_ms" in entry:
            count = PARALLEL if subject.name != "podman" else 20
            entry["value"] = round(count * 1000 / entry["wall_ms"]["median"], 1)
            entry.pop("rss_kib")
            entry["ratio"] = spread([entries[0]["value"] / entry["value"]])
    entries[0].pop("ratio", None)
    return table(f"Starts per second on {cpus} CPUs", entries, unit="starts/s", note="Here more is better, and the ratio is that of the starts per second.")


def drop(directory):
    """Drops the clean pages of all files under `directory` from the page cache (dentries and inodes stay)."""
    for top, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(top, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(peers):
    """Memory that a running container holds besides its command: monitors, shims, the waiting program itself."""
    subjects = peers.subjects(("/bin/sleep", "1000"), detached=True, names=("box", "bwrap", "crun", "runc", "podman", "docker"))
    entries = []
    for subject in subjects:
        entry = {"name": subject.name, "command": shlex.join(subject.command(0)), "note": f"{CONTAINERS} running"}
        try:
            if subject.reason:
                raise Failed(subject.reason)
            value, processes = weigh(peers, subject)
            entry |= {"value": round(value), "note": f"{processes:g} process{'es' * (processes != 1)} for each container"}
            if subject.name == "box":
                entry |= {"budget": MONITOR_KIB, "met": value <= MONITOR_KIB}
            if entries and entries[0].get("value") is not None and value:
                entry["ratio"] = spread([entries[0]["value"] / value])
        except Failed as failed:
            entry["reason"] = str(failed)
        entries.append(entry)
    return table("Resident memory for each running container, its command left out", entries, unit="KiB")


def weigh(peers, subject):
    """Starts containers of `subject`, weighs what stays besides the commands, and ends all. KiB and processes, for each."""
    known = monitors(peers.shop)
    started = []
    try:
        for number in range(CONTAINERS):
            command = subject.command(number)
            if subject.mount_ns:
                command = ["nsenter", f"--mount={subject.mount_ns}", *command]
            with open(peers.shop.fresh("log") / "log", "w+") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                started.append(process)
                if subject.name != "bwrap" and process.wait() != 0:
                    log.seek(0)
                    raise Failed(f"not measured: {(log.read().strip().splitlines() or ['it said nothing'])[-1][:200]}")
        time.sleep(1)
        kept = monitors(peers.shop) - known
        return sum(map(rss, kept)) / CONTAINERS, len(kept) / CONTAINERS
    finally:
        end(peers, subject, started)


def monitors(shop):
    """Processes that we started, directly or not: they carry our mark in their environment, or our directory in their
    arguments where they have an environment of their own. Commands of containers are left out."""
    found = set()
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            marked = f"BOX_BENCH={os.getpid()}\0".encode() in (path / "environ").read_bytes()
            marked |= str(shop.runs).encode() in (path / "cmdline").read_bytes()
            if marked and (path / "comm").read_text().strip() not in ("sleep", "sh") and int(path.name) != os.getpid():
                found.add(int(path.name))
    return found


def rss(pid):
    """Resident memory in KiB, shared pages counted in full as `ps` does."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def end(peers, subject, started):
    """Ends the containers of `weigh`."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = subject.command(0)
    if subject.name == "box":
        names = [f"b{number}" for number in range(len(started))]
        subprocess.run([*command[:3], "rm", "-f", *names], **quiet)
    elif subject.name in ("crun", "runc"):
        for number in range(len(started)):
            name = subject.command(number)[-1]
            enter = ["nsenter", f"--mount={subject.mount_ns}"] if subject.mount_ns else []
            subprocess.run([*enter, *command[:3], "delete", "-f", name], **quiet)
    elif subject.name == "podman":
        subprocess.run([*map(str, peers.podman), "rm", "-f", "-a", "-t", "0"], **quiet)
    elif subject.name == "docker":
        listed = output([*peers.docker, "ps", "-aq"]).split()
        subprocess.run([*peers.docker, "rm", "-f", *listed], **quiet)
    for process in started:
        process.kill()
        process.wait()
