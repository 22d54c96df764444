"""Inputs: the real minirootfs, a Debian root filesystem, and the formats that the other programs need."""

import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import tarfile
import urllib.request

from workshop import TOP, need, output, say

ALPINE = "https://dl-cdn.alpinelinux.org/alpine"
RELEASE = "v3.20/releases/{arch}/alpine-minirootfs-3.20.3-{arch}.tar.gz"
# For x86_64 and aarch64, from the release list.
SHA256 = {
    "x86_64": "d4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c",
    "aarch64": "041fa34a81788242df9e78fa69b97ab45b8ec47ddbf88864755610414a7bf3de",
}
DEBIAN = ["mmdebstrap", "--variant=minbase", "--include=python3,perl,git,curl", "bookworm"]


def arch():
    """Alpine's name for this machine's architecture."""
    return platform.machine()


def minirootfs(shop):
    """The tarball of the real minirootfs: from BOX_TEST_MIRROR, a tree beside the checkout, or Alpine's own mirror."""
    path = RELEASE.format(arch=arch())
    for mirror in filter(None, [os.environ.get("BOX_TEST_MIRROR"), TOP.parent / "shared/mirror/alpine"]):
        if (pathlib.Path(mirror) / path).exists():
            return pathlib.Path(mirror) / path
    target = shop.inputs / "minirootfs.tar.gz"
    if not target.exists():
        say(f"fetching {ALPINE}/{path}")
        with urllib.request.urlopen(f"{ALPINE}/{path}") as response, open(f"{target}.part", "wb") as file:
            shutil.copyfileobj(response, file)
        digest = hashlib.sha256(pathlib.Path(f"{target}.part").read_bytes()).hexdigest()
        if digest != SHA256.get(arch(), digest):
            raise SystemExit(f"error: {ALPINE}/{path} has the sha256 {digest}, not {SHA256[arch()]}")
        os.rename(f"{target}.part", target)
    return target


def debian(shop):
    """The tarball of a Debian root filesystem of about 100 MB and 11,500 entries, made once."""
    target = shop.inputs / "debian.tar.gz"
    if not target.exists():
        need("mmdebstrap")
        say(f"making {target.name} ({' '.join(DEBIAN)})")
        output([*DEBIAN, f"{target}.part.tar.gz"])
        os.rename(f"{target}.part.tar.gz", target)
    return target


def tree(shop, name, tarball):
    """`tarball` unpacked by tar: the root directory for runtimes without images."""
    def make():
        directory = shop.fresh(f"tree-{name}")
        output(["tar", "-xzf", tarball, "-C", directory])
        return directory
    return shop.once(("tree", name), make)


def mirror(shop, releases):
    """A mirror tree with the layout of Alpine's that offers `releases`, {version: tarball}, the last one as the latest.

    The tarballs are linked, not copied. Any root filesystem can be offered so, a Debian one too.
    """
    top = shop.fresh("mirror")
    directory = top / "v3.20" / "releases" / arch()
    directory.mkdir(parents=True)
    (top / "latest-stable").symlink_to("v3.20")
    digests = {}
    for version, tarball in releases.items():
        if tarball not in digests:
            data = tarball.read_bytes()
            digests[tarball] = (hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest(), len(data))
        sha256, sha512, size = digests[tarball]
        file = f"alpine-minirootfs-{version}-{arch()}.tar.gz"
        (directory / file).symlink_to(tarball.resolve())
        (directory / f"{file}.sha256").write_text(f"{sha256}  {file}\n")
        (directory / f"{file}.sha512").write_text(f"{sha512}  {file}\n")
    (directory / "latest-releases.yaml").write_text(
        f"---\n-\n  title: \"Mini root filesystem\"\n  branch: v3.20\n  arch: {arch()}\n  version: {version}\n"
        f"  flavor: alpine-minirootfs\n  file: {file}\n  iso: {file}\n  date: 2024-09-06\n  time: 11:23:36\n"
        f"  size: {size}\n  sha256: {sha256}\n  sha512: {sha512}\n"
    )
    return top


