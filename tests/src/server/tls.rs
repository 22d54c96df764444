//! TLS for the tests' servers, with their own certificate authority.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Wire;

/// A self-signed certificate for `localhost`, which is its own authority.
pub struct Certificate {
    pem: String,
    key: String,
    config: Arc<ServerConfig>,
}

/// Turns plain connections into encrypted ones.
pub(super) struct Acceptor(Arc<ServerConfig>);

impl Certificate {
    /// Creates a certificate and the server's configuration.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .expect("a key can be made");
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .expect("the key was just made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider speaks them")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key is the certificate's");
        Self {
            pem: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            config: Arc::new(config),
        }
    }

    /// Writes it into a directory, for `--ca-cert`.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("authority.pem");
        std::fs::write(&path, &self.pem).expect("the test's directory is writable");
        path
    }

    /// Writes its private key into a directory, for a server of another program.
    pub fn write_key(&self, dir: &Path) -> PathBuf {
        let path = dir.join("authority.key");
        std::fs::write(&path, &self.key).expect("the test's directory is writable");
        path
    }

    /// The same, for connections that speak only HTTP/2.
    pub(super) fn http2(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    pub(super) fn acceptor(&self) -> Acceptor {
        Acceptor(Arc::clone(&self.config))
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Acceptor {
    /// Wraps a connection; the handshake takes place with the first read.
    pub(super) fn accept(&self, stream: TcpStream) -> Box<dyn Wire> {
        let connection =
            ServerConnection::new(Arc::clone(&self.0)).expect("the configuration is complete");
        Box::new(StreamOwned::new(connection, stream))
    }
}
