//! `box logout`.

use std::path::PathBuf;

use box_registry::Saved;

use super::login::key;
use crate::output;
use crate::report::Failure;
use crate::settings::{Settings, registries};

/// Removes the credentials for a registry from the files in which they were found, and from credential helpers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  box logout ghcr.io\n  box logout --all")]
pub struct Args {
    /// The registry, as it was named at the login
    #[arg(
        value_name = "HOST",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    host: Option<String>,
    /// Remove the credentials for all registries
    #[arg(short, long)]
    all: bool,
    /// Remove them from this file only [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let store = registries::credentials_to_change(args.authfile.as_deref())?;
    let (what, from) = match &args.host {
        Some(host) => {
            let key = key(host)?;
            let from = store.logout(&key)?;
            (key, from)
        }
        None => ("all registries".to_owned(), store.logout_all()?),
    };
    if from.is_empty() && !args.all {
        return Err(Failure::new(format!("nobody is logged in to {what}")));
    }
    if !settings.quiet {
        for saved in &from {
            let place = match saved {
                Saved::File(path) => path.display().to_string(),
                Saved::Helper(name) => format!("docker-credential-{name}"),
            };
            output::line(&format!("logged out of {what}, removed from {place}"))?;
        }
    }
    Ok(0)
}
