//! Requests as they arrive.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, `POST` and so on.
    pub method: String,
    /// Path and query as sent, starting with `/` (or the whole URL if the client uses the server as a proxy).
    pub path: String,
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, whole.
    pub body: Arc<Vec<u8>>,
}

impl Request {
    /// The value of the header field `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The path without the query.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The values of a parameter of the query or, for a form, of the body, decoded.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let form = match self.header("content-type") {
            Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
                String::from_utf8_lossy(&self.body).into_owned()
            }
            _ => String::new(),
        };
        let pairs = query.split('&').chain(form.split('&'));
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
            .collect()
    }

    /// The first value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).into_iter().next()
    }
}

/// Undoes the encoding of `application/x-www-form-urlencoded`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let byte = match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap_or("3f");
                rest = tail;
                u8::from_str_radix(digits, 16).unwrap_or(b'?')
            }
            (byte, _) => *byte,
        };
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a request line and header fields of at most 64 KiB; `None` at the end or if the input is not HTTP.
pub(super) fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut limited = reader.by_ref().take(64 << 10);
    let mut line = String::new();
    limited.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut field = String::new();
        limited.read_line(&mut field).ok()?;
        let field = field.trim_end();
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = read_body(reader, &headers)?;
    Some(Request {
        method,
        path,
        headers,
        body: Arc::new(body),
    })
}

/// Reads the body that the header fields announce; `None` if it breaks off.
fn read_body(reader: &mut impl BufRead, headers: &BTreeMap<String, String>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let coding = headers.get("transfer-encoding");
    if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = u64::from_str_radix(line.trim(), 16).ok()?;
            let read = reader.by_ref().take(size).read_to_end(&mut body).ok()?;
            let mut end = String::new();
            reader.read_line(&mut end).ok()?;
            match size {
                0 => return Some(body),
                size if size != read as u64 => return None,
                _ => {}
            }
        }
    }
    let Some(length) = headers.get("content-length") else {
        return Some(body);
    };
    let length: u64 = length.parse().ok()?;
    let read = reader.by_ref().take(length).read_to_end(&mut body).ok()?;
    (read as u64 == length).then_some(body)
}
