//! `box exec`.

use clap_complete::ArgValueCandidates;
use std::path::PathBuf;

use box_containers::exec::{self, Request};

use crate::options;
use crate::report::Failure;
use crate::settings::{Settings, require_root};

/// Runs another command in a running container, with the same confinement, and exits with the command's status.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "box exec [OPTIONS] NAME CMD [ARG]...",
    after_help = "Examples:\n  box exec -it web sh\n  box exec -u nobody -w /tmp web id"
)]
pub struct Args {
    /// The container and the command; everything after NAME belongs to the command
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["NAME", "CMD"], add = ArgValueCandidates::new(crate::options::completion::names))]
    name_and_command: Vec<String>,
    /// Run in the background, without input and output
    #[arg(short, long, conflicts_with = "tty")]
    detach: bool,
    /// Keep stdin open (always the case; accepted for compatibility)
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a terminal for the command
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable; K alone passes the caller's value
    #[arg(short, long = "env", value_name = "K[=V]")]
    env: Vec<String>,
    /// Read environment variables from a file, one K=V or K per line
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Working directory in the container [default: the container's own]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Run as this user; names are looked up in the container's passwd and group files
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("running a command in a container")?;
    let (name, command) = args
        .name_and_command
        .split_first()
        .expect("clap requires a name");
    let mut env =
        options::environment::read(&args.env_files, &args.env, &|name| std::env::var_os(name))?;
    if args.tty && !env.iter().any(|(key, _)| key == "TERM") {
        let term = std::env::var("TERM").ok().filter(|term| !term.is_empty());
        env.push((
            "TERM".to_owned(),
            term.unwrap_or_else(|| "xterm".to_owned()),
        ));
    }
    let request = Request {
        command: command.to_vec(),
        env,
        cwd: args
            .workdir
            .as_deref()
            .map(options::absolute_inside)
            .transpose()?,
        user: args.user.clone(),
        terminal: args.tty,
        detach: args.detach,
    };
    let ended = exec::exec(&settings.containers().get(name)?, &request)?;
    Ok(ended.map_or(0, |status| status.code()))
}
