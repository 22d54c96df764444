"""The servers on loopback that run while pulls are measured."""

import contextlib
import functools
import http.server
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

from workshop import output


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files, sent by the kernel, so that the server does not dominate the measurement."""

    protocol_version = "HTTP/1.1"

    def copyfile(self, source, outputfile):
        outputfile.flush()
        size, offset = os.fstat(source.fileno()).st_size, 0
        while offset < size:
            offset += os.sendfile(outputfile.fileno(), source.fileno(), offset, size - offset)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def file_server(directory):
    """Serves `directory` over HTTP; returns the URL."""
    handler = functools.partial(Files, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def running(command, log, ready, seconds=30):
    """Starts a server process, waits until `ready()`, ends it with SIGTERM. Yields the process."""
    with open(log, "w") as file:
        process = subprocess.Popen([str(a) for a in command], stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + seconds
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (pathlib.Path(log).read_text().strip().splitlines() or ["it said nothing"])[-1]
                raise Unavailable(f"{command[0]} does not start: {last[:200]}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Unavailable(Exception):
    """A server that cannot run here."""


@contextlib.contextmanager
def registry(shop, layouts):
    """Debian's docker-registry with the images of `layouts`, {name: OCI layout}. Yields its host:port."""
    port = free_port()
    directory = shop.fresh("registry")
    config = directory / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with running(["docker-registry", "serve", config], directory / "log", lambda: answers(port)):
        for name, layout in layouts.items():
            output(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:{name}", f"docker://127.0.0.1:{port}/{name}:latest"])
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def docker(shop):
    """A separate Docker daemon without network set-up. Yields (client command, daemons' process ids, directory)."""
    directory = shop.fresh("docker")
    # The path of a socket has at most 107 bytes.
    host = f"unix:///tmp/box-bench-docker-{os.getpid()}-{directory.name.split('-')[0]}.sock"
    client = [docker_client(), "-H", host]
    daemon = ["dockerd", "-H", host, "--data-root", directory / "data", "--exec-root", shop.state("docker"),
              "--pidfile", directory / "pid", "--iptables=false", "--ip6tables=false", "--bridge=none"]

    def ready():
        return subprocess.run([*client, "info"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    with running(daemon, directory / "log", ready) as process:
        # If a containerd runs on the machine, dockerd uses that one.
        yield client, lambda: [process.pid, *children(process.pid), *named("containerd")], directory
    with contextlib.suppress(FileNotFoundError):
        os.unlink(host.removeprefix("unix://"))


def podman(shop):
    """Podman's command with its own storage. Its runtime is its default, which is crun if installed."""
    return ["podman", "--root", shop.fresh("podman"), "--runroot", shop.state("podman"), "--cgroup-manager", "cgroupfs"]


# Without CAP_SYS_RESOURCE, podman's and runc's own hard limits cannot be set.
PODMAN_LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


def children(pid):
    """The process ids of the direct children of `pid`."""
    with contextlib.suppress(FileNotFoundError):
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]
    return []


def named(name):
    """The process ids of the programs of that name whose parent is init."""
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (path / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if (path / "comm").read_text().strip() == name and parent == "1":
                yield int(path.name)


def docker_client():
    """The client of Debian's package, which another program of the same name may hide."""
    return "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else "docker"


def free_port():
    """A free TCP port on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    """Whether something listens on `port`."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
