//! Programs that keep credentials: the protocol of <https://github.com/docker/docker-credential-helpers>. A program
//! `docker-credential-NAME` gets a verb as its argument and the rest on stdin, and answers on stdout.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use box_cache::Reason;
use box_transfer::Printable;
use serde::Deserialize;
use serde_json::json;

use super::Credential;
use super::file::{TOKEN_USER, password_or_token};
use crate::error::{Error, Result};

/// A helper may have to ask its user, or a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest answer.
const LIMIT: u64 = 1 << 20;

/// What helpers answer for a host that they do not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A helper program.
pub(super) struct Helper<'a> {
    name: &'a str,
    programs: &'a OsStr,
    patience: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl<'a> Helper<'a> {
    /// A helper by its name, in directories that are separated as in `PATH`.
    pub fn new(name: &'a str, programs: &'a OsString) -> Self {
        Self {
            name,
            programs,
            patience: PATIENCE,
        }
    }

    /// Asks for the credentials of a server; `None` if the helper has none.
    pub fn get(&self, server: &str) -> Result<Option<Credential>> {
        let output = match self.run("get", server.as_bytes()) {
            Ok(output) => output,
            Err(Refusal::Answered(text)) if text.contains(NOT_FOUND) => return Ok(None),
            Err(refusal) => return Err(self.error("get", server, refusal)),
        };
        let answer: Answer = serde_json::from_slice(&output).map_err(|_| {
            let why = "its answer is not the JSON object that is expected";
            self.error("get", server, Refusal::Failed(why.to_owned()))
        })?;
        Ok(match (answer.username.as_str(), answer.secret.as_str()) {
            ("", "") => None,
            _ => Some(password_or_token(answer.username, answer.secret)),
        })
    }

    /// Hands credentials over.
    pub fn store(&self, server: &str, credential: &Credential) -> Result<()> {
        let (user, secret) = match credential {
            Credential::Password { user, password } => (user.as_str(), password),
            Credential::IdentityToken(token) | Credential::RegistryToken(token) => {
                (TOKEN_USER, token)
            }
        };
        let input = json!({ "ServerURL": server, "Username": user, "Secret": secret });
        match self.run("store", input.to_string().as_bytes()) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.error("store", server, refusal)),
        }
    }

    /// Removes credentials. Whether there were any, as far as helpers tell.
    pub fn erase(&self, server: &str) -> Result<bool> {
        match self.run("erase", server.as_bytes()) {
            Ok(_) => Ok(true),
            Err(Refusal::Answered(text)) if text.contains(NOT_FOUND) => Ok(false),
            Err(refusal) => Err(self.error("erase", server, refusal)),
        }
    }

    fn error(&self, action: &'static str, server: &str, refusal: Refusal) -> Error {
        let why = match refusal {
            Refusal::Failed(why) | Refusal::Answered(why) => why,
        };
        Error::Helper {
            action,
            host: Printable::new(server),
            helper: Printable::new(self.name),
            why: Printable::new(&why),
        }
    }

    fn run(&self, verb: &str, input: &[u8]) -> Result<Vec<u8>, Refusal> {
        let failed = |error: io::Error| Refusal::Failed(Reason(&error).to_string());
        let mut child = Command::new(self.program()?)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let result = self.talk(&mut child, input);
        if result.is_err() {
            // It may have ended by itself, which is as good.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        let (output, complaint) = result?;
        match status.success() {
            true => Ok(output),
            false => {
                let text = match output.trim_ascii().is_empty() {
                    true => complaint,
                    false => output,
                };
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                Err(match text.is_empty() {
                    true => Refusal::Failed(format!("it failed, {status}")),
                    false => Refusal::Answered(text),
                })
            }
        }
    }

    /// Sends the input and collects what the program writes on stdout and stderr.
    fn talk(&self, child: &mut Child, input: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let output = collect(child.stdout.take());
        let complaint = collect(child.stderr.take());
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input)
            // It answers without having read.
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(Refusal::Failed(Reason(&error).to_string()));
        }
        let end = Instant::now() + self.patience;
        let receive = |from: Receiver<io::Result<Vec<u8>>>| {
            let left = end.saturating_duration_since(Instant::now());
            let bytes = from.recv_timeout(left).map_err(|_| {
                let seconds = self.patience.as_secs();
                Refusal::Failed(format!("it did not answer within {seconds} s"))
            })?;
            let bytes = bytes.map_err(|error| Refusal::Failed(Reason(&error).to_string()))?;
            match bytes.len() as u64 {
                ..=LIMIT => Ok(bytes),
                _ => Err(Refusal::Failed("its answer is too long".to_owned())),
            }
        };
        Ok((receive(output)?, receive(complaint)?))
    }

    /// The program, in one of the directories only: a name with a slash, or a directory that depends on where box was called, could
    /// be anybody's program.
    fn program(&self) -> Result<PathBuf, Refusal> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err(Refusal::Failed("that is not a name".to_owned()));
        }
        let file = format!("docker-credential-{}", self.name);
        let directories = std::env::split_paths(self.programs).filter(|d| d.is_absolute());
        let executable = |path: &PathBuf| {
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        directories
            .map(|directory| directory.join(&file))
            .find(executable)
            .ok_or_else(|| Refusal::Failed("there is no such program in PATH".to_owned()))
    }
}

enum Refusal {
    /// It did not run, or not as it should.
    Failed(String),
    /// It ran and said no.
    Answered(String),
}

/// Reads a pipe to its end in a thread of its own. The thread outlives this only while another process keeps the pipe open.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = match pipe {
            Some(pipe) => pipe.take(LIMIT + 1).read_to_end(&mut bytes),
            None => Ok(0),
        };
        // Nobody waits any more after the time is up.
        let _ = sender.send(read.map(|_| bytes));
    });
    receiver
}

#[cfg(test)]
mod tests;
