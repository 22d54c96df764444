//! Settings from flags, environment and configuration file: a flag wins over a variable, a variable over the file.

pub mod config;
pub mod dirs;
pub mod registries;

use std::ffi::OsString;

use box_containers::Containers;
use box_pull::VerifyPolicy;

use crate::options::globals::{Globals, Progress};
use crate::report::Failure;
use crate::settings::config::Config;
use crate::settings::dirs::{Dirs, Environment};

/// The settings of the whole invocation.
#[derive(Debug)]
pub struct Settings {
    /// The directories in use.
    pub dirs: Dirs,
    /// Mirrors in the order in which they are tried; empty for the default one.
    pub mirrors: Vec<String>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// Whether to print only results, in their shortest form.
    pub quiet: bool,
    /// The verification policy where no flag gives one, and the setting that it comes from.
    pub verify: Option<(String, &'static str)>,
    /// The style of progress.
    pub progress: Progress,
    /// The configuration file.
    pub config: Config,
}

impl Settings {
    /// Reads the environment and the configuration file.
    pub fn read(globals: &Globals) -> Result<Settings, Failure> {
        let env = |name: &str| std::env::var_os(name);
        let settings = Settings::resolve(globals, &env, is_root())?;
        settings.dirs.keep_private()?;
        Ok(settings)
    }

    /// The containers of this invocation.
    pub fn containers(&self) -> Containers {
        self.dirs.containers()
    }

    /// The verification policy for images in use, where no flag gives one.
    pub fn verify(&self) -> Result<VerifyPolicy, Failure> {
        match &self.verify {
            None => Ok(VerifyPolicy::default()),
            Some((text, place)) => text
                .parse()
                .map_err(|why| Failure::new(format!("invalid value {text:?} of {place}: {why}"))),
        }
    }

    fn resolve(
        globals: &Globals,
        env: Environment<'_>,
        privileged: bool,
    ) -> Result<Settings, Failure> {
        let dirs = Dirs::resolve(
            globals.root.as_deref(),
            globals.cache.as_deref(),
            env,
            privileged,
        )?;
        let config = Config::read(&dirs.config)?;
        let offline = match globals.offline {
            true => true,
            false => flag(env, "BOX_OFFLINE")?
                .or(config.offline)
                .unwrap_or(false),
        };
        let mirrors = match (globals.mirrors.as_slice(), env("BOX_MIRROR")) {
            ([], Some(list)) if !list.is_empty() => split(&text("BOX_MIRROR", list)?),
            ([], _) => config.pull.mirrors.clone(),
            (given, _) => given.to_vec(),
        };
        let verify = match env("BOX_VERIFY").filter(|value| !value.is_empty()) {
            Some(value) => Some((text("BOX_VERIFY", value)?, "BOX_VERIFY")),
            None => config
                .pull
                .verify
                .clone()
                .map(|text| (text, "pull.verify in config.toml")),
        };
        Ok(Settings {
            dirs,
            mirrors,
            verify,
            offline,
            quiet: globals.quiet,
            progress: globals.progress,
            config,
        })
    }
}

/// Whether the effective user is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Refuses actions that only root can perform.
pub fn require_root(what: &str) -> Result<(), Failure> {
    if is_root() {
        return Ok(());
    }
    let uid = rustix::process::geteuid().as_raw();
    Err(
        Failure::new(format!("{what} requires root, and this is user {uid}"))
            .hint("run the command with sudo"),
    )
}

fn split(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A switch in the environment. `None` if it is unset or empty.
fn flag(env: Environment<'_>, name: &str) -> Result<Option<bool>, Failure> {
    let Some(value) = env(name) else {
        return Ok(None);
    };
    match text(name, value)?.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "1" | "true" | "yes" | "on" => Ok(Some(true)),
        "0" | "false" | "no" | "off" => Ok(Some(false)),
        other => Err(Failure::new(format!(
            "invalid value {other:?} of {name}: expected yes or no"
        ))
        .hint(format!(
            "set {name}=1 to switch it on, {name}=0 to switch it off"
        ))),
    }
}

fn text(name: &str, value: OsString) -> Result<String, Failure> {
    value
        .into_string()
        .map_err(|value| Failure::new(format!("{name}={} is not UTF-8", value.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(globals: Globals, vars: &[(&str, &str)]) -> Result<Settings, Failure> {
        let mut vars = vars.to_vec();
        vars.push(("BOX_CONFIG", "/nonexistent"));
        let env = |name: &str| {
            vars.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        Settings::resolve(&globals, &env, true)
    }

    #[test]
    fn flags_win_over_the_environment() {
        let globals = Globals {
            mirrors: vec!["file:///flag".into()],
            offline: true,
            ..Globals::default()
        };
        let got = settings(
            globals,
            &[("BOX_MIRROR", "http://env"), ("BOX_OFFLINE", "0")],
        )
        .unwrap();
        assert_eq!(got.mirrors, ["file:///flag"]);
        assert!(got.offline);
    }

    #[test]
    fn the_environment_lists_mirrors_with_commas() {
        let got = settings(
            Globals::default(),
            &[("BOX_MIRROR", "http://a, file:///b,")],
        )
        .unwrap();
        assert_eq!(got.mirrors, ["http://a", "file:///b"]);
        assert!(!got.offline);
    }

    #[test]
    fn the_environment_may_require_signatures() {
        let with = |value| {
            settings(Globals::default(), &[("BOX_VERIFY", value)])
                .unwrap()
                .verify()
        };
        assert_eq!(with("require").unwrap(), VerifyPolicy::Require);
        assert_eq!(with("").unwrap(), VerifyPolicy::Prefer);
        let failure = with("yes").unwrap_err();
        assert!(
            failure
                .message()
                .contains("\"yes\" of BOX_VERIFY: expected"),
            "{failure:?}"
        );
    }

    #[test]
    fn a_switch_is_yes_or_no() {
        assert!(
            settings(Globals::default(), &[("BOX_OFFLINE", "yes")])
                .unwrap()
                .offline
        );
        assert!(
            !settings(Globals::default(), &[("BOX_OFFLINE", "")])
                .unwrap()
                .offline
        );
        assert!(settings(Globals::default(), &[("BOX_OFFLINE", "maybe")]).is_err());
    }
}
