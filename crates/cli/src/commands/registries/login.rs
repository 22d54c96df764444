//! `box login`.

use std::io::{self, Read};
use std::path::PathBuf;

use box_cache::Reference;
use box_registry::{Credential, Registry, RepositoryName, Saved};

use super::prompt;
use crate::bars::Bars;
use crate::image::fetch::FetchArgs;
use crate::output;
use crate::report::{Failure, cause};
use crate::settings::{Settings, registries};

/// The longest password that is read from stdin.
const LONGEST: u64 = 64 << 10;

/// Checks a user name and a password with a registry, and saves them for later commands, also those of podman, skopeo and buildah.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box login ghcr.io\n  box login -u me --password-stdin registry.example:5000 < password"
)]
pub struct Args {
    /// The registry, with its port if it has one, and perhaps a namespace there
    #[arg(value_name = "HOST", default_value = "docker.io")]
    host: String,
    /// The user name; without it, it is asked for
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from stdin instead of asking for it
    #[arg(long)]
    password_stdin: bool,
    /// Not accepted: other users can see it
    #[arg(short, long, value_name = "PASSWORD", hide = true)]
    password: Option<String>,
    /// Save the credentials in this file [env: REGISTRY_AUTH_FILE]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Print the name of the user who is logged in, and change nothing
    #[arg(long)]
    get_login: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    if args.password.is_some() {
        return Err(Failure::new(
            "cannot take a password from the command line: other users can see it there, and shells keep it",
        )
        .hint("let box ask for it, or send it to its stdin: --password-stdin"));
    }
    let key = key(&args.host)?;
    let store = registries::credentials_to_change(args.authfile.as_deref())?;
    if args.get_login {
        return match store.of(&key)?.and_then(user) {
            Some(user) => output::line(&user).map(|()| 0),
            None => Err(Failure::new(format!("nobody is logged in to {key}"))
                .hint(format!("log in: box login {key}"))),
        };
    }
    if settings.offline {
        return Err(Failure::new(format!(
            "cannot log in to {key}: the network must not be used (--offline)"
        )));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None if args.password_stdin => {
            return Err(Failure::new("--password-stdin needs a user name")
                .hint("give it with --username NAME"));
        }
        None => ask_user(store.of(&key)?.and_then(user))?,
    };
    if user.is_empty() || user.contains(':') {
        return Err(Failure::new(format!(
            "{user:?} is not a user name: it must not be empty, nor contain a colon"
        )));
    }
    let password = match args.password_stdin {
        true => password_from_stdin()?,
        false => prompt::secret("Password: ")?,
    };
    if password.is_empty() {
        return Err(Failure::new("the password is empty"));
    }
    let credential = Credential::Password {
        user: user.clone(),
        password,
    };
    let options = FetchArgs::default().registry_options(settings)?;
    let bars = Bars::new(settings);
    let host = key.split('/').next().unwrap_or_default();
    Registry::new(&options, &bars).check(host, &credential)?;
    let saved = store.login(&key, &credential)?;
    drop(bars);
    match settings.quiet {
        true => Ok(0),
        false => {
            output::line(&format!("logged in to {key} as {user}, {}", place(&saved))).map(|()| 0)
        }
    }
}

/// The key for a host, or for a host and a namespace, in the spelling of names.
pub(super) fn key(text: &str) -> Result<String, Failure> {
    let bare = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or(text)
        .trim_end_matches('/');
    let refused = |why: &str| {
        Failure::new(format!("{text:?} is not a registry: {why}"))
            .hint("name its host like ghcr.io, localhost:5000, or ghcr.io/org for a namespace")
    };
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let name = match path {
        "" => format!("{host}/any"),
        path => format!("{host}/{path}"),
    };
    let reference: Reference = name
        .parse()
        .map_err(|error| refused(Failure::from_error(&error).message()))?;
    if Reference::short_name(&name).is_some() {
        return Err(refused("a host contains a dot or a port"));
    }
    if path.contains([':', '@']) {
        return Err(refused("it has a tag or a digest"));
    }
    let name = RepositoryName::of(&reference).ok_or_else(|| refused("it has no host"))?;
    Ok(match path {
        "" => name.host().to_owned(),
        path => format!("{}/{path}", name.host()),
    })
}

/// Where credentials are, for a message.
fn place(saved: &Saved) -> String {
    match saved {
        Saved::File(path) => format!("saved in {}", path.display()),
        Saved::Helper(name) => format!("saved with docker-credential-{name}"),
    }
}

/// The name of a user. Tokens have none.
fn user(credential: Credential) -> Option<String> {
    match credential {
        Credential::Password { user, .. } => Some(user),
        Credential::IdentityToken(_) | Credential::RegistryToken(_) => Some("<token>".to_owned()),
    }
}

fn ask_user(known: Option<String>) -> Result<String, Failure> {
    let question = match &known {
        Some(known) => format!("User name [{known}]: "),
        None => "User name: ".to_owned(),
    };
    let answer = prompt::line(&question)?;
    match (answer.trim(), known) {
        ("", Some(known)) => Ok(known),
        (answer, _) => Ok(answer.to_owned()),
    }
}

/// Everything on stdin, without the line break at its end.
fn password_from_stdin() -> Result<String, Failure> {
    let failed = |why: String| Failure::new(format!("cannot read the password from stdin: {why}"));
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| failed(cause(&error)))?;
    if text.len() as u64 > LONGEST {
        return Err(failed("it is too long".to_owned()));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_registry_is_named_by_its_host() {
        for (text, expected) in [
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("https://ghcr.io/", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("ghcr.io/org/team", "ghcr.io/org/team"),
            ("docker.io/me", "docker.io/me"),
        ] {
            assert_eq!(key(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "nginx",
            "team/app",
            "ghcr.io/org:1",
            "ghcr.io/../x",
            "a b.c",
        ] {
            assert!(key(text).is_err(), "{text}");
        }
    }
}
