"""The time of a pull to an image that can be run: fetched over HTTP on loopback, verified, unpacked."""

import contextlib

import inputs
import services
from measure import Subject, rows
from suites import registry, table
from suites.unpack import settle
from workshop import hollow, missing, need, say

ROUNDS = {"minirootfs": 20, "debian": 5}
TARGETS = {"minirootfs": {"curl and tar": 0.7}, "debian": {"curl and tar": 0.6}}


TABLES = ("pull-minirootfs", "pull-debian", *registry.TABLES)


def run(shop, only=None):
    """All tables of pulls, or those named in `only`."""
    need("curl", "tar", "bsdtar", "pigz", "skopeo", "umoci", "podman", "dockerd", "docker-registry", "gzip")
    for name, tarball, title in (
        ("minirootfs", inputs.minirootfs, "Pulling the Alpine minirootfs"),
        ("debian", inputs.debian, "Pulling a Debian root filesystem"),
    ):
        if only is None or f"pull-{name}" in only:
            say(f"pull-{name}")
            with contextlib.ExitStack() as stack:
                every = subjects(shop, stack, name, tarball(shop))
                measured = shop.meter.alternate(every, ROUNDS[name])
            yield f"pull-{name}", table(title, rows(every, measured, "box pull"), chart="wall_ms")
    yield from registry.run(shop, only)


def subjects(shop, stack, name, tarball):
    """Every way to the same tree; each run uses new storage."""
    layout = inputs.oci_layout(shop, name, tarball)
    tree = inputs.mirror(shop, {"3.20.3": tarball})
    mirror = stack.enter_context(services.file_server(tree))
    url = f"{mirror}/v3.20/releases/{inputs.arch()}/alpine-minirootfs-3.20.3-{inputs.arch()}.tar.gz"
    host, reason = None, missing("docker-registry") or missing("skopeo")
    if reason is None:
        try:
            host = stack.enter_context(services.registry(shop, {name: layout}))
        except services.Unavailable as error:
            reason = f"not measured: {error}"

    roots = shop.fresh_for("box-root")
    pipes = {program: shop.fresh_for(program) for program in ("tar", "bsdtar", "pigz")}
    bundles, stores = shop.fresh_for("skopeo"), {}
    pipe = lambda unpack, program: lambda turn: ["sh", "-c", f'curl -s "$0" | {unpack} -C "$1"', url, pipes[program](turn)]
    both = 'skopeo copy -q --src-tls-verify=false "docker://$0" "oci:$1/layout:image" && umoci unpack --image "$1/layout:image" "$1/bundle"'
    every = [
        Subject("box pull", lambda turn: [shop.box, "--root", roots(turn), "--mirror", mirror, "pull", "-q", "alpine"], "checks size, sha256 and sha512; keeps tarball and tree"),
        Subject("curl and tar", pipe("tar -xz", "tar"), "verifies nothing"),
        Subject("curl and bsdtar", pipe("bsdtar -xz", "bsdtar"), "verifies nothing", reason=missing("bsdtar")),
        Subject("curl, pigz and tar", pipe("tar -I pigz -x", "pigz"), "verifies nothing", reason=missing("pigz")),
        Subject("skopeo and umoci", lambda turn: ["sh", "-c", both, f"{host}/{name}", bundles(turn)], "from a registry on loopback", reason=reason or missing("umoci")),
        Subject("podman pull", lambda turn: [*stores.setdefault(turn, services.podman(shop)), "pull", "-q", "--tls-verify=false", f"{host}/{name}"], "from a registry on loopback", reason=reason or missing("podman")),
        registry.docker(shop, stack, f"{host}/{name}", reason),
    ]
    for subject in every:
        subject.before = subject.before or settle
        where = 2 if subject.name in ("box pull", "podman pull") else -1
        subject.after = subject.after or (lambda turn, subject=subject, where=where: hollow(subject.command(turn)[where]))
        subject.target = TARGETS[name].get(subject.name)
    return every
