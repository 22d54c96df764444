//! The key that signs what is pushed.

use std::path::PathBuf;

use box_pull::SigningKey;

use crate::commands::registries::prompt;
use crate::report::{Failure, cause};

/// Signing what is pushed.
#[derive(Debug, Default, clap::Args)]
pub struct SignArgs {
    /// Sign the image with this private key, as cosign does: ECDSA P-256 or Ed25519 in PEM form, or a key of cosign [env of its
    /// passphrase: COSIGN_PASSWORD]
    #[arg(long, value_name = "FILE")]
    sign_by: Option<PathBuf>,
}

impl SignArgs {
    /// The key, if one was named. Asks for its passphrase, so that nothing is pushed if there is none.
    pub fn key(&self) -> Result<Option<SigningKey>, Failure> {
        let Some(path) = &self.sign_by else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format!(
                "cannot read the key {}: {}",
                path.display(),
                cause(&error)
            ))
        })?;
        let passphrase = match SigningKey::is_encrypted(&text) {
            false => String::new(),
            true => match std::env::var("COSIGN_PASSWORD") {
                Ok(passphrase) => passphrase,
                Err(_) => prompt::secret(&format!("Passphrase of {}: ", path.display()))?,
            },
        };
        let key = SigningKey::from_pem(&text, &passphrase);
        key.map(Some).map_err(|why| {
            Failure::new(format!("cannot sign with the key {}: {why}", path.display())).hint(
                "a key is made by: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE",
            )
        })
    }
}
