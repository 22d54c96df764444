"""The machine of the measurements, and its load."""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import time

import services
from workshop import TOP


def describe(shop, given=None):
    """The machine and the revision of box, which is unknown if the binary was `given`."""
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    dirty = ask("git", "-C", TOP, "status", "--porcelain", "--", "crates", "Cargo.toml", "Cargo.lock")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "box": ask(shop.box, "version").splitlines()[0] if ask(shop.box, "version") else "?",
        "commit": "a binary given by --box" if given else ask("git", "-C", TOP, "rev-parse", "--short", "HEAD") + (" with uncommitted changes" if dirty else ""),
        "cpu": cpu[1] if cpu else platform.processor(),
        "cpus": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1),
        "kernel": platform.release(),
        "system": ask("sh", "-c", '. /etc/os-release; echo "$PRETTY_NAME"'),
        "filesystem": filesystem(shop.work),
        "capabilities": "all" if all_capabilities() else "without CAP_SYS_RESOURCE" if not has_capability(24) else "restricted",
        "versions": versions(),
    }


def versions():
    """The versions of the other programs, as they print them."""
    commands = {
        "bubblewrap": ["bwrap", "--version"], "crun": ["crun", "--version"], "runc": ["runc", "--version"],
        "systemd-nspawn": ["systemd-nspawn", "--version"], "podman": ["podman", "--version"], "dockerd": ["dockerd", "--version"], "docker": [services.docker_client(), "--version"],
        "GNU tar": ["tar", "--version"], "bsdtar": ["bsdtar", "--version"], "pigz": ["pigz", "--version"], "curl": ["curl", "--version"],
        "umoci": ["umoci", "--version"], "skopeo": ["skopeo", "--version"], "docker-registry": ["docker-registry", "--version"],
    }
    found = {}
    for name, command in commands.items():
        number = re.search(r"\d+(\.\d+)+\S*|\b\d{3}\b", ask(*command))
        found[name] = number[0].rstrip(",") if number else "not installed"
    return found


def filesystem(directory):
    """The type and the options of the file system that holds `directory`."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    holding = [m for m in mounts if directory == pathlib.Path(m[1]) or pathlib.Path(m[1]) in directory.parents]
    best = max(holding, key=lambda mount: len(mount[1]), default=None)
    return f"{best[2]} ({best[3]})" if best else "an unknown file system"


def busy(seconds=1.0):
    """The share of all CPUs that other programs use now, in percent, which disturbs a measurement."""
    def read():
        fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = read()
    time.sleep(seconds)
    total_then, idle_then = read()
    return round(100 * (1 - (idle_then - idle) / max(1, total_then - total)))


def has_capability(number):
    """Whether this process has the capability in its effective set."""
    effective = re.search(r"CapEff:\s*(\w+)", pathlib.Path("/proc/self/status").read_text())
    return bool(int(effective[1], 16) >> number & 1)


def all_capabilities():
    """Whether the effective set is as large as the kernel's."""
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    return all(has_capability(number) for number in range(last + 1))


def ask(*command):
    """The output of a command, or nothing if it cannot be run."""
    try:
        done = subprocess.run([str(a) for a in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
