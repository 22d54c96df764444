//! TLS for the tests' servers, with a certificate authority of their own.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Wire;

/// A certificate for `localhost` that signs itself, so that it is its own authority.
pub struct Certificate {
    pem: String,
    config: Arc<ServerConfig>,
}

/// Makes encrypted connections of plain ones.
pub(super) struct Acceptor(Arc<ServerConfig>);

impl Certificate {
    /// A new one.
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
            config: Arc::new(config),
        }
    }

    /// Writes it into a directory, for `--ca-cert`.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("authority.pem");
        std::fs::write(&path, &self.pem).expect("the test's directory is writable");
        path
    }

    /// The same, for connections that speak HTTP/2 and nothing else.
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
    /// The handshake is made with the first byte that is read.
    pub(super) fn accept(&self, stream: TcpStream) -> Box<dyn Wire> {
        let connection =
            ServerConnection::new(Arc::clone(&self.0)).expect("the configuration is complete");
        Box::new(StreamOwned::new(connection, stream))
    }
}
