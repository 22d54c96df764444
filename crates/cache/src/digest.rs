//! Digests and the identities made of them.
//!
//! A blob is named by the [`Digest`] of its bytes, a layer's tree by its [`DiffId`], the digest of the uncompressed tar archive:
//! two types, so that compressed and plain identities cannot be swapped.
//! See <https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests> and
//! <https://github.com/opencontainers/image-spec/blob/main/config.md#layer-diffid>.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::Error;

/// Identifies content: `sha256:<64 hex digits>` or `sha512:<128 hex digits>`, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256, the algorithm every OCI tool uses.
    Sha256([u8; 32]),
    /// SHA-512, the other registered algorithm.
    Sha512([u8; 64]),
}

/// The registered digest algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `sha256`
    Sha256,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// The name before the colon, which is also that of the directory in `blobs/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

impl Digest {
    /// The SHA-256 digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }

    /// A SHA-256 digest from its 64 hexadecimal digits, as in `sha256sum` files.
    pub fn from_sha256_hex(hex: &str) -> Result<Digest, Error> {
        decode(hex, hex).map(Digest::Sha256)
    }

    /// A SHA-512 digest from its 128 hexadecimal digits, as in `sha512sum` files.
    pub fn from_sha512_hex(hex: &str) -> Result<Digest, Error> {
        decode(hex, hex).map(Digest::Sha512)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Digest::Sha256(_) => Algorithm::Sha256,
            Digest::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Digest::Sha256(bytes) => bytes,
            Digest::Sha512(bytes) => bytes,
        }
    }

    /// The bytes as lower-case hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = String::with_capacity(self.as_bytes().len() * 2);
        for byte in self.as_bytes() {
            hex.push(char::from(DIGITS[usize::from(byte >> 4)]));
            hex.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        hex
    }

    /// The first twelve digits, for listings.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        match text.split_once(':') {
            Some(("sha256", hex)) => decode(text, hex).map(Digest::Sha256),
            Some(("sha512", hex)) => decode(text, hex).map(Digest::Sha512),
            Some(_) => Err(invalid(text, "the algorithm is neither sha256 nor sha512")),
            None => Err(invalid(text, "expected sha256:<64 hexadecimal digits>")),
        }
    }
}

fn decode<const N: usize>(text: &str, hex: &str) -> Result<[u8; N], Error> {
    if hex.len() != 2 * N {
        return Err(invalid(text, "the number of hexadecimal digits is wrong"));
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = match (nibble(pair[0]), nibble(pair[1])) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(invalid(text, "expected lower-case hexadecimal digits")),
        };
    }
    Ok(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn invalid(text: &str, reason: &'static str) -> Error {
    Error::Digest {
        text: text.chars().take(200).collect(),
        reason,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes the [`Digest`] of a stream of bytes, and counts them.
#[derive(Clone, Debug)]
pub struct Hasher {
    state: State,
    bytes: u64,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher for an algorithm.
    pub fn new(algorithm: Algorithm) -> Hasher {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Hasher { state, bytes: 0 }
    }

    /// A SHA-256 hasher.
    pub fn sha256() -> Hasher {
        Hasher::new(Algorithm::Sha256)
    }

    /// A SHA-512 hasher.
    pub fn sha512() -> Hasher {
        Hasher::new(Algorithm::Sha512)
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The number of bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Digest {
        match self.state {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        }
    }
}

/// The digest of a layer's uncompressed tar archive, which identifies the layer's tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DiffId {
    type Err = Error;

    fn from_str(text: &str) -> Result<DiffId, Error> {
        text.parse().map(DiffId)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_answers() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let mut hasher = Hasher::sha512();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!(hasher.bytes(), 3);
        assert!(
            hasher
                .finish()
                .to_string()
                .starts_with("sha512:ddaf35a193617abacc417349ae204131")
        );
    }

    #[test]
    fn only_canonical_text_is_a_digest() {
        assert_eq!(ABC.parse::<Digest>().unwrap().to_string(), ABC);
        for bad in [
            "",
            "sha256:",
            "sha256",
            "sha256:abc",
            "md5:900150983cd24fb0d6963f7d28e17f72",
            &ABC.to_uppercase(),
            &ABC.replace("ba", "BA"),
            &format!("{ABC}0"),
            &ABC.replace("ba78", "../a"),
            "sha256:ééééééééééééééééééééééééééééééée",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
