//! The directories of box, from flags, environment and defaults.

mod private;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use box_containers::Containers;

use crate::report::Failure;

/// The directories of one invocation, all absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// All persistent data.
    pub root: PathBuf,
    /// Images, as an OCI image layout.
    pub cache: PathBuf,
    /// Layer trees.
    pub layers: PathBuf,
    /// One OCI bundle for each container.
    pub containers: PathBuf,
    /// State of running containers, lost on a reboot.
    pub run: PathBuf,
    /// `config.toml` and `trusted-keys/`.
    pub config: PathBuf,
}

/// Looks up a variable of the environment. A function, so that tests need not change that of the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Dirs {
    /// Flags win over `BOX_*` variables, and those over the defaults, which differ between root and other users.
    pub fn resolve(
        root: Option<&Path>,
        cache: Option<&Path>,
        env: Environment<'_>,
        privileged: bool,
    ) -> Result<Dirs, Failure> {
        let chosen = root.map(Path::to_path_buf).or(path(env, "BOX_ROOT"));
        let is_default = chosen.is_none();
        let root = match chosen {
            Some(root) => absolute(&root)?,
            None if privileged => PathBuf::from("/var/lib/box"),
            None => home_dir(env, "XDG_DATA_HOME", ".local/share")?.join("box"),
        };
        let cache = match cache.map(Path::to_path_buf).or(path(env, "BOX_CACHE")) {
            Some(cache) => absolute(&cache)?,
            None => root.join("cache"),
        };
        let run = match path(env, "BOX_RUN") {
            Some(run) => absolute(&run)?,
            None if !is_default => root.join("run"),
            None if privileged => PathBuf::from("/run/box"),
            None => match xdg(env, "XDG_RUNTIME_DIR") {
                Some(runtime) => runtime.join("box"),
                None => root.join("run"),
            },
        };
        Ok(Dirs {
            cache,
            layers: root.join("layers"),
            containers: root.join("instances"),
            run,
            config: config_dir(env, privileged)?,
            root,
        })
    }
}

impl Dirs {
    /// The containers in these directories.
    pub fn containers(&self) -> Containers {
        Containers::open(&self.containers, &self.run, &self.layers)
    }
}

fn config_dir(env: Environment<'_>, privileged: bool) -> Result<PathBuf, Failure> {
    match path(env, "BOX_CONFIG") {
        Some(config) => absolute(&config),
        None if privileged => Ok(PathBuf::from("/etc/box")),
        None => Ok(home_dir(env, "XDG_CONFIG_HOME", ".config")?.join("box")),
    }
}

/// An XDG base directory, or its default below the home directory.
fn home_dir(env: Environment<'_>, variable: &str, default: &str) -> Result<PathBuf, Failure> {
    if let Some(dir) = xdg(env, variable) {
        return Ok(dir);
    }
    match path(env, "HOME") {
        Some(home) if home.is_absolute() => Ok(home.join(default)),
        _ => Err(Failure::new(format!(
            "cannot choose a directory for box: neither {variable} nor HOME is set to an absolute path"
        ))
        .hint("give a directory with --root DIR, or set HOME")),
    }
}

/// The value of an XDG variable. Relative paths must be ignored (XDG Base Directory Specification, "Basics").
pub fn xdg(env: Environment<'_>, variable: &str) -> Option<PathBuf> {
    path(env, variable).filter(|dir| dir.is_absolute())
}

/// The value of a variable with a path. `None` if it is unset or empty.
pub fn path(env: Environment<'_>, variable: &str) -> Option<PathBuf> {
    env(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::new(format!(
            "cannot make {} an absolute path: {}",
            path.display(),
            crate::report::cause(&error)
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dirs(vars: &[(&str, &str)], root: Option<&str>, privileged: bool) -> Dirs {
        let env = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        Dirs::resolve(root.map(Path::new), None, &env, privileged).unwrap()
    }

    #[test]
    fn root_has_the_system_directories() {
        let dirs = dirs(&[("HOME", "/root"), ("XDG_DATA_HOME", "/x")], None, true);
        assert_eq!(dirs.root, Path::new("/var/lib/box"));
        assert_eq!(dirs.cache, Path::new("/var/lib/box/cache"));
        assert_eq!(dirs.run, Path::new("/run/box"));
        assert_eq!(dirs.config, Path::new("/etc/box"));
    }

    #[test]
    fn others_have_their_home() {
        let dirs = dirs(
            &[
                ("HOME", "/home/u"),
                ("XDG_RUNTIME_DIR", "/run/user/7"),
                ("XDG_DATA_HOME", "relative"),
            ],
            None,
            false,
        );
        assert_eq!(dirs.root, Path::new("/home/u/.local/share/box"));
        assert_eq!(dirs.run, Path::new("/run/user/7/box"));
        assert_eq!(dirs.config, Path::new("/home/u/.config/box"));
    }

    #[test]
    fn a_given_root_holds_everything_and_flags_win() {
        let dirs = dirs(
            &[("BOX_ROOT", "/env"), ("BOX_CACHE", "/c")],
            Some("/flag"),
            true,
        );
        assert_eq!(dirs.root, Path::new("/flag"));
        assert_eq!(dirs.run, Path::new("/flag/run"));
        assert_eq!(dirs.cache, Path::new("/c"));
    }
}
