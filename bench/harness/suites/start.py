"""The time of a start: `run --rm` of /bin/true in the real minirootfs, compared with the floor and other programs."""

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

WARM, ENGINES, PARALLEL, CONTAINERS = 100, 30, 200, 20
# The pause before the start of an engine, and of box in the same table, in seconds: the daemons and monitors of the previous one
# still clean up after its client has ended.
PAUSE = 0.2
# The memory budget for each running container besides its command.
MONITOR_KIB = 2048
TARGETS = {"floor": 1.3, "bwrap": 1.2, "crun": 0.6, "podman": 1 / 30}


TABLES = ("start-warm", "start-engines", "start-cold", "start-pty", "start-parallel", "memory-running", "start-syscalls", "start-kernel")


def run(shop, only=None):
    """All tables of starts, or those named in `only`."""
    need("bwrap", "crun", "runc", "systemd-nspawn", "podman", "dockerd", "strace", "tar", "gzip", "skopeo")
    with contextlib.ExitStack() as stack:
        peers = Peers(shop, stack)
        makers = (warm, engines, cold, terminal, parallel, resident, syscalls.starts, syscalls.kernel)
        for name, make in zip(TABLES, makers, strict=True):
            if only is None or name in only:
                say(name)
                yield name, make(peers)


def box_root(shop, tarball=None):
    """A separate BOX_ROOT in which `alpine` is cached and unpacked; the same one each time."""
    def make():
        root = shop.fresh("box")
        mirror = inputs.mirror(shop, {"3.20.3": tarball or inputs.minirootfs(shop)})
        output([shop.box, "--root", root, "--mirror", f"file://{mirror}", "pull", "-q", "alpine"])
        output([shop.box, "--root", root, "run", "--rm", "--net", "none", "alpine", "/bin/true"])
        return root
    return shop.once(("root", tarball), make)


class Peers:
    """Every program that can start a container here, each prepared with the same root filesystem."""

    def __init__(self, shop, stack, images=True):
        """`images`: podman and docker too, whose images and daemon take some seconds."""
        self.shop = shop
        self.tarball = inputs.minirootfs(shop)
        self.rootfs = inputs.tree(shop, "minirootfs", self.tarball)
        self.root = box_root(shop)
        self.podman = services.podman(shop)
        # podman uses crun, and must always run in the namespace in which crun works: it remembers its mounts.
        self.enter = ["nsenter", f"--mount={shop.v1_only()}"] if shop.v1_only() else []
        self.docker = self.daemons = self.docker_directory = self.podman_image = None
        self.podman_reason = self.docker_reason = None if images else "not measured here"
        if not images:
            return
        try:
            layout = inputs.oci_layout(shop, "alpine", self.tarball)
            # podman's set-up at its first use must not fall into the first measured run.
            output([*self.enter, *self.podman, "pull", "-q", f"oci:{layout}:alpine"])
            # Its name depends on the way it was pulled.
            self.podman_image = output([*self.enter, *self.podman, "images", "-q"]).splitlines()[0]
        except (SystemExit, FileNotFoundError) as error:
            self.podman_reason = missing("podman") or f"not measured: {error}"
        try:
            self.docker, self.daemons, self.docker_directory = stack.enter_context(services.docker(shop))
            output(["sh", "-c", f"gzip -dc {self.tarball} | {shlex.join(self.docker)} import - alpine"])
        except (services.Unavailable, SystemExit, FileNotFoundError) as error:
            self.docker_reason = f"not measured: {error}"

    def subjects(self, args=("/bin/true",), pty=False, names=None, detached=False):
        """One subject for each program."""
        shop, runtimes = self.shop, self.shop.once("runtimes", lambda: self.shop.state("runtimes"))
        args = list(args)
        bundle = shop.once(("bundle", tuple(args), pty), lambda: inputs.bundle(shop, self.rootfs, args, pty)) if not missing("runc") else ""
        tty, detach = ["-t"] * pty, ["-d"] * detached
        keep = detach or ["--rm"]
        limits = ["--network", "none", *services.PODMAN_LIMITS]
        v1 = shop.v1_only()
        inside = ", where the v2 tree of the hybrid host is unmounted" if v1 else ""
        nspawn = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network", "-D", self.rootfs, *(["--console=interactive"] * pty), *args]
        every = [
            Subject("box", [shop.box, "--root", self.root, "run", *keep, *tty, "--net", "none", *(["--name", "b{n}"] * detached), "alpine", *args]),
            floor(shop, [self.rootfs, *args]),
            Subject("seed", [shop.program("seed"), self.rootfs, *args], "pid and uts namespaces, chroot, /proc: no sandbox"),
            Subject("bwrap", ["bwrap", "--unshare-all", "--bind", self.rootfs, "/", "--proc", "/proc", "--dev", "/dev", *args], "no overlay, cgroup or seccomp"),
            Subject("crun", ["crun", "--root", runtimes / "crun", "run", *detach, "-b", bundle, "c{n}"], f"an unpacked bundle, no overlay or seccomp{inside}", mount_ns=v1),
            Subject("runc", ["runc", "--root", runtimes / "runc", "run", *detach, "-b", bundle, "r{n}"], "an unpacked bundle, no overlay or seccomp"),
            Subject("systemd-nspawn", nspawn, "an unpacked directory, no registration"),
            Subject("podman", [*self.podman, "run", *keep, *tty, *limits, self.podman_image or "alpine", *args], f"--network none{inside}", mount_ns=v1, reason=self.podman_reason),
            Subject("docker", [*(self.docker or ["docker"]), "run", *keep, *tty, "--network", "none", "alpine", *args], "--network none; the daemon's CPU included", daemons=self.daemons, reason=self.docker_reason),
        ]
        for subject in every:
            subject.terminal = pty
            subject.target = TARGETS.get(subject.name)
            if pty and subject.name in ("floor", "seed"):
                subject.reason = "creates no terminal"
            subject.reason = subject.reason or missing(str(subject.argv[0]))
        return [s for s in every if names is None or s.name in names]


