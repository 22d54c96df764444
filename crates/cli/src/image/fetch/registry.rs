//! The options of verbs that only speak to a registry.

use std::path::PathBuf;

use super::FetchArgs;
use crate::report::Failure;
use crate::settings::Settings;

/// How to speak to a registry.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryArgs {
    /// Also trust the certificate authorities in this PEM file [env: SSL_CERT_FILE]
    #[arg(long = "ca-cert", value_name = "FILE")]
    ca_certs: Vec<PathBuf>,
    /// Take credentials of registries from this file [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Give up on a registry that sends or accepts nothing for this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    stall_timeout: Option<u32>,
    /// Number of retries after a temporary failure of a registry [default: 4]
    #[arg(long, value_name = "NUMBER")]
    retries: Option<u32>,
}

impl RegistryArgs {
    /// The options of a session.
    ///
    /// # Errors
    /// The network must not be used, or a file of settings cannot be read.
    pub fn options(&self, settings: &Settings) -> Result<box_registry::Options, Failure> {
        if settings.offline {
            return Err(
                Failure::new("cannot ask a registry: the network must not be used")
                    .hint("leave out --offline and BOX_OFFLINE"),
            );
        }
        let fetch = FetchArgs {
            ca_certs: self.ca_certs.clone(),
            authfile: self.authfile.clone(),
            stall_timeout: self.stall_timeout,
            retries: self.retries,
            ..FetchArgs::default()
        };
        fetch.registry_options(settings)
    }
}
