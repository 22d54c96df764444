//! Private keys as `cosign generate-key-pair` writes them: PKCS #8, encrypted with NaCl's secretbox under a key that scrypt derives
//! from a passphrase (<https://github.com/sigstore/cosign/blob/main/KEYS>, <https://github.com/theupdateframework/go-tuf>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde::Deserialize;

/// The labels of such a PEM block, the newer one first.
const LABELS: [&str; 2] = [
    "ENCRYPTED SIGSTORE PRIVATE KEY",
    "ENCRYPTED COSIGN PRIVATE KEY",
];

/// Most memory that the derivation of the key may take, in bytes. cosign's takes 32 to 64 MiB.
const MEMORY: u64 = 256 << 20;

#[derive(Deserialize)]
struct Sealed {
    kdf: Derivation,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Derivation {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// The JSON document in the PEM block, if the text holds one of cosign's.
pub(super) fn find(text: &str) -> Option<Result<Vec<u8>, String>> {
    LABELS.iter().find_map(|label| {
        let rest = text.split_once(&format!("-----BEGIN {label}-----"))?.1;
        let body = rest.split("-----END ").next().unwrap_or_default();
        let body: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(body);
        Some(bytes.map_err(|_| "it is not a private key in PEM form".to_owned()))
    })
}

/// Decrypts the document to PKCS #8 in DER form.
pub(super) fn open(document: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let sealed: Sealed = serde_json::from_slice(document)
        .map_err(|_| "its encryption is not described as cosign does".to_owned())?;
    let (kdf, cipher) = (&sealed.kdf, &sealed.cipher);
    if kdf.name != "scrypt" || cipher.name != "nacl/secretbox" {
        return Err("it is not encrypted with scrypt and nacl/secretbox".to_owned());
    }
    let Params { n, r, p } = kdf.params;
    let memory = n
        .saturating_mul(u64::from(r).saturating_add(u64::from(p)))
        .saturating_mul(128);
    if !n.is_power_of_two() || n < 2 || memory > MEMORY || p > 16 {
        return Err("its parameters of scrypt are out of bounds".to_owned());
    }
    let decode = |text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| "it is damaged".to_owned())
    };
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, r, p, 32)
        .map_err(|_| "its parameters of scrypt are out of bounds".to_owned())?;
    let mut key = [0; 32];
    scrypt::scrypt(
        passphrase.as_bytes(),
        &decode(&kdf.salt)?,
        &params,
        &mut key,
    )
    .expect("32 bytes is a length that scrypt can derive");
    let nonce: [u8; 24] = decode(&cipher.nonce)?
        .try_into()
        .map_err(|_| "it is damaged".to_owned())?;
    let opened = XSalsa20Poly1305::new(&key.into())
        .decrypt(&Nonce::from(nonce), decode(&sealed.ciphertext)?.as_slice());
    opened.map_err(|_| "the passphrase is wrong".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sealed(n: u64, passphrase: &str) -> Vec<u8> {
        let mut key = [0; 32];
        let params =
            scrypt::Params::new(u8::try_from(n.trailing_zeros()).unwrap(), 8, 1, 32).unwrap();
        scrypt::scrypt(passphrase.as_bytes(), b"salt", &params, &mut key).unwrap();
        let cipher = XSalsa20Poly1305::new(&key.into());
        let text = cipher.encrypt(&Nonce::from([7; 24]), &b"key"[..]).unwrap();
        let document = serde_json::json!({
            "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": STANDARD.encode("salt")},
            "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode([7; 24])},
            "ciphertext": STANDARD.encode(text),
        });
        document.to_string().into_bytes()
    }

    #[test]
    fn a_passphrase_opens_its_key_and_no_other_does() {
        let document = sealed(1024, "secret");
        assert_eq!(open(&document, "secret").unwrap(), b"key");
        assert_eq!(
            open(&document, "Secret").unwrap_err(),
            "the passphrase is wrong"
        );
        let text = String::from_utf8(document).unwrap();
        for (from, to, why) in [
            ("scrypt", "argon", "not encrypted with"),
            ("\"N\":1024", "\"N\":1000", "out of bounds"),
            ("\"N\":1024", "\"N\":1073741824", "out of bounds"),
            ("\"N\":1024", "\"N\":1", "out of bounds"),
            ("\"r\":8", "\"r\":4294967295", "out of bounds"),
            ("\"r\":8", "\"r\":0", "out of bounds"),
            ("\"p\":1", "\"p\":100", "out of bounds"),
            ("\"ciphertext\":\"", "\"ciphertext\":\"%", "damaged"),
        ] {
            assert!(text.contains(from), "{text}");
            let refused = open(text.replace(from, to).as_bytes(), "secret").unwrap_err();
            assert!(refused.contains(why), "{from} {to}: {refused}");
        }
    }

    #[test]
    fn the_block_is_found_in_a_pem_file() {
        let pem = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nZXlK\ncQ==\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        assert_eq!(find(pem).unwrap().unwrap(), b"eyJq");
        assert!(find("-----BEGIN PRIVATE KEY-----").is_none());
    }
}
