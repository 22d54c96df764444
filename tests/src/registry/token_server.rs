//! A server that hands out tokens, as the registries' token specification describes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::{Value, json};

use super::{PASSWORD, USER};
use crate::server::{Request, Response, Server};

/// Signs tokens that docker-registry accepts. Everyone may pull; only [`USER`] may push.
///
/// GET with Basic credentials, and POST with `grant_type=password` or `refresh_token` (the refresh token is
/// [`TokenServer::REFRESH`]).
pub struct TokenServer {
    server: Server,
    certificate: String,
    lifetime: Arc<AtomicU64>,
}

struct Signer {
    key: KeyPair,
    der: Vec<u8>,
    lifetime: Arc<AtomicU64>,
}

impl TokenServer {
    /// What it wants instead of a password in `grant_type=refresh_token`.
    pub const REFRESH: &str = "refresh-me";
    /// The name of the registry.
    pub const SERVICE: &str = "registry of the tests";
    /// The issuer of the tokens.
    pub const ISSUER: &str = "token server of the tests";

    /// Starts one whose tokens live for five minutes.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a good name");
        let certificate = params.self_signed(&key).expect("the key is complete");
        let lifetime = Arc::new(AtomicU64::new(300));
        let signer = Signer {
            key,
            der: certificate.der().to_vec(),
            lifetime: Arc::clone(&lifetime),
        };
        Self {
            server: Server::new(move |request| signer.answer(request)),
            certificate: certificate.pem(),
            lifetime,
        }
    }

    /// Sets the seconds that later tokens are valid.
    pub fn set_lifetime(&self, seconds: u64) {
        self.lifetime.store(seconds, Ordering::SeqCst);
    }

    /// Where tokens are asked for.
    pub fn realm(&self) -> String {
        format!("{}/token", self.server.url())
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// Writes the certificate by which docker-registry knows the signatures.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("tokens.pem");
        std::fs::write(&path, &self.certificate).expect("the test's directory is writable");
        path
    }
}

impl Default for TokenServer {
    fn default() -> Self {
        Self::new()
    }
}

impl Signer {
    fn answer(&self, request: &Request) -> Response {
        let basic = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let known = match (request.method.as_str(), request.header("authorization")) {
            ("GET", None) => false,
            ("GET", Some(given)) if given == format!("Basic {basic}") => true,
            ("POST", None) => {
                let field = |name: &str| request.parameter(name).unwrap_or_default();
                let good = match field("grant_type").as_str() {
                    "password" => field("username") == USER && field("password") == PASSWORD,
                    "refresh_token" => field("refresh_token") == Self::refresh(),
                    _ => false,
                };
                if !good {
                    return Response::status(401);
                }
                true
            }
            _ => return Response::status(401),
        };
        let lifetime = self.lifetime.load(Ordering::SeqCst);
        let token = self.sign(&claims(request, known, lifetime));
        let name = if request.method == "POST" {
            "access_token"
        } else {
            "token"
        };
        let answer = json!({name: token, "expires_in": lifetime});
        Response::new(answer.to_string()).header("Content-Type", "application/json")
    }

    fn refresh() -> &'static str {
        TokenServer::REFRESH
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.der)]});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(text.as_bytes()).expect("the key can sign");
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(fixed(&signature)))
    }
}

/// The claims of a token for what a request asks for and may have.
fn claims(request: &Request, known: bool, lifetime: u64) -> Value {
    // In a form the scopes are separated by spaces, in a query the parameter is repeated.
    let scopes = request.parameters("scope").join(" ");
    let mut access = Vec::new();
    for scope in scopes.split_whitespace() {
        let mut parts = scope.splitn(2, ':');
        let (kind, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (name, actions) = rest.rsplit_once(':').unwrap_or((rest, ""));
        let allowed: Vec<&str> = actions
            .split(',')
            .filter(|action| known || *action == "pull")
            .collect();
        access.push(json!({"type": kind, "name": name, "actions": allowed}));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    json!({
        "iss": TokenServer::ISSUER,
        "sub": if known { USER } else { "" },
        "aud": request.parameter("service").unwrap_or_default(),
        "exp": now + lifetime,
        "nbf": now.saturating_sub(60),
        "iat": now,
        "jti": format!("{now}-{}", request.path.len()),
        "access": access,
    })
}

/// The two numbers of an ECDSA signature in 32 bytes each, from the DER form.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let digits = &number[number.len().saturating_sub(32)..];
        fixed.extend(std::iter::repeat_n(0, 32 - digits.len()));
        fixed.extend_from_slice(digits);
        rest = &rest[2 + length..];
    }
    fixed
}
