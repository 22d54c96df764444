//! The options of every verb that may fetch, combined with the environment and the configuration.

pub mod registry;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use box_cache::{Platform, Reference};
use box_pull::{
    CaCerts, ClientOptions, Keyring, LOCK_FILE, Mirror, Netrc, Pins, Proxies, PullOptions, Retry,
    VerifyPolicy,
};

use crate::files::ownership;
use crate::image::trust;
use crate::report::{Failure, cause};
use crate::settings::{Settings, registries};

/// How images are fetched and verified.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Fetching")]
pub struct FetchArgs {
    /// Require a publisher's signature (require), check it if the mirror has one (prefer), or ignore it (off) [env: BOX_VERIFY]
    #[arg(long, value_name = "prefer|require|off")]
    verify: Option<VerifyPolicy>,
    /// Also trust the certificate authorities in this PEM file [env: SSL_CERT_FILE]
    #[arg(long = "ca-cert", value_name = "FILE")]
    ca_certs: Vec<PathBuf>,
    /// Take credentials of registries from this file [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Use exactly the images that this lock file names [default: box.lock, if it exists]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Fail if the lock file does not name the image
    #[arg(long)]
    locked: bool,
    /// Give up on a mirror that sends nothing for this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    stall_timeout: Option<u32>,
    /// Number of retries after a temporary failure of a mirror [default: 4]
    #[arg(long, value_name = "NUMBER")]
    retries: Option<u32>,
}

impl FetchArgs {
    /// The reference with the digest from the lock file, if there is one. Reads only that file.
    pub fn pinned(&self, reference: &Reference, platform: &Platform) -> Result<Reference, Failure> {
        let pins = self.pins()?;
        let pin = pins.as_ref().and_then(|pins| pins.get(reference, platform));
        match pin {
            Some(pin) if reference.digest().is_none() => Ok(reference.with_digest(pin.manifest)),
            Some(_) => Ok(reference.clone()),
            None if self.locked => Err(box_pull::Error::NotLocked {
                reference: reference.to_string(),
                platform: platform.to_string(),
                path: self.lock_file(),
            }
            .into()),
            None => Ok(reference.clone()),
        }
    }

    /// When an image needs a publisher's signature.
    pub fn policy(&self, settings: &Settings) -> Result<VerifyPolicy, Failure> {
        self.verify.map_or_else(|| settings.verify(), Ok)
    }

    /// The options of a pull of a reference, with the lock file.
    pub fn options(
        &self,
        settings: &Settings,
        platform: &Platform,
        reference: &Reference,
    ) -> Result<PullOptions, Failure> {
        let mut options = self.unpinned(settings, platform, reference)?;
        options.pins = self.pins()?;
        options.locked = self.locked;
        Ok(options)
    }

    /// The options of a pull of a reference, ignoring any lock file.
    pub fn unpinned(
        &self,
        settings: &Settings,
        platform: &Platform,
        reference: &Reference,
    ) -> Result<PullOptions, Failure> {
        let mut options = self.plain(settings, platform)?;
        // Alpine's own releases have nothing to do with the settings of registries, right or wrong.
        if !reference.is_own() {
            options.registry = Arc::new(self.registry_options(settings)?);
        }
        Ok(options)
    }

    /// The options without those of a lock file or of registries.
    pub fn plain(&self, settings: &Settings, platform: &Platform) -> Result<PullOptions, Failure> {
        let mut options = PullOptions::new(platform.clone());
        if !settings.mirrors.is_empty() {
            let mirrors = settings.mirrors.iter().map(|url| url.parse::<Mirror>());
            options.mirrors = mirrors.collect::<Result<_, _>>()?;
        }
        options.verify = self.policy(settings)?;
        options.keyring = keyring(settings)?;
        options.policy = trust::policy(settings)?;
        options.http = self.http(settings)?;
        options.http.netrc = netrc()?;
        options.offline = settings.offline;
        options.retry = self.retry();
        Ok(options)
    }

    /// How to speak to registries: with these options, and with what the settings of registries and the files of credentials say.
    pub fn registry_options(&self, settings: &Settings) -> Result<box_registry::Options, Failure> {
        Ok(box_registry::Options {
            http: self.http(settings)?,
            retry: self.retry(),
            configuration: registries::configuration(settings)?,
            credentials: registries::credentials(self.authfile.as_deref())?,
        })
    }