def five_layers(shop, tarball):
    """`tarball` cut into the tarballs of five layers of about the same size. A hard link stays with its target, and every layer
    has the directories above its files, so that each can be unpacked alone."""
    def make():
        top = shop.inputs / f"layers-{tarball.stem.removesuffix('.tar')}"
        if not top.exists():
            say(f"cutting {tarball.name} into five layers")
            part = shop.fresh("layers")
            _cut(tarball, part)
            shutil.copytree(part, f"{top}.part")
            os.rename(f"{top}.part", top)
        return sorted(top.glob("*.tar.gz"))
    return shop.once(("layers", tarball), make)


def _cut(tarball, directory):
    with tarfile.open(tarball) as source:
        members = source.getmembers()
        step = sum(member.size for member in members) / 5 + 1
        place, seen, directories = {}, 0, {}
        for member in members:
            seen += member.size
            place[member.name] = place.get(member.linkname, int(seen / step)) if member.islnk() else int(seen / step)
            if member.isdir():
                directories[member.name] = member
        for number in range(5):
            with tarfile.open(directory / f"{number}.tar.gz", "w:gz", compresslevel=6) as layer:
                written = set()
                for member in (m for m in members if place[m.name] == number):
                    for parent in reversed(pathlib.PurePosixPath(member.name).parents):
                        above = directories.get(str(parent)) or directories.get(f"./{parent}")
                        if above and above.name not in written:
                            written.add(above.name)
                            layer.addfile(above)
                    if member.name not in written:
                        written.add(member.name)
                        layer.addfile(member, source.extractfile(member) if member.isreg() else None)


def oci_layout(shop, name, *tarballs):
    """An OCI image layout with each of `tarballs` byte for byte as a layer, tagged `name`; for skopeo, podman and docker."""
    return shop.once(("layout", name), lambda: _make_layout(shop.fresh(f"layout-{name}"), name, tarballs))


def _make_layout(top, name, tarballs):
    blobs = top / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layers = [blob(tarball.read_bytes(), "layer.v1.tar+gzip") for tarball in tarballs]
    plain = [hashlib.sha256(output_bytes(["gzip", "-dc", tarball])).hexdigest() for tarball in tarballs]
    goarch = {"x86_64": "amd64", "aarch64": "arm64"}.get(arch(), arch())
    config = blob(json.dumps({
        "architecture": goarch, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in plain]},
    }).encode(), "config.v1+json")
    manifest = blob(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
    }).encode(), "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
    (top / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (top / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return top


def output_bytes(command):
    """As `output`, for binary data."""
    return subprocess.run([str(a) for a in command], stdout=subprocess.PIPE, check=True).stdout


def one_file(shop, size):
    """A gzipped tarball with one file of `size` bytes that compress to about half, as executables do."""
    def make():
        path = shop.inputs / f"one-file-{size}.tar.gz"
        if not path.exists():
            say(f"making {path.name}")
            block = b"".join(hashlib.sha256(str(i).encode()).digest() + bytes(32) for i in range(16384))
            source = shop.fresh("one-file") / "file"
            with open(source, "wb") as file:
                for offset in range(0, size, len(block)):
                    file.write(block[: size - offset])
            with tarfile.open(f"{path}.part", "w:gz", compresslevel=6) as archive:
                archive.add(source, "file")
            os.rename(f"{path}.part", path)
        return path
    return shop.once(("file", size), make)


def bundle(shop, rootfs, args, terminal=False):
    """An OCI bundle as `runc spec` writes it, with `rootfs` and `args`, and without the rlimits, which need CAP_SYS_RESOURCE."""
    directory = shop.fresh("bundle")
    output(["runc", "spec", "-b", directory])
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["process"] |= {"terminal": terminal, "args": args}
    config["process"].pop("rlimits", None)
    config["root"] = {"path": str(rootfs), "readonly": False}
    path.write_text(json.dumps(config))
    return directory
