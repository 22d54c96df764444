//! What servers say when they refuse something.

use std::time::{Duration, Instant};

use box_transfer::{Cause, Printable, Response};
use serde::Deserialize;
use serde_json::Value;

/// The longest complaint that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// How long a small body may take in any case.
const PATIENCE: Duration = Duration::from_secs(60);

/// The bytes per second that a small body must bring beyond that.
const SLOWEST: u64 = 1 << 10;

/// An error that a registry reports, in words.
///
/// See <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The first code, such as `MANIFEST_UNKNOWN`.
    pub(crate) code: Option<String>,
    /// The first message, or what stands for it.
    pub(crate) text: Option<Printable>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    errors: Vec<Entry>,
    /// Token servers.
    #[serde(default)]
    details: Value,
    /// OAuth 2.0 (RFC 6749, section 5.2).
    #[serde(default)]
    error_description: Value,
    #[serde(default)]
    message: Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
}

impl Complaint {
    /// Reads the body of an answer. What cannot be read says nothing.
    pub(crate) fn read(response: &mut Response) -> Self {
        match small(response, LONGEST) {
            Ok(bytes) => Self::parse(&bytes),
            Err(cause) => {
                tracing::debug!(%cause, "cannot read what the server says");
                Self::default()
            }
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Body>(bytes) else {
            return Self::default();
        };
        let text = |value: &Value| value.as_str().map(str::trim).map(str::to_owned);
        let not_empty = |text: &String| !text.is_empty();
        let first = body.errors.first();
        let code = first.and_then(|entry| text(&entry.code)).filter(not_empty);
        let said = match first {
            Some(entry) => [&entry.message, &entry.detail],
            None => [&body.error_description, &body.details],
        };
        let said = said.into_iter().chain([&body.message]);
        let said = said.filter_map(text).find(not_empty).or(code.clone());
        Self {
            code,
            text: said.map(|text| Printable::new(&text)),
        }
    }

    /// Whether the registry says that there is no such thing, whatever the status.
    pub(crate) fn is_unknown(&self) -> bool {
        let unknown = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"];
        self.code
            .as_deref()
            .is_some_and(|code| unknown.contains(&code))
    }

    /// The failure of an answer with this complaint.
    pub(crate) fn cause(self, response: &Response) -> Cause {
        let mut cause = Cause::of_status(response);
        if let Cause::Status { status, said, .. } = &mut cause {
            if self.is_unknown() && *status < 500 {
                return Cause::Absent;
            }
            if *status == 403 {
                return box_transfer::Refusal::Denied(self.text).into();
            }
            *said = self.text;
        }
        cause
    }
}

/// Watches over the time that a small body takes. The limit on each single wait is none for a server that sends a byte now and then: a
/// few megabytes could take months.
pub(crate) struct Pace(Instant);

impl Pace {
    /// The body begins now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Whether `bytes` by now are enough.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Cause> {
        enough(self.0.elapsed(), bytes)
    }
}

fn enough(elapsed: Duration, bytes: u64) -> Result<(), Cause> {
    match elapsed <= PATIENCE + Duration::from_secs(bytes / SLOWEST) {
        true => Ok(()),
        false => Err(Cause::Protocol(format!(
            "only {bytes} bytes of it came in {} s",
            elapsed.as_secs()
        ))),
    }
}

/// All of a small body.
pub(crate) fn small(response: &mut Response, limit: u64) -> Result<Vec<u8>, Cause> {
    if response.length().is_some_and(|length| length > limit) {
        return Err(Cause::TooLong { limit });
    }
    let announced = response.length();
    let pace = Pace::start();
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8 << 10]);
    loop {
        match response.read(&mut buffer)? {
            0 => break,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
        pace.check(bytes.len() as u64)?;
        if bytes.len() as u64 > limit {
            return Err(Cause::TooLong { limit });
        }
    }
    match announced {
        Some(expected) if (bytes.len() as u64) < expected => Err(Cause::Truncated {
            expected,
            actual: bytes.len() as u64,
        }),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_is_not_enough() {
        let seconds = Duration::from_secs;
        assert!(enough(seconds(60), 1).is_ok());
        assert!(enough(seconds(120), 64 << 10).is_ok());
        assert!(enough(seconds(90), 90).is_err());
        assert!(enough(seconds(3600), 1 << 20).is_err());
    }

    #[test]
    fn the_words_of_every_kind_of_server_are_found() {
        for (json, code, text) in [
            (
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your\nlimit.","detail":{}}]}"#,
                Some("TOOMANYREQUESTS"),
                Some("You have reached your limit."),
            ),
            (
                r#"{"errors":[{"code":"DENIED","message":""}]}"#,
                Some("DENIED"),
                Some("DENIED"),
            ),
            (
                r#"{"errors":[{"code":"X","detail":"d"}]}"#,
                Some("X"),
                Some("d"),
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                None,
                Some("incorrect username or password"),
            ),
            (
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                None,
                Some("expired"),
            ),
            (
                r#"{"errors":[],"message":"m\u001b[31m"}"#,
                None,
                Some("m\\u{1b}[31m"),
            ),
            (r#"{"errors":[{"code":5,"message":{}}]}"#, None, None),
            ("<html>no</html>", None, None),
            ("", None, None),
        ] {
            let complaint = Complaint::parse(json.as_bytes());
            assert_eq!(complaint.code.as_deref(), code, "{json}");
            assert_eq!(
                complaint.text.map(|t| t.to_string()).as_deref(),
                text,
                "{json}"
            );
        }
    }
}
