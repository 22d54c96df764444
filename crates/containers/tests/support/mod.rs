//! Containers with a root file system of busybox, for tests on the real kernel. They need root.
#![allow(clippy::unwrap_used, dead_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use box_cache::{DiffId, Digest};
use box_containers::overrides::{Network, Overrides};
use box_containers::{
    Container, Containers, Error, EtcFiles, NewContainer, RunOptions, accounts, launch, spec,
};
use box_run::Ended;
use box_unpack::{LayerStore, Layers};
use tempfile::TempDir;

/// Containers, state and one layer in a temporary directory.
pub struct Engine {
    dir: TempDir,
    pub containers: Containers,
}

/// The only layer of the images, in a store below `root`.
pub fn layers(root: &Path) -> Layers {
    let id = DiffId(Digest::of(b"a layer"));
    LayerStore::open(root.join("layers")).stacked(&[id])
}

impl Engine {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make containers: run them as root"
        );
        let dir = tempfile::tempdir().unwrap();
        let [containers, run] = ["instances", "run"].map(|name| dir.path().join(name));
        let containers = Containers::open(containers, run, dir.path().join("layers"));
        let engine = Self { dir, containers };
        make_layer(&engine.layer());
        engine
    }

    /// The layer that containers are made from.
    pub fn layer(&self) -> PathBuf {
        layers(self.dir.path()).trees().next().unwrap().to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A container with `--rm`.
    pub fn create(&self, asked: Overrides) -> Result<Container, Error> {
        self.create_with(None, asked, true, RunOptions::default())
    }

    pub fn create_with(
        &self,
        name: Option<&str>,
        mut asked: Overrides,
        remove: bool,
        mut options: RunOptions,
    ) -> Result<Container, Error> {
        let layers = layers(self.dir.path());
        asked.accounts = accounts::Accounts::of_layers(&layers, &spec::mounts(&asked))?;
        options.runtime.pids_by_default = true;
        self.containers.create(NewContainer {
            name: name.map(str::to_owned),
            image: "test".to_owned(),
            manifest: None,
            layers,
            storage: Some(box_containers::Storage::Overlay),
            spec: spec::build(&Default::default(), &asked)?,
            cgroup_parent: None,
            etc: EtcFiles::new(
                "container",
                "nameserver 192.0.2.1\n",
                &Default::default(),
                &[],
            ),
            remove,
            options,
        })
    }

    /// Runs a container until it ends.
    pub fn run(&self, asked: Overrides) -> Result<Ended, Error> {
        let container = self.create(asked)?;
        let name = container.name().to_owned();
        let ended = container
            .plan()
            .and_then(|plan| launch(container, plan))
            .and_then(|running| Ok(running.wait()?));
        if ended.is_err() {
            self.containers.remove(&name, true)?;
        }
        ended
    }

    /// Runs a script that writes to /out, a directory of the host. Returns its content.
    pub fn output(&self, script: &str, change: impl FnOnce(&mut Overrides)) -> String {
        let out = tempfile::tempdir_in(self.dir.path()).unwrap();
        let mut asked = shell(&format!("exec >/out/text 2>&1; {script}"));
        asked.volumes.push(bind(out.path(), "/out"));
        change(&mut asked);
        // Writable for any user of the script.
        std::fs::set_permissions(
            out.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        self.run(asked).unwrap();
        std::fs::read_to_string(out.path().join("text")).unwrap()
    }

    /// The remaining files of containers and of their state.
    pub fn left(&self) -> Vec<String> {
        let names = |dir: &str| {
            let entries = std::fs::read_dir(self.path(dir)).into_iter().flatten();
            let names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names
                .into_iter()
                // Kept for the next start, see container::{create, spare}.
                .filter(|name| name != ".mount-points" && !name.starts_with(".spare-"))
                .collect::<Vec<_>>()
        };
        let mut all = names("instances");
        all.extend(names("run"));
        all
    }
}

pub fn shell(script: &str) -> Overrides {
    command(&["sh", "-c", script])
}

pub fn command(words: &[&str]) -> Overrides {
    Overrides {
        command: words.iter().map(|&word| word.to_owned()).collect(),
        net: Network::None,
        ..Overrides::default()
    }
}

pub fn bind(source: &Path, destination: &str) -> box_containers::volumes::Volume {
    box_containers::volumes::Volume::bind(
        &format!("{}:{destination}", source.display()),
        Path::new("/"),
    )
    .unwrap()
}

/// Reads until the end.
pub fn text(file: OwnedFd) -> String {
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).unwrap();
    text
}

/// Control groups of box that still exist.
pub fn groups(name: &str) -> Vec<PathBuf> {
    let roots = ["memory", "pids", "devices", ""]
        .map(|controller| Path::new("/sys/fs/cgroup").join(controller));
    let entries = roots
        .iter()
        .filter_map(|root| std::fs::read_dir(root).ok())
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(&format!("/box-{name}-")))
        .collect()
}

/// busybox with its usual names, and the files of every image.
fn make_layer(layer: &Path) {
    for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
        std::fs::create_dir_all(layer.join(directory)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let busybox = busybox.expect("busybox-static is needed: apt-get install busybox-static");
    std::fs::copy(busybox, layer.join("bin/busybox")).unwrap();
    let names = "sh true false cat id ps sleep kill ls touch mkdir echo env grep head mount umount hostname stat tty stty wc \
                 readlink mknod unshare dd pwd ip chmod test nc";
    for name in names.split_whitespace() {
        std::os::unix::fs::symlink("busybox", layer.join("bin").join(name)).unwrap();
    }
    std::fs::write(
        layer.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/tmp:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(
        layer.join("etc/group"),
        "root:x:0:\nweb:x:1001:\nextra:x:50:web\n",
    )
    .unwrap();
}
