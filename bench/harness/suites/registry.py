"""The time of a pull from a registry, and of a push to one: an image of five layers, from and to docker-registry on loopback."""

import contextlib

import inputs
import services
from measure import Subject, rows
from suites import table
from suites.unpack import settle
from workshop import hollow, missing, output, say

ROUNDS = 5
TABLES = ("pull-registry", "pull-registry-push")


def run(shop, only=None):
    """Both tables, or the one named in `only`."""
    for name, title, subjects in (
        ("pull-registry", "Pulling a Debian image of five layers from a registry", pulls),
        ("pull-registry-push", "Pushing a Debian image of five layers to a registry", pushes),
    ):
        if only is None or name in only:
            say(name)
            layout = inputs.oci_layout(shop, "five", *inputs.five_layers(shop, inputs.debian(shop)))
            base = "box pull" if subjects is pulls else "box push"
            with contextlib.ExitStack() as stack:
                host = stack.enter_context(services.registry(shop, {"five": layout}))
                every = subjects(shop, stack, host, layout)
                yield name, table(title, rows(every, shop.meter.alternate(every, ROUNDS), base), chart="wall_ms")


def pulls(shop, stack, host, _layout):
    """Every way to the image; each run uses new storage."""
    roots, layouts, bundles, stores = shop.fresh_for("box-root"), shop.fresh_for("skopeo"), shop.fresh_for("umoci"), {}
    image = f"{host}/five"
    skopeo = lambda top: ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{top}/layout:image"]
    both = 'skopeo copy -q --src-tls-verify=false "docker://$0" "oci:$1/layout:image" && umoci unpack --image "$1/layout:image" "$1/bundle"'
    every = [
        Subject("box pull", lambda turn: [shop.box, "--root", roots(turn), "pull", "-q", image], "checks every digest and diff_id; keeps blobs and trees"),
        Subject("skopeo copy", lambda turn: skopeo(layouts(turn)), "to an OCI image layout; unpacks nothing", 1.5, reason=missing("skopeo")),
        Subject("skopeo and umoci", lambda turn: ["sh", "-c", both, image, bundles(turn)], "unpacks", reason=missing("skopeo") or missing("umoci")),
        Subject("podman pull", lambda turn: [*stores.setdefault(turn, services.podman(shop)), "pull", "-q", "--tls-verify=false", image], "", 0.2, reason=missing("podman")),
        docker(shop, stack, image, None, 0.25),
    ]
    for subject in every:
        subject.before = subject.before or settle
    every[0].after = lambda turn: hollow(roots(turn))
    every[1].after = lambda turn: hollow(layouts(turn))
    every[2].after = lambda turn: hollow(bundles(turn))
    every[3].after = lambda turn: hollow(stores[turn][2])
    return every


def pushes(shop, stack, host, layout):
    """Every way to push the image to an empty registry, a new one for each run: nothing can be mounted or is there already."""
    image, state = f"{host}/five", {}
    root = shop.fresh("box-root")
    output([shop.box, "--root", root, "pull", "-q", image])
    store = None if missing("podman") else services.podman(shop)
    if store:
        output([*store, "pull", "-q", "--tls-verify=false", image])

    def begin(turn):
        state["stack"] = contextlib.ExitStack()
        state["host"] = state["stack"].enter_context(services.registry(shop, {}))
        settle(turn)

    def finish(_turn=None):
        if "stack" in state:
            state.pop("stack").close()

    stack.callback(finish)
    target = lambda: f"{state.get('host', 'REGISTRY')}/five:new"
    return [
        Subject("box push", lambda turn: [shop.box, "--root", root, "push", "-q", image, target()], "the bytes that were pulled", before=begin, after=finish),
        Subject("skopeo copy", lambda turn: ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:five", f"docker://{target()}"], "from an OCI image layout", before=begin, after=finish, reason=missing("skopeo")),
        Subject("podman push", lambda turn: [*(store or ["podman"]), "push", "-q", "--tls-verify=false", image, target()], "packs the layers again", 0.5, before=begin, after=finish, reason=missing("podman")),
    ]


def docker(shop, stack, image, reason, target=None):
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
        "from a registry on loopback; the daemon's CPU included", target, before=begin, after=finish,
        daemons=lambda: state["daemons"](), reason=reason,
    )