def floor(shop, args):
    """The floor program, or the reason why it cannot be measured."""
    program, reason = shop.program("floor"), None
    if program is None:
        reason = "not measured: shared/floor/floor.c is not beside the checkout"
    elif not os.path.isdir("/sys/fs/cgroup/memory"):
        reason = "not measured: it makes its groups on cgroup v1, which is not there, and would do less than box"
    return Subject("floor", [program or "floor", *args], "the same kernel work by the shortest C program", reason=reason)


# Programs so slow that their rounds would only delay the others.
SLOW = ("runc", "systemd-nspawn", "podman", "docker")


def warm(peers):
    """Starts one after the other, everything in the page cache."""
    subjects = [s for s in peers.subjects() if s.name not in SLOW]
    return table("A warm start", rows(subjects, peers.shop.meter.alternate_tight(subjects, WARM), "box"), chart="wall_ms")


def engines(peers):
    """The same for slower programs, with a pause before each."""
    subjects = [s for s in peers.subjects() if s.name in ("box", "floor", *SLOW)]
    for subject in subjects:
        subject.before = lambda _: time.sleep(PAUSE)
        # Its target is for starts without a pause.
        subject.target = None if subject.name == "floor" else subject.target
    return table("A warm start, compared with engines", rows(subjects, peers.shop.meter.alternate(subjects, ENGINES), "box"), chart="wall_ms")


def cold(peers):
    """Starts after the image's files were dropped from the page cache."""
    subjects = peers.subjects()
    storage = {"box": peers.root / "layers", "podman": peers.podman[2], "docker": peers.docker_directory}
    for subject in subjects:
        where = storage.get(subject.name, peers.rootfs)
        subject.before = lambda _, where=where: drop(where)
        subject.target = None
    return table("A start with the image's files not in the page cache", rows(subjects, peers.shop.meter.alternate(subjects, 15), "box"))


def terminal(peers):
    """Starts on a terminal; programs that can do so create a pty for the container."""
    subjects = peers.subjects(pty=True)
    for subject in subjects:
        subject.target = None
        if subject.name == "bwrap":
            subject.note += "; creates no pty"
    return table("A start with a terminal", rows(subjects, peers.shop.meter.alternate(subjects, 15), "box"))


def parallel(peers):
    """Many starts at once: starts per second."""
    subjects = peers.subjects()
    cpus = os.cpu_count()
    fewer = ("podman", "docker")
    for subject in subjects:
        subject.target = None
        count = PARALLEL if subject.name not in fewer else 20
        if subject.name == "systemd-nspawn":
            subject.reason = ALONE
        if subject.reason is None:
            line = shlex.join(str(a).replace("{n}", "{}") for a in subject.argv)
            subject.argv = ["sh", "-c", f"seq {count} | xargs -P {2 * cpus} -I{{}} {line}"]
        subject.note = f"{count} starts, {2 * cpus} at a time" + (f"; {subject.note}" if subject.note else "")
    measured = peers.shop.meter.alternate(subjects, 4)
    entries = rows(subjects, measured, "box")
    for subject, entry in zip(subjects, entries):
        if "wall_ms" in entry:
            count = PARALLEL if subject.name not in fewer else 20
            entry["value"] = round(count * 1000 / entry["wall_ms"]["median"], 1)
            entry.pop("rss_kib")
            entry["ratio"] = spread([entries[0]["value"] / entry["value"]])
    entries[0].pop("ratio", None)
    return table(f"Starts per second on {cpus} CPUs", entries, unit="starts/s", note="More is better; the ratio is that of the starts per second.")


ALONE = "not measured: it locks its directory, so each container would need its own tree"


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
    subjects = peers.subjects(("/bin/sleep", "1000"), detached=True)
    entries = []
    for subject in subjects:
        if subject.name in ("floor", "seed"):
            continue
        if subject.name == "systemd-nspawn":
            subject.reason = ALONE
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
    return table("Resident memory for each running container, without its command", entries, unit="KiB")


def weigh(peers, subject):
    """Starts containers of `subject`, measures the memory besides their commands, and ends all. Returns KiB and processes per container."""
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
    arguments if they have a different environment. Commands of containers are not included."""
    found = set()
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            marked = f"BOX_BENCH={os.getpid()}\0".encode() in (path / "environ").read_bytes()
            marked |= any(str(ours).encode() in (path / "cmdline").read_bytes() for ours in (shop.runs, shop.running))
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
        subprocess.run([*peers.enter, *map(str, peers.podman), "rm", "-f", "-a", "-t", "0"], **quiet)
    elif subject.name == "docker":
        listed = output([*peers.docker, "ps", "-aq"]).split()
        subprocess.run([*peers.docker, "rm", "-f", *listed], **quiet)
    for process in started:
        process.kill()
        process.wait()
