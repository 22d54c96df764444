//! The process of a spec: command, environment, user, capabilities, limits.

use box_run::capabilities::{Capabilities, Change, Set};
use box_run::rlimits;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, Process, User};

use super::overrides::{Network, Overrides};
use crate::Error;
use crate::accounts::Identity;

pub(super) fn process(
    image: &ImageConfiguration,
    asked: &Overrides,
    identity: &Identity,
) -> Result<Process, Error> {
    let mut user = User::default();
    user.set_uid(identity.uid);
    user.set_gid(identity.gid);
    user.set_umask(asked.umask);
    user.set_additional_gids((!identity.groups.is_empty()).then(|| identity.groups.clone()));
    let mut process = Process::default();
    process.set_terminal(Some(asked.terminal));
    process.set_user(user);
    process.set_args(Some(arguments(image, asked)?));
    process.set_env(Some(environment(image, asked, identity)));
    let image_cwd = image
        .config()
        .as_ref()
        .and_then(|config| config.working_dir().as_deref())
        .filter(|dir| !dir.is_empty());
    let cwd = asked
        .cwd
        .clone()
        .or(image_cwd.map(Into::into))
        .unwrap_or_else(|| "/".into());
    if !cwd.is_absolute() {
        return Err(Error::spec(
            "the working directory",
            format!("{} is not an absolute path", cwd.display()),
        ));
    }
    process.set_cwd(cwd);
    process.set_capabilities(Some(capabilities(asked, identity).to_oci()));
    process.set_no_new_privileges(Some(asked.no_new_privileges));
    process.set_oom_score_adj(asked.oom_score_adj);
    process.set_rlimits((!asked.rlimits.is_empty()).then(|| rlimits(&asked.rlimits)));
    Ok(process)
}

/// Entrypoint and command, combined as in docker.
fn arguments(image: &ImageConfiguration, asked: &Overrides) -> Result<Vec<String>, Error> {
    let config = image.config().as_ref();
    let cmd = || {
        config
            .and_then(|config| config.cmd().clone())
            .unwrap_or_default()
    };
    let (mut args, rest) = match &asked.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), asked.command.clone()),
        None => {
            let entrypoint = config
                .and_then(|config| config.entrypoint().clone())
                .unwrap_or_default();
            (
                entrypoint,
                if asked.command.is_empty() {
                    cmd()
                } else {
                    asked.command.clone()
                },
            )
        }
    };
    args.extend(rest);
    match args.first() {
        None => Err(Error::spec(
            "the command",
            "none is given, and the image has none",
        )),
        Some(first) if first.is_empty() => Err(Error::spec("the command", "it is an empty string")),
        Some(_) => Ok(args),
    }
}

/// The environment of the image, then that of the flags. The last value of a name wins and has the position of the first.
fn environment(image: &ImageConfiguration, asked: &Overrides, identity: &Identity) -> Vec<String> {
    let mut out: Vec<(String, String)> =
        vec![("PATH".to_owned(), box_run::DEFAULT_PATH.to_owned())];
    let mut set = |key: &str, value: &str| match out.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => value.clone_into(old),
        None => out.push((key.to_owned(), value.to_owned())),
    };
    if let Some(term) = &asked.term {
        set("TERM", term);
    }
    set("PS1", r"[\u@\h \W]\$ ");
    set("HOME", &identity.home);
    let from_image = image
        .config()
        .as_ref()
        .and_then(|config| config.env().as_ref());
    for entry in from_image.into_iter().flatten() {
        if let Some((key, value)) = entry.split_once('=') {
            set(key, value);
        }
    }
    for (key, value) in &asked.env {
        set(key, value);
    }
    out.into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn capabilities(asked: &Overrides, identity: &Identity) -> Capabilities {
    let held = asked.held.unwrap_or(Set::ALL);
    let set =
        Set::default_on(asked.net == Network::Host).changed(&asked.cap_add, &asked.cap_drop, held);
    if identity.uid == 0 {
        return Capabilities::for_root(set);
    }
    let added = Set::EMPTY.changed(&asked.cap_add, &[] as &[Change], held);
    Capabilities::for_user(set, added)
}

fn rlimits(limits: &[rlimits::Rlimit]) -> Vec<PosixRlimit> {
    let one = |limit: &rlimits::Rlimit| {
        let fields = PosixRlimitBuilder::default()
            .typ(limit.kind)
            .soft(limit.soft)
            .hard(limit.hard);
        fields.build().expect("every field has a default")
    };
    limits.iter().map(one).collect()
}
