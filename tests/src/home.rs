//! A private `BOX_ROOT` for one test.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Mirror, Outcome, Terminal, binary, leftovers};

/// A directory with all files of box, and the mirror that it pulls from. Dropping it checks for leftovers.
pub struct Home {
    dir: TempDir,
    root: &'static str,
    mirror: String,
}

impl Home {
    /// An empty home with the test mirror, as root.
    #[track_caller]
    pub fn new() -> Home {
        crate::require_root();
        Home::with_mirror(&Mirror::get().url())
    }

    /// An empty home with another mirror.
    pub fn with_mirror(url: &str) -> Home {
        let dir = tempfile::Builder::new()
            .prefix("box-test-")
            .tempdir()
            .expect("the temporary directory is writable");
        Home {
            dir,
            root: "root",
            mirror: url.to_owned(),
        }
    }

    /// A home with `alpine` (latest-stable) already pulled.
    #[track_caller]
    pub fn with_alpine() -> Home {
        let home = Home::new();
        home.run(["pull", "-q", "alpine"]).succeeds();
        home
    }

    /// The directory of the home, also for scratch files of the test.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `BOX_ROOT`.
    pub fn root(&self) -> PathBuf {
        self.path().join(self.root)
    }

    /// The cache: an OCI image layout.
    pub fn cache(&self) -> PathBuf {
        self.root().join("cache")
    }

    /// Sets the name of `BOX_ROOT`.
    pub fn set_root_name(&mut self, name: &'static str) {
        self.root = name;
    }

    /// Sets the mirror for pulls.
    pub fn set_mirror(&mut self, url: &str) {
        self.mirror = url.to_owned();
    }

    /// box with these arguments, in this home, without other variables of box or proxies in its environment.
    pub fn command<I>(&self, args: I) -> Command
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = Command::new(binary::path());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_ascii_lowercase();
            if text.starts_with("box_") || text.ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .env("BOX_ROOT", self.root())
            .env("BOX_CONFIG", self.path().join("config"))
            .env("BOX_MIRROR", &self.mirror)
            .current_dir(self.path());
        command
    }

    /// A shell command line as a user would type it in this home: `box` is the binary under test.
    pub fn shell(&self, line: &str) -> Command {
        let programs = self.path().join("bin");
        let link = programs.join("box");
        if !link.exists() {
            std::fs::create_dir_all(&programs).expect("the home is writable");
            std::os::unix::fs::symlink(binary::path(), link).expect("the home is writable");
        }
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.path());
        for (name, value) in self.command([""; 0]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let others = std::env::var("PATH").expect("PATH is set");
        command.env("PATH", format!("{}:{others}", programs.display()));
        command
    }

    /// Runs box to its end with an empty stdin.
    #[track_caller]
    pub fn run<I>(&self, args: I) -> Outcome
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Outcome::of(self.command(args), b"")
    }

    /// Runs box to its end with these bytes on its stdin.
    #[track_caller]
    pub fn run_with_stdin<I>(&self, args: I, stdin: &[u8]) -> Outcome
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Outcome::of(self.command(args), stdin)
    }

    /// Runs `sh -c SCRIPT` in a new container of `alpine` that is removed afterwards.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Outcome {
        self.run(["run", "--rm", "alpine", "sh", "-c", script])
    }

    /// Runs box on a terminal of its own, 24 rows of 80 columns.
    #[track_caller]
    pub fn terminal<I>(&self, args: I) -> Terminal
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        Terminal::start(&self.command(args))
    }

    /// The names in the instances directory.
    pub fn instances(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.root().join("instances")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let found = leftovers::of(self.path());
        // A test that fails has said why, and a second panic would hide it.
        if !std::thread::panicking() {
            assert!(found.is_empty(), "left behind:\n{}", found.join("\n"));
        }
    }
}