    fn http(&self, settings: &Settings) -> Result<ClientOptions, Failure> {
        let mut http = ClientOptions {
            ca_certs: self.certificates(settings)?,
            proxies: proxies(),
            ..ClientOptions::default()
        };
        if let Some(seconds) = self.stall_timeout {
            http.stall_timeout = Duration::from_secs(seconds.into());
            http.connect_timeout = http.connect_timeout.min(http.stall_timeout);
        }
        Ok(http)
    }

    fn retry(&self) -> Retry {
        let mut retry = Retry::default();
        if let Some(retries) = self.retries {
            retry.attempts = retries.saturating_add(1);
        }
        retry
    }

    fn certificates(&self, settings: &Settings) -> Result<Vec<CaCerts>, Failure> {
        let variable = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
        let files = self.ca_certs.iter().cloned();
        let files = files.chain(settings.config.pull.ca_certs.iter().cloned());
        files
            .chain(variable.map(PathBuf::from))
            .map(|path| {
                let name = path.display().to_string();
                let pem = std::fs::read(&path).map_err(|error| {
                    Failure::new(format!(
                        "cannot read the certificates {name}: {}",
                        cause(&error)
                    ))
                })?;
                Ok(CaCerts { name, pem })
            })
            .collect()
    }

    fn pins(&self) -> Result<Option<Pins>, Failure> {
        match (&self.lock, self.pins_if_there()?) {
            (Some(path), None) => Err(Failure::new(format!(
                "cannot read the lock file {}: it does not exist",
                path.display()
            ))
            .hint("write it: box lock IMAGE")),
            (_, pins) => Ok(pins),
        }
    }

    /// The pins of the lock file, if it exists. A lock file that was not named must belong to a trusted user.
    pub fn pins_if_there(&self) -> Result<Option<Pins>, Failure> {
        if let Some(path) = &self.lock {
            return Ok(Pins::load(path)?);
        }
        let path = Path::new(LOCK_FILE);
        let text = ownership::read(path, "if you trust it, name it: --lock box.lock")?;
        Ok(text.map(|text| Pins::parse(path, &text)).transpose()?)
    }

    /// The path of the lock file in use, whether it exists or not.
    pub fn lock_file(&self) -> PathBuf {
        self.lock
            .clone()
            .unwrap_or_else(|| PathBuf::from(LOCK_FILE))
    }
}

/// The keys that are trusted to sign images.
pub fn keyring(settings: &Settings) -> Result<Keyring, Failure> {
    let mut keyring = Keyring::alpine();
    trust(&settings.dirs.config.join("trusted-keys"), &mut keyring)?;
    Ok(keyring)
}

/// Adds every `*.asc` in a directory to the keys, in the order of their names.
fn trust(dir: &Path, keyring: &mut Keyring) -> Result<(), Failure> {
    let unreadable = |path: &Path, error: &std::io::Error| {
        Failure::new(format!("cannot read {}: {}", path.display(), cause(error)))
    };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(dir, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(dir, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "asc") {
            files.push(path);
        }
    }
    files.sort();
    for path in files {
        let hint = "keys must belong to root or to you, and nobody else may write to them or to their directory";
        if let Some(text) = ownership::read(&path, hint)? {
            keyring.add(&path.display().to_string(), text.as_bytes())?;
        }
    }
    Ok(())
}

/// The proxies in the usual variables. `HTTP_PROXY` in capitals is not one of them: the client of a CGI program could set
/// it.
fn proxies() -> Proxies {
    let first = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
        values.find(|value| !value.is_empty())
    };
    Proxies {
        http: first(&["http_proxy"]),
        https: first(&["https_proxy", "HTTPS_PROXY"]),
        all: first(&["all_proxy", "ALL_PROXY"]),
        none_for: first(&["no_proxy", "NO_PROXY"]),
    }
}

/// The entries of `$NETRC`, or of `~/.netrc` if it exists.
fn netrc() -> Result<Netrc, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let (path, demanded) = match (set("NETRC"), set("HOME")) {
        (Some(path), _) => (PathBuf::from(path), true),
        (None, Some(home)) => (PathBuf::from(home).join(".netrc"), false),
        (None, None) => return Ok(Netrc::default()),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Netrc::parse(&text)),
        // The home of another user, as after su, or none at all.
        Err(error)
            if !demanded
                && matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied
                ) =>
        {
            Ok(Netrc::default())
        }
        Err(error) => Err(Failure::new(format!(
            "cannot read {}: {}",
            path.display(),
            cause(&error)
        ))),
    }
}
