//! `box start`, and the execution of a container, which `box run` shares.

use std::fs::File;
use std::path::{Path, PathBuf};

use box_containers::logs::Driver;
use box_containers::{Container, Containers, launch};
use box_run::Ended;
use box_run::Reason;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::commands::containers;
use crate::files::destination;
use crate::image::trust;
use crate::options::limits::flag_size;
use crate::output::{self, binary_size};
use crate::report::{Failure, cause, hint};
use crate::settings::{Settings, require_root};

/// Starts stopped containers in the background, with the files they had when they exited. With --attach, runs one in the
/// foreground and exits with its command's status.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box start old\n  box start -a old")]
pub struct Args {
    /// Names of the containers
    #[arg(required = true, value_name = "NAME", add = ArgValueCandidates::new(crate::options::completion::names))]
    names: Vec<String>,
    /// Run in the foreground, with the output of the container on stdout and stderr
    #[arg(short, long)]
    attach: bool,
    /// Pass stdin to the container (implies --attach)
    #[arg(short, long)]
    interactive: bool,
    /// Write a report of how the container exited, as JSON (implies --attach)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("starting a container")?;
    if !args.attach && !args.interactive && args.report.is_none() {
        return containers::each(settings, &args.names, |containers, name| {
            let container = containers.get(name)?;
            check_passthrough(&container)?;
            trust::judge_container(settings, &container, "start")?;
            Ok(box_containers::monitor::detach(container, hint)?)
        });
    }
    let [name] = args.names.as_slice() else {
        return Err(
            Failure::new("cannot run several containers in the foreground")
                .hint("name one container, or omit --attach, --interactive and --report"),
        );
    };
    let containers = settings.containers();
    let mut container = containers.get(name)?;
    trust::judge_container(settings, &container, "start")?;
    container.hold()?;
    let spec = container.spec()?;
    let process = spec.process().as_ref();
    let terminal = process.and_then(|process| process.terminal()) == Some(true);
    if !args.interactive && !terminal {
        let null = File::open("/dev/null")
            .map_err(|error| Failure::new(format!("cannot open /dev/null: {}", cause(&error))))?;
        rustix::stdio::dup2_stdin(null).map_err(|errno| {
            Failure::new(format!("cannot replace stdin: {}", cause(&errno.into())))
        })?;
    }
    execute(
        &containers,
        container,
        args.report.as_deref(),
        Unstarted::Keep,
    )
}

/// Starts a container in the background and prints its name.
pub fn detach(
    containers: &Containers,
    container: Container,
    unstarted: Unstarted,
) -> Result<u8, Failure> {
    let name = container.name().to_owned();
    if let Err(error) = box_containers::monitor::detach(container, hint) {
        let failure = Failure::from(error);
        if unstarted == Unstarted::Remove {
            remove(containers, &name)?;
        }
        return Err(failure);
    }
    output::line(&name)?;
    Ok(0)
}

/// Refuses to give the caller's terminal to a container in the background: it could read and type there.
pub fn check_passthrough(container: &Container) -> Result<(), Failure> {
    use rustix::termios::isatty;
    let options = &container.record().options;
    if options.log.driver != Driver::Passthrough {
        return Ok(());
    }
    let terminal = isatty(rustix::stdio::stdout())
        || isatty(rustix::stdio::stderr())
        || (options.interactive && isatty(rustix::stdio::stdin()));
    match terminal {
        true => Err(Failure::new(format!(
            "cannot start {} in the background: --log-driver passthrough would give it this terminal",
            container.name()
        ))
        .hint("redirect stdout and stderr to a file or a pipe")),
        false => Ok(()),
    }
}

/// What to do with a container whose command could not be started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unstarted {
    /// Remove it: it was created for this start.
    Remove,
    /// Keep it: it holds files of earlier runs.
    Keep,
}

/// Prepares a container, starts it and waits for its exit. Returns the exit status for box.
pub fn execute(
    containers: &Containers,
    container: Container,
    report: Option<&Path>,
    unstarted: Unstarted,
) -> Result<u8, Failure> {
    let name = container.name().to_owned();
    let mut memory_limit = None;
    let started = container.plan().and_then(|plan| {
        memory_limit = plan.memory_limit();
        launch(container, plan)
    });
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            let failure = Failure::from(error);
            if unstarted == Unstarted::Remove {
                remove(containers, &name)?;
            }
            if let Some(path) = report {
                write(path, &Report::unstarted(&name, &failure))?;
            }
            return Err(failure);
        }
    };
    let ended = running.wait()?;
    if let Some(path) = report {
        write(path, &Report::ended(&name, &ended))?;
    }
    match ended.reason {
        Reason::Oom => Err(out_of_memory(&name, memory_limit, &ended)),
        _ => Ok(ended.code),
    }
}

/// Reports that the kernel's OOM killer ended the container, and why. The exit status is that of the command.
fn out_of_memory(name: &str, limit: Option<u64>, ended: &Ended) -> Failure {
    let peak = ended.peak_memory.map_or(String::new(), |peak| {
        format!(" (peak {})", binary_size(peak))
    });
    let message = match limit {
        Some(limit) => format!(
            "container {name} was killed: it used more than --memory {}{peak}",
            flag_size(limit)
        ),
        None => format!("container {name} was killed: the machine ran out of memory{peak}"),
    };
    let hint = limit.map(|limit| {
        format!(
            "give it more memory: --memory {}",
            flag_size(limit.saturating_mul(2))
        )
    });
    Failure::new(message).maybe_hint(hint).status(ended.code)
}

fn remove(containers: &Containers, name: &str) -> Result<(), Failure> {
    match containers.remove(name, true) {
        Ok(()) | Err(box_containers::Error::NoSuchContainer { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The content of `--report FILE`. Stable, documented in docs/cli.md.
#[derive(Serialize)]
struct Report {
    name: String,
    status: u8,
    signal: Option<u8>,
    reason: String,
    error: Option<String>,
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_memory: Option<u64>,
}

impl Report {
    fn ended(name: &str, ended: &Ended) -> Report {
        let reason = match ended.reason {
            Reason::Exited => "exited",
            Reason::Signaled => "signalled",
            Reason::Oom => "oom",
            Reason::Timeout => "timeout",
        };
        Report {
            name: name.to_owned(),
            status: ended.code,
            signal: match ended.status {
                box_run::ExitStatus::Signaled(signal) => Some(signal),
                box_run::ExitStatus::Exited(_) => None,
            },
            reason: reason.to_owned(),
            error: None,
            wall_seconds: ended.wall.as_secs_f64(),
            cpu_seconds: ended.cpu.as_secs_f64(),
            peak_memory: ended.peak_memory,
        }
    }

    fn unstarted(name: &str, failure: &Failure) -> Report {
        Report {
            name: name.to_owned(),
            status: failure.exit_status(),
            signal: None,
            reason: "failed to start".to_owned(),
            error: Some(failure.message().to_owned()),
            wall_seconds: 0.0,
            cpu_seconds: 0.0,
            peak_memory: None,
        }
    }
}

fn write(path: &Path, report: &Report) -> Result<(), Failure> {
    destination::write(path, output::document(report)?.as_bytes()).map_err(|error| {
        Failure::new(format!(
            "cannot write the report {}: {}",
            path.display(),
            cause(&error)
        ))
    })
}
