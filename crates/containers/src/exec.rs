//! Commands in running containers: their user and environment. The runtime starts them.

use std::path::PathBuf;

use box_run::ExitStatus;
use box_run::capabilities::Capabilities;
use box_run::process::exec::{self as runtime, Target};
use oci_spec::runtime::Process;

use crate::accounts::Accounts;
use crate::{Container, Error};

/// A command to run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `-e`, in addition to the container's variables.
    pub env: Vec<(String, String)>,
    /// `-w`: absolute; that of the container if `None`.
    pub cwd: Option<PathBuf>,
    /// `-u USER[:GROUP]`; that of the container if `None`.
    pub user: Option<String>,
    /// `-t`: the command gets a new terminal.
    pub terminal: bool,
    /// `-d`: the command runs in the background, and its output is discarded.
    pub detach: bool,
}

/// Runs a command in the container. Returns how it ended; `None` for one in the background.
pub fn exec(container: &Container, request: &Request) -> Result<Option<ExitStatus>, Error> {
    match join(container, request) {
        // If the container has ended meanwhile, that is the reason, whatever failed.
        Err(error) => Err(match container.live() {
            Err(ended) => ended,
            Ok(live) if live.is_ending() => Error::NotRunning {
                name: container.name().to_owned(),
                status: "ending".to_owned(),
            },
            Ok(_) => error,
        }),
        joined => joined,
    }
}

fn join(container: &Container, request: &Request) -> Result<Option<ExitStatus>, Error> {
    let live = container.live()?;
    if live.is_frozen()? {
        return Err(Error::NotRunning {
            name: container.name().to_owned(),
            status: "paused".to_owned(),
        });
    }
    let mut bundle = container.bundle()?;
    let accounts = match &request.user {
        Some(_) => {
            let mounts = bundle.spec.mounts().as_deref().unwrap_or(&[]);
            Accounts::of_root(container.open_root(&live)?, mounts)?
        }
        None => Accounts::default(),
    };
    let process = bundle.spec.process_mut().as_mut();
    let process = process.ok_or_else(|| Error::spec("process", "it is missing"))?;
    adapt(process, request, &accounts)?;
    let target = Target {
        pid: live.pid(),
        pidfd: live.pidfd(),
        cgroup: live.cgroup()?,
    };
    Ok(runtime::exec(&target, &bundle, request.detach)?)
}

/// Changes the container's process as requested.
fn adapt(process: &mut Process, request: &Request, accounts: &Accounts) -> Result<(), Error> {
    process.set_args(Some(request.command.clone()));
    process.set_terminal(Some(request.terminal));
    let mut env = process.env().clone().unwrap_or_default();
    let mut set = |key: &str, value: &str| {
        let prefix = format!("{key}=");
        env.retain(|entry| !entry.starts_with(&prefix));
        env.push(format!("{prefix}{value}"));
    };
    if let Some(user) = &request.user {
        let identity = accounts.resolve(user, &[])?;
        set("HOME", &identity.home);
        let held = process
            .capabilities()
            .as_ref()
            .map(Capabilities::from_oci)
            .unwrap_or_default();
        let capabilities = match identity.uid {
            0 => Capabilities::for_root(held.bounding),
            _ => Capabilities::for_user(held.bounding, held.ambient),
        };
        process.set_capabilities(Some(capabilities.to_oci()));
        let mut changed = process.user().clone();
        changed.set_uid(identity.uid).set_gid(identity.gid);
        changed.set_additional_gids(Some(identity.groups));
        process.set_user(changed);
    }
    for (key, value) in &request.env {
        set(key, value);
    }
    process.set_env(Some(env));
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.clone());
    }
    Ok(())
}
