"""The environment of measurements: directories, the programs built for them, and the packages of the other programs."""

import contextlib
import itertools
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from measure import Meter

TOP = pathlib.Path(__file__).resolve().parents[2]

# A command, and the Debian package that contains it.
PACKAGES = {
    "bwrap": "bubblewrap", "crun": "crun", "runc": "runc", "umoci": "umoci", "skopeo": "skopeo", "podman": "podman",
    "dockerd": "docker.io", "docker": "docker.io", "docker-registry": "docker-registry", "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container", "bsdtar": "libarchive-tools", "pigz": "pigz",
    "conmon": "conmon", "curl": "curl", "cc": "gcc", "strace": "strace", "gzip": "gzip", "tar": "tar",
}


# The disk space in GiB that a suite uses, with some reserve.
SPACE = {"start": 3, "log": 3, "scale": 3, "micro": 3, "unpack": 8, "pull": 6, "smoke": 2}


# The file system is calm below this ratio to one in memory; the longest wait for that in seconds; the number of test
# directories.
CALM = 6
MAX_WAIT = 400
PROBES = 8


class Workshop:
    """Everything that a suite needs. Use it as a context: its files are deleted at the end, and only there.

    ext4 searches long for free inodes for seconds after many were deleted, so nothing is removed between two runs and
    every run gets a new directory.
    """

    def __init__(self, work, suites, binary=None, share=1):
        self.work = pathlib.Path(work).resolve()
        self.inputs = self.work / "inputs"
        self.runs = self.work / f"runs-{os.getpid()}"
        self._numbers = itertools.count()
        self._space = sum(SPACE[name] for name in suites)
        self._box = binary
        self._share = share
        self._made = {}

    def __enter__(self):
        self.inputs.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.work).free >> 30
        if free < self._space:
            raise SystemExit(f"error: {self.work} has {free} GiB free, but {self._space} GiB are needed, as files are deleted only at the end\nhint: --work DIR")
        self.runs.mkdir()
        self.meter = Meter(self.program("measure"), self._share)
        # The measured box does not see the user's own cache, configuration, lock file or proxy. It marks the
        # processes that we start (see `monitors`).
        for name in [name for name in os.environ if name.startswith("BOX_") and name != "BOX_TEST_MIRROR"]:
            del os.environ[name]
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
        os.environ["BOX_CONFIG"] = str(self.fresh("config"))
        os.chdir(self.fresh("cwd"))
        os.environ["BOX_BENCH"] = str(os.getpid())
        # As in an installation, where the state of running containers is in /run, in memory; also for the other programs.
        shared = "/dev/shm" if os.path.ismount("/dev/shm") else None
        self.running = tempfile.mkdtemp(prefix=f"box-bench-{os.getpid()}-", dir=shared)
        os.environ["BOX_RUN"] = str(self.state("box"))
        self._groups = set(groups())
        return self

    def __exit__(self, *_):
        say("deleting temporary files")
        os.chdir(TOP)
        end_processes(self.runs)
        end_processes(self.running)
        unmount_below(self.running)
        for left in self.work.glob("runs-*"):
            # Our own, and those of a killed harness, whose process is gone.
            if left == self.runs or not os.path.exists(f"/proc/{left.name.removeprefix('runs-')}"):
                unmount_below(left)
                shutil.rmtree(left, ignore_errors=left != self.runs)
        for left in pathlib.Path(self.running).parent.glob("box-bench-*-*"):
            if str(left) == self.running or not os.path.exists(f"/proc/{left.name.split('-')[2]}"):
                shutil.rmtree(left, ignore_errors=True)
        # podman, docker and runc leave theirs behind. This does not remove one that others use meanwhile.
        for group in sorted(set(groups()) - self._groups, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(group)

    def calm(self):
        """Waits until the file system has recovered from deletions, ours or others'. Returns how many times as long
        as in memory it takes to create a file.

        ext4 without a journal does not reuse an inode within minutes of its deletion, and checks each of them again for
        every new file: creating one takes ten times as long. Files in memory are the reference. A directory may by chance
        be in a region without deletions, so a single fast one says little.
        """
        until, reported = time.monotonic() + MAX_WAIT, False
        while (ratio := max(self._ratio() for _ in range(PROBES))) > CALM:
            if time.monotonic() > until:
                say(f"creating a file here still takes {ratio:.0f} times as long as in memory")
                break
            if not reported:
                say(f"waiting: creating a file here takes {ratio:.0f} times as long as in memory, as many files were just deleted")
                reported = True
            time.sleep(5)
        return round(ratio, 1)

    def _ratio(self):
        """The cost of creating files here, relative to memory."""
        return self._cost(self.runs) / self._cost(pathlib.Path(self.running))

    def _cost(self, where):
        """Seconds for a hundred symbolic links in a new directory."""
        made = where / f"{next(self._numbers)}-probe"
        made.mkdir()
        began = time.perf_counter()
        for number in range(100):
            (made / str(number)).symlink_to("x")
        return time.perf_counter() - began

    def fresh(self, name, make=True):
        """A path that was never used before; creates the directory unless the measured command does."""
        path = self.runs / f"{next(self._numbers)}-{name}"
        if make:
            path.mkdir()
        return path

    def state(self, name):
        """A new directory for the state of running containers: short, as podman accepts no more than 50 bytes, and in memory."""
        path = pathlib.Path(self.running) / f"{next(self._numbers)}-{name}"
        path.mkdir()
        return path

    def fresh_for(self, name, make=True):
        """A function from the number of a round to a fresh directory, the same one for the same round."""
        made = {}
        return lambda turn: made.setdefault(turn, self.fresh(f"{name}-{turn + 9}", make))

    def once(self, key, make):
        """The result of `make()`, which is called only once."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def box(self):
        """The released binary."""
        if self._box is None:
            say("building the release binary")
            self._box = output([TOP / "scripts/build"]).splitlines()[-1]
        return self._box

    def program(self, name):
        """A static C program: ours in bench/, or the floor from the shared directory beside the checkout."""
        source = TOP / "bench" / f"{name}.c" if name != "floor" else TOP.parent / "shared/floor/floor.c"
        if not source.exists():
            return None
        target = self.work / "bin" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            need("cc")
            output(["cc", "-O2", "-static", "-w", "-o", target, source])
        return str(target)

    def v1_only(self):
        """A mount namespace without the v2 tree of a hybrid host, in which crun works; None if there is no such tree."""
        if not os.path.ismount("/sys/fs/cgroup/unified"):
            return None
        return str(self.once("v1only", self._make_v1_only))

    def _make_v1_only(self):
        directory = self.runs / "namespaces"
        directory.mkdir()
        # A mount namespace can be bind-mounted only onto a private mount.
        output(["mount", "--bind", directory, directory])
        output(["mount", "--make-private", directory])
        (directory / "v1only").touch()
        output(["unshare", f"--mount={directory / 'v1only'}", "umount", "/sys/fs/cgroup/unified"])
        return directory / "v1only"


def groups():
    """The control groups at the top of each hierarchy, and those below the ones that docker and podman make."""
    top = pathlib.Path("/sys/fs/cgroup")
    for pattern in ("*", "*/*", "*/docker/*", "docker/*", "*/libpod_parent/*", "libpod_parent/*"):
        yield from (str(path) for path in top.glob(pattern) if path.is_dir() and not os.path.ismount(path))


def hollow(directory):
    """Empties the large files below `directory`, so that many runs fit on the disk. No inode is freed, see `Workshop`."""
    for top, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(top, name)
            about = os.lstat(path)
            if stat.S_ISREG(about.st_mode) and about.st_size > 32 << 10:
                os.truncate(path, 0)


def unmount_below(directory):
    """Unmounts all mounts below `directory`, the last one first."""
    under = [line.split()[1] for line in open("/proc/self/mounts") if line.split()[1].startswith(f"{directory}/")]
    for mount in reversed(under):
        subprocess.run(["umount", "-l", mount])


def end_processes(directory):
    """Ends the processes that an interrupted measurement has left: those with `directory` in their arguments."""
    needle = str(directory).encode()
    for _ in range(50):
        left = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if needle in (process / "cmdline").read_bytes() and process.name != str(os.getpid()):
                    left.append(int(process.name))
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def say(text):
    """Prints progress."""
    print(f"== {text}", file=sys.stderr, flush=True)


def output(command, **options):
    """The standard output of a command that must succeed."""
    done = subprocess.run([str(a) for a in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(str(a) for a in command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def missing(command):
    """The reason why `command` cannot be used, or None if it is installed."""
    if shutil.which(command):
        return None
    return f"not measured: {command} (package {PACKAGES.get(command, command)}) is not installed"


def need(*commands):
    """Installs the packages of missing commands, if possible."""
    packages = sorted({PACKAGES[c] for c in commands if not shutil.which(c)})
    if not packages:
        return
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"error: these packages are needed: {' '.join(packages)}\nhint: sudo apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], env=environment, stdout=sys.stderr)
    # One by one: an unavailable package affects only its own row.
    for package in packages:
        with contextlib.suppress(subprocess.CalledProcessError):
            subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", package], env=environment, stdout=sys.stderr, check=True)
