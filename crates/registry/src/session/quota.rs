//! How much a registry still serves to this client, where it says so.

use box_transfer::Response;
use box_transfer::header::HeaderName;

use super::Registry;

/// As few as this are worth a line, whatever the limit.
const FEW: u64 = 10;

impl Registry<'_> {
    /// Says it once when a registry is about to serve no more (docker.io: `ratelimit-remaining: 76;w=21600`).
    pub(crate) fn note_quota(&self, host: &str, response: &Response) {
        let header = |name| response.header(HeaderName::from_static(name));
        let (remaining, limit) = (header("ratelimit-remaining"), header("ratelimit-limit"));
        if let Some(line) = remaining.and_then(|remaining| line(host, remaining, limit)) {
            let key = format!("{host}: quota");
            if self.is_new(&key) {
                self.note(&line);
            }
        }
    }
}

fn line(host: &str, remaining: &str, limit: Option<&str>) -> Option<String> {
    let (left, window) = numbers(remaining)?;
    let limit = limit.and_then(numbers).map(|(limit, _)| limit);
    let few = left <= FEW || limit.is_some_and(|limit| left <= limit / 10);
    let of = limit
        .map(|limit| format!(" of {limit}"))
        .unwrap_or_default();
    let per = window.map(|seconds| match seconds % 3600 {
        0 if seconds > 0 => format!(" in {} h", seconds / 3600),
        _ => format!(" in {seconds} s"),
    });
    let per = per.unwrap_or_default();
    few.then(|| format!("{host}: {left}{of} pulls{per} are left"))
}

/// The number, and the window in seconds.
fn numbers(value: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = value.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_shown_when_little_is_left() {
        for (remaining, limit, expected) in [
            ("76;w=21600", Some("100;w=21600"), None),
            (
                "10;w=21600",
                Some("100;w=21600"),
                Some("h: 10 of 100 pulls in 6 h are left"),
            ),
            (
                "400;w=90",
                Some("5000"),
                Some("h: 400 of 5000 pulls in 90 s are left"),
            ),
            ("0", None, Some("h: 0 pulls are left")),
            ("-1", None, None),
            ("many", None, None),
        ] {
            assert_eq!(
                line("h", remaining, limit).as_deref(),
                expected,
                "{remaining}"
            );
        }
    }
}
