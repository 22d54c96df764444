//! Settings of registries: which files there are, and in which order they count. What they mean is the business of `box_registry`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use box_registry::{Configuration, CredentialFile, CredentialStore};

use crate::files::ownership;
use crate::report::{Failure, cause};
use crate::settings::Settings;
use crate::settings::dirs::{Environment, path, xdg};

const TRUST: &str = "it must belong to root or to you, and nobody else may have write access to it or to its directory";

/// Files of all users, the first that exists.
const SYSTEM: [&str; 2] = [
    "/etc/containers/registries.conf",
    "/usr/share/containers/registries.conf",
];

/// What `registries.conf` and the files beside it say, containers-registries.conf(5).
pub fn shared() -> Result<Configuration, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let mut configuration = Configuration::default();
    for path in main_file(&env)?
        .into_iter()
        .chain(drop_ins(&drop_in_directories(&env))?)
    {
        let text = match &path {
            Source::Named(path) => Some(read_named(path)?),
            Source::Found(path) => ownership::read(path, TRUST)?,
        };
        if let Some(text) = text {
            configuration.add_registries_conf(path.path(), &text)?;
        }
    }
    configuration.set_certificate_directories(certificate_directories(&env));
    Ok(configuration)
}

/// What `registries.conf` and box's own configuration say.
pub fn configuration(settings: &Settings) -> Result<Configuration, Failure> {
    let mut configuration = shared()?;
    let own = settings.dirs.config.join("config.toml");
    configuration.set_own(&own, &settings.config.registry)?;
    Ok(configuration)
}

/// The files with credentials. `named` is that of `--authfile`.
pub fn credentials(named: Option<&Path>) -> Result<CredentialStore, Failure> {
    store(named, true)
}

/// The files with credentials, for a command that changes them: the one that the user named need not exist.
pub fn credentials_to_change(named: Option<&Path>) -> Result<CredentialStore, Failure> {
    store(named, false)
}

fn store(named: Option<&Path>, must_exist: bool) -> Result<CredentialStore, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let user = rustix::process::geteuid().as_raw();
    let mut files = credential_files(named, &env, user);
    for file in files.iter().filter(|file| !file.is_named) {
        ownership::check(&file.path, TRUST)?;
    }
    for file in &mut files {
        file.is_named &= must_exist;
    }
    let programs = env("PATH").unwrap_or_default();
    Ok(CredentialStore::new(files, programs))
}

/// A file of settings.
enum Source {
    /// The user named it: it must exist.
    Named(PathBuf),
    /// It is where such files are.
    Found(PathBuf),
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Source::Named(path) | Source::Found(path) => path,
        }
    }
}

/// The user's file takes the place of the system's.
fn main_file(env: Environment<'_>) -> Result<Option<Source>, Failure> {
    if let Some(named) = path(env, "CONTAINERS_REGISTRIES_CONF") {
        return Ok(Some(Source::Named(named)));
    }
    let own = user_directory(env).map(|directory| directory.join("registries.conf"));
    let mut candidates = own.into_iter().chain(SYSTEM.map(PathBuf::from));
    Ok(candidates.find(|file| file.exists()).map(Source::Found))
}

fn drop_in_directories(env: Environment<'_>) -> Vec<PathBuf> {
    let own = user_directory(env).map(|directory| directory.join("registries.conf.d"));
    let system = SYSTEM.iter().rev().map(|file| format!("{file}.d").into());
    system.chain(own).collect()
}

/// `*.conf` in each directory, in the order of their names.
fn drop_ins(directories: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut all = Vec::new();
    for directory in directories {
        let failed = |error: std::io::Error| {
            Failure::new(format!(
                "cannot read {}: {}",
                directory.display(),
                cause(&error)
            ))
        };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => match error.kind() {
                // As root in the home of another user, or the reverse.
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied => {
                    continue;
                }
                _ => return Err(failed(error)),
            },
        };
        let mut files = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.path();
            if file.extension().is_some_and(|e| e == "conf") && file.is_file() {
                files.push(file);
            }
        }
        files.sort();
        all.extend(files.into_iter().map(Source::Found));
    }
    Ok(all)
}

fn certificate_directories(env: Environment<'_>) -> Vec<PathBuf> {
    let own = user_directory(env).map(|directory| directory.join("certs.d"));
    let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    own.into_iter().chain(system).collect()
}

