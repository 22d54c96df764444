"""The time to unpack an archive into a directory, and to delete an image."""

import os
import shutil

import inputs
import services
import syscalls
from measure import Subject, rows
from suites import table
from suites.start import box_root
from workshop import hollow, missing, need, output, say

MINIROOTFS_ROUNDS, DEBIAN_ROUNDS, FILE_ROUNDS = 60, 7, 5
SIZES = {"10 KiB": 10 << 10, "1 MiB": 1 << 20, "100 MiB": 100 << 20, "1 GiB": 1 << 30}


TABLES = ("unpack-minirootfs", "unpack-debian", "unpack-files", "unpack-syscalls", "unpack-delete")


def run(shop, only=None):
    """All tables of unpacking, or those named in `only`."""
    need("tar", "bsdtar", "pigz", "umoci", "strace", "gzip")
    # Tables that delete many files come last.
    for name, make in zip(TABLES, (minirootfs, debian, files, calls, delete), strict=True):
        if only is None or name in only:
            say(name)
            yield name, make(shop)


def subjects(shop, name, tarball, targets, layout=True):
    """Every program that unpacks `tarball`, each run into a directory of its own."""
    root = shop.fresh("box-root")
    cached = box_root(shop, tarball) if layout else root
    layout = inputs.oci_layout(shop, name, tarball) if layout else None
    boxes, tars, bsdtars, pigzs = (shop.fresh_for(n, make=n != "box") for n in ("box", "tar", "bsdtar", "pigz"))
    bundles, verified = shop.fresh_for("umoci", make=False), shop.fresh_for("box-verified", make=False)
    every = [
        Subject("box", lambda turn: [shop.box, "--root", root, "unpack", tarball, boxes(turn)], "checks gzip's checksums, as those with tar do"),
        Subject(VERIFIED, lambda turn: [shop.box, "--root", cached, "unpack", "--offline", "alpine", verified(turn)], "compares the layer's sha256"),
        Subject("GNU tar", lambda turn: ["tar", "-xzf", tarball, "-C", tars(turn)], "forks gzip"),
        Subject("bsdtar", lambda turn: ["bsdtar", "-xzf", tarball, "-C", bsdtars(turn)]),
        Subject("pigz and tar", lambda turn: ["tar", "-I", "pigz", "-xf", tarball, "-C", pigzs(turn)], "inflates beside tar"),
        Subject("umoci", lambda turn: ["umoci", "unpack", "--image", f"{layout}:{name}", bundles(turn)], "from an OCI layout; compares digests, and writes a list of all files with their digests", base=VERIFIED),
    ]
    for subject in every:
        subject.before = settle
        subject.target = targets.get(subject.name)
        subject.reason = missing("pigz") if "pigz" in subject.name else missing(subject.command(-9)[0])
    return every


# Compared with programs that verify digests.
VERIFIED = "box, from its cache"


def settle(_turn):
    """Writes dirty pages before a run, so that no run pays for those of another."""
    os.sync()


def minirootfs(shop):
    """The real minirootfs: 3.5 MB packed, 518 entries."""
    every = subjects(shop, "minirootfs", inputs.minirootfs(shop), {"GNU tar": 0.6, "bsdtar": 0.6})
    return table("Unpacking the Alpine minirootfs", rows(every, shop.meter.alternate(every, MINIROOTFS_ROUNDS), "box"), chart="wall_ms")


def debian(shop):
    """A Debian root filesystem: 102 MB packed, 11,557 entries; podman from a registry on loopback beside it."""
    tarball = inputs.debian(shop)
    every = subjects(shop, "debian", tarball, {"GNU tar": 0.6, "bsdtar": 0.7, "umoci": 0.4})
    need("docker-registry", "skopeo", "podman")
    with services.registry(shop, {"debian": inputs.oci_layout(shop, "debian", tarball)}) as host:
        stores = {}
        every.append(Subject(
            "podman pull", lambda turn: [*stores.setdefault(turn, services.podman(shop)), "pull", "-q", "--tls-verify=false", f"{host}/debian"],
            "from a registry on loopback; compares digests, and keeps an image", target=0.35, before=settle, reason=missing("podman"), base=VERIFIED,
        ))
        for subject in every:
            where = 2 if subject.name == "podman pull" else -1
            subject.after = lambda turn, subject=subject, where=where: hollow(subject.command(turn)[where])
        measured = shop.meter.alternate(every, DEBIAN_ROUNDS)
    return table("Unpacking a Debian root filesystem", rows(every, measured, "box"), chart="wall_ms")


def files(shop):
    """Archives of one file, small to large: the cost of size."""
    entries = []
    for label, size in SIZES.items():
        tarball = inputs.one_file(shop, size)
        every = [s for s in subjects(shop, f"file-{size}", tarball, {}, layout=False) if s.name in ("box", "GNU tar", "bsdtar")]
        for subject in every:
            # One inode: deleting it does not slow the next run, and keeping all of them would fill the disk.
            subject.after = lambda turn, subject=subject: shutil.rmtree(subject.command(turn)[-1])
        measured = shop.meter.alternate(every, FILE_ROUNDS)
        for entry in rows(every, measured, "box"):
            entries.append(entry | {"name": f"{label}: {entry['name']}"})
    return table("Unpacking one file", entries)


def delete(shop):
    """`box rmi` and `box gc` of the Debian image against `rm -rf` of the same tree."""
    tarball = inputs.debian(shop)
    mirror = inputs.mirror(shop, {"3.20.3": tarball})
    roots, trees = shop.fresh_for("box-root"), shop.fresh_for("tree")

    def pull(turn):
        output([shop.box, "--root", roots(turn), "--mirror", f"file://{mirror}", "pull", "-q", "alpine"])
        os.sync()

    def extract(turn):
        # box keeps the tarball and the tree of an image.
        output(["tar", "-xzf", tarball, "-C", trees(turn)])
        shutil.copy(tarball, trees(turn))
        os.sync()

    every = [
        Subject("box rmi, box gc", lambda turn: ["sh", "-c", '"$0" --root "$1" rmi alpine && "$0" --root "$1" gc', shop.box, roots(turn)], before=pull),
        Subject("rm -rf", lambda turn: ["rm", "-rf", trees(turn)], "of the tree and the tarball", target=1.0, before=extract),
    ]
    return table("Deleting the Debian image", rows(every, shop.meter.alternate(every, 5), every[0].name))


def calls(shop):
    """System calls for each entry."""
    tarball = inputs.debian(shop)
    entries = len(output(["tar", "-tzf", tarball]).splitlines())
    return syscalls.unpacking(shop, tarball, entries)
