//! `WWW-Authenticate`: nothing panics, and what is read means itself when it is written again.
#![no_main]

use box_registry::Challenge;
use box_transfer::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    Challenge::all(&headers)
}

fn written(challenge: &Challenge) -> String {
    let parameters = challenge.parameters.iter().map(|(name, value)| {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{escaped}\"")
    });
    let parameters: Vec<String> = parameters.collect();
    format!("{} {}", challenge.scheme, parameters.join(", "))
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let all = read(data.split(|byte| *byte == b'\n').take(16));
    for challenge in &all {
        let is_name = |name: &str| !name.is_empty() && !name.contains([' ', ',', '"', '=']);
        assert!(is_name(&challenge.scheme));
        assert!(challenge.parameters.iter().all(|(name, _)| is_name(name)));
    }
    let written: Vec<String> = all.iter().map(written).collect();
    let line = written.join(", ");
    if line.len() < 16 << 10 {
        assert_eq!(read([line.as_bytes()].into_iter()), all, "{line}");
    }
});