/// containers-auth.json(5), and docker's file. The first is the one that podman writes to.
fn credential_files(named: Option<&Path>, env: Environment<'_>, user: u32) -> Vec<CredentialFile> {
    let named = named
        .map(Path::to_owned)
        .or(path(env, "REGISTRY_AUTH_FILE"));
    if let Some(path) = named {
        return vec![CredentialFile {
            path,
            is_named: true,
        }];
    }
    let run = xdg(env, "XDG_RUNTIME_DIR").map(|directory| directory.join("containers"));
    let run = run.unwrap_or_else(|| format!("/run/containers/{user}").into());
    let docker = path(env, "DOCKER_CONFIG").or_else(|| Some(home(env)?.join(".docker")));
    let files = [
        Some(run.join("auth.json")),
        user_directory(env).map(|directory| directory.join("auth.json")),
        docker.map(|directory| directory.join("config.json")),
    ];
    let files = files.into_iter().flatten();
    files
        .map(|path| CredentialFile {
            path,
            is_named: false,
        })
        .collect()
}

/// Where containers' tools have a user's settings.
fn user_directory(env: Environment<'_>) -> Option<PathBuf> {
    let config = xdg(env, "XDG_CONFIG_HOME").or_else(|| Some(home(env)?.join(".config")));
    Some(config?.join("containers"))
}

fn home(env: Environment<'_>) -> Option<PathBuf> {
    path(env, "HOME").filter(|home| home.is_absolute())
}

fn read_named(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("cannot read {}: {}", path.display(), cause(&error)))
            .hint("CONTAINERS_REGISTRIES_CONF names this file")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsString;

    use super::*;

    fn files(vars: &[(&str, &str)], named: Option<&str>, user: u32) -> Vec<String> {
        let env = |name: &str| -> Option<OsString> {
            let found = vars.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        };
        let files = credential_files(named.map(Path::new), &env, user);
        let shown = |file: CredentialFile| match file.is_named {
            true => format!("!{}", file.path.display()),
            false => file.path.display().to_string(),
        };
        files.into_iter().map(shown).collect()
    }

    #[test]
    fn credentials_are_where_podman_and_docker_have_them() {
        assert_eq!(
            files(&[("HOME", "/root")], None, 0),
            [
                "/run/containers/0/auth.json",
                "/root/.config/containers/auth.json",
                "/root/.docker/config.json"
            ]
        );
        let vars = [
            ("HOME", "/home/u"),
            ("XDG_RUNTIME_DIR", "/run/user/7"),
            ("XDG_CONFIG_HOME", "/home/u/conf"),
            ("DOCKER_CONFIG", "/d"),
        ];
        assert_eq!(
            files(&vars, None, 7),
            [
                "/run/user/7/containers/auth.json",
                "/home/u/conf/containers/auth.json",
                "/d/config.json"
            ]
        );
        let vars = [("REGISTRY_AUTH_FILE", "/a.json"), ("HOME", "/root")];
        assert_eq!(files(&vars, None, 0), ["!/a.json"]);
        assert_eq!(files(&vars, Some("b.json"), 0), ["!b.json"]);
        assert_eq!(files(&[], None, 7), ["/run/containers/7/auth.json"]);
    }

    #[test]
    fn the_users_file_takes_the_place_of_the_systems_and_drop_ins_add_up() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".config/containers");
        fs::create_dir_all(directory.join("registries.conf.d")).unwrap();
        for name in ["b.conf", "a.conf", "c.txt"] {
            fs::write(directory.join("registries.conf.d").join(name), "").unwrap();
        }
        let value = home.path().as_os_str().to_owned();
        let env = |name: &str| (name == "HOME").then(|| value.clone());
        let own = directory.join("registries.conf");
        let found = |env: Environment<'_>| main_file(env).unwrap().map(|s| s.path().to_owned());
        assert_ne!(found(&env), Some(own.clone()));
        fs::write(&own, "").unwrap();
        assert_eq!(found(&env), Some(own));
        let named = |name: &str| match name {
            "CONTAINERS_REGISTRIES_CONF" => Some("/named.conf".into()),
            other => env(other),
        };
        assert_eq!(found(&named), Some("/named.conf".into()));

        let directories = drop_in_directories(&env);
        let files = drop_ins(&directories[directories.len() - 1..]).unwrap();
        let names: Vec<_> = files.iter().filter_map(|s| s.path().file_name()).collect();
        assert_eq!(names, ["a.conf", "b.conf"]);
    }
}
