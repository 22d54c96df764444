"""The time of a pull to an image that can be run: fetched over HTTP on loopback, verified, unpacked."""

import contextlib

import inputs
import services
from measure import Subject, rows
from suites import table
from suites.unpack import settle
from workshop import hollow, missing, need, say

ROUNDS = {"minirootfs": 20, "debian": 5}
TARGETS = {"minirootfs": {"curl and tar": 0.7}, "debian": {"curl and tar": 0.6}}


TABLES = ("pull-minirootfs", "pull-debian")


def run(shop, only=None):
    """Both tables of pulls, or the one named in `only`."""
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


def subjects(shop, stack, name, tarball):
    """Every way to the same tree; each run uses new storage."""
    layout = inputs.oci_layout(shop, name, tarball)
    tree = inputs.mirror(shop, {"3.20.3": tarball})
    mirror = stack.enter_context(services.file_server(tree))
    url = f"{mirror}/v3.20/releases/{inputs.arch()}/alpine-minirootfs-3.20.3-{inputs.arch()}.tar.gz"
    registry, reason = None, missing("docker-registry") or missing("skopeo")
    if reason is None:
        try:
            registry = stack.enter_context(services.registry(shop, {name: layout}))
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
        Subject("skopeo and umoci", lambda turn: ["sh", "-c", both, f"{registry}/{name}", bundles(turn)], "from a registry on loopback", reason=reason or missing("umoci")),
        Subject("podman pull", lambda turn: [*stores.setdefault(turn, services.podman(shop)), "pull", "-q", "--tls-verify=false", f"{registry}/{name}"], "from a registry on loopback", reason=reason or missing("podman")),
        docker(shop, stack, f"{registry}/{name}", reason),
    ]
    for subject in every:
        subject.before = subject.before or settle
        where = 2 if subject.name in ("box pull", "podman pull") else -1
        subject.after = subject.after or (lambda turn, subject=subject, where=where: hollow(subject.command(turn)[where]))
        subject.target = TARGETS[name].get(subject.name)
    return every


def docker(shop, stack, image, reason):
    """`docker pull`, with a new daemon and new storage for each run: it never fetches a layer twice."""
    state = {}

    def begin(_turn):
        state["stack"] = contextlib.ExitStack()
        state["client"], state["daemons"], state["directory"] = state["stack"].enter_context(services.docker(shop))
        settle(_turn)

    def finish(_turn=None):
        if "stack" in state:
            state.pop("stack").close()
            hollow(state.pop("directory"))

    stack.callback(finish)
    try:
        begin(0)
        finish()
    except (services.Unavailable, FileNotFoundError) as error:
        reason = reason or f"not measured: {error}"
    return Subject(
        "docker pull", lambda turn: [*state.get("client", ["docker"]), "pull", "-q", image],
        "from a registry on loopback; the daemon's CPU included", before=begin, after=finish,
        daemons=lambda: state["daemons"](), reason=reason,
    )
