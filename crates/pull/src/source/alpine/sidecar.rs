//! Checksum files beside a tarball, as sha256sum(1) and sha512sum(1) write them.

use box_cache::Digest;
use box_transfer::Printable;

/// Largest checksum file that is read, in bytes.
pub const LIMIT: u64 = 4 << 10;

/// The digest of `file` in a checksum file: `<hex>  <file>`, or the digits alone. `algorithm` is `sha256` or `sha512`.
/// The error describes what is wrong with it.
pub fn parse(bytes: &[u8], algorithm: &str, file: &str) -> Result<Digest, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if text.trim_start().starts_with('<') {
        return Err("expected a checksum, got an HTML page".to_owned());
    }
    let mut others = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (hex, name) = line.split_once(char::is_whitespace).unwrap_or((line, file));
        // `*` marks binary mode.
        let name = name
            .trim_start()
            .trim_start_matches('*')
            .trim_start_matches("./");
        if name == file {
            return format!("{algorithm}:{}", hex.to_ascii_lowercase())
                .parse()
                .map_err(|_| format!("`{}` is not a {algorithm} digest", Printable::new(hex)));
        }
        others += 1;
    }
    Err(match others {
        0 => "it is empty".to_owned(),
        n => format!("it has {n} lines, none for {file}"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = "alpine-minirootfs-3.20.3-x86_64.tar.gz";

    #[test]
    fn the_usual_forms_are_read() {
        let hex = "Ab".repeat(32);
        let expected = format!("sha256:{}", "ab".repeat(32));
        for text in [
            format!("{hex}  {FILE}\n"),
            format!("{hex} *./{FILE}\r\n"),
            hex.clone(),
            format!("\n{}  other\n{hex}\t{FILE}", "00".repeat(32)),
        ] {
            assert_eq!(
                parse(text.as_bytes(), "sha256", FILE).unwrap().to_string(),
                expected
            );
        }
        let long = format!("{}  {FILE}", "0f".repeat(64));
        assert!(parse(long.as_bytes(), "sha512", FILE).is_ok());
    }

    #[test]
    fn everything_else_says_why_not() {
        for (text, why) in [
            (&b""[..], "it is empty"),
            (b"\xff\xfe", "it is not text"),
            (b"  <html>", "got an HTML page"),
            (b"xyz", "`xyz` is not a sha256 digest"),
            (b"\x1b[2J", "`\\u{1b}[2J` is not a sha256 digest"),
            (
                b"00  other\n00  another\n",
                "it has 2 lines, none for alpine-minirootfs",
            ),
        ] {
            let error = parse(text, "sha256", FILE).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
