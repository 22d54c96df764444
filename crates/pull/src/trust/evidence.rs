//! A signature as it was found, and what it vouches for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use box_cache::{Digest, Reference, Verified};
use box_transfer::Printable;
use serde::{Deserialize, Serialize};

use super::bundle::{self, Bundle};
use super::payload::Statement;
use super::policy::Signers;

/// Why a signature by an unknown key does not count.
pub(super) const STRANGER: &str = "no trusted key made it";

/// Most bytes of a signature that is kept. cosign's have some hundreds.
const MOST_BYTES: usize = 16 << 10;

/// How deep an index may be nested whose signature vouches for an image in it.
const DEPTH: usize = 3;

/// Most documents that are read to find an image in an index.
const DOCUMENTS: usize = 64;

/// A signature with all that is needed to check it, except for keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evidence(Form);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "form")]
enum Form {
    /// A simple signing payload, and its signature by cosign or podman; both in base64.
    Payload { payload: String, signature: String },
    /// A sigstore bundle, without what vouches for certificates and times.
    Bundle { bundle: Box<Bundle> },
}

/// Reads the document with a digest.
type ReadDocument<'a> = dyn Fn(&Digest) -> Result<Option<Vec<u8>>, String> + 'a;

/// What a signature shall vouch for.
pub struct Subject<'a> {
    /// The name of the image.
    pub name: &'a Reference,
    /// The scope of the rule that demands the signature.
    pub scope: &'a str,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Reads the document with a digest, verified; `None` if it is not there.
    pub document: &'a ReadDocument<'a>,
}

impl Evidence {
    /// A simple signing payload with the value of its annotation.
    pub fn payload(payload: &[u8], signature: &str) -> Result<Self, String> {
        bounded(payload.len() + signature.len())?;
        Ok(Self(Form::Payload {
            payload: STANDARD.encode(payload),
            signature: signature.trim().to_owned(),
        }))
    }

    /// A sigstore bundle.
    pub fn bundle(bytes: &[u8]) -> Result<Self, String> {
        let bundle = Box::new(Bundle::read(bytes)?);
        let evidence = Self(Form::Bundle { bundle });
        bounded(evidence.to_text().len())?;
        Ok(evidence)
    }

    /// The form in which it is kept.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a document of plain strings can be serialized")
    }

    /// Reads what [`Evidence::to_text`] wrote.
    pub fn from_text(text: &str) -> Result<Self, String> {
        bounded(text.len() / 2)?;
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Checks that one of the signers vouches for an image: for its manifest, or for an index that lists it.
    ///
    /// # Errors
    /// Why it does not count, as part of a sentence.
    pub fn check(&self, signers: &Signers, subject: &Subject<'_>) -> Result<Verified, String> {
        let checked = match &self.0 {
            Form::Payload { payload, signature } => {
                check_payload(&bundle::decode(payload)?, signature, signers, subject)
            }
            Form::Bundle { bundle } => check_bundle(bundle, signers, subject),
        };
        let (key, signed) = checked.map_err(|why| Printable::new(&why).to_string())?;
        Ok(Verified::Key {
            key,
            signed,
            evidence: self.to_text(),
        })
    }
}

fn bounded(bytes: usize) -> Result<(), String> {
    match bytes <= MOST_BYTES {
        true => Ok(()),
        false => Err(format!("it has more than {MOST_BYTES} bytes")),
    }
}

/// The id of the key, and what it signed.
type Signed = (String, Digest);

fn check_payload(
    payload: &[u8],
    signature: &str,
    signers: &Signers,
    subject: &Subject<'_>,
) -> Result<Signed, String> {
    let signature = bundle::decode(signature)?;
    // Nothing of the document is read before its signature is found to be good.
    let key = signers
        .keys
        .iter()
        .find(|key| key.signed(payload, &signature));
    let key = key.ok_or(STRANGER)?;
    let statement = Statement::read(payload)?;
    if let Some(name) = &statement.name
        && !signers.accept(subject.scope, name, statement.has_tag, subject.name)
    {
        return Err(format!(
            "{} signed it as {}, not as {}",
            key.id(),
            spelled(name, statement.has_tag),
            subject.name.without_digest()
        ));
    }
    match subject.is_in(&statement.digest)? {
        true => Ok((key.id().to_owned(), statement.digest)),
        false => Err(format!(
            "{} signed {}, another image",
            key.id(),
            statement.digest
        )),
    }
}

fn check_bundle(
    bundle: &Bundle,
    signers: &Signers,
    subject: &Subject<'_>,
) -> Result<Signed, String> {
    let mut why = "it signs another image".to_owned();
    for digest in bundle.claims()? {
        if !subject.is_in(&digest)? {
            why = format!("it signs {digest}, another image");
            continue;
        }
        let Some(document) = (subject.document)(&digest)? else {
            continue;
        };
        match bundle.signer(&signers.keys, &digest, &document) {
            Ok(key) => return Ok((key.id().to_owned(), digest)),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// A name as it was signed: one without a tag has none.
fn spelled(name: &Reference, has_tag: bool) -> String {
    match has_tag {
        true => name.to_string(),
        false => name.name().to_owned(),
    }
}

/// The documents that an index lists.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
struct Listed {
    digest: String,
}

impl Subject<'_> {
    /// Whether `signed` is the image's manifest, or an index that lists it, perhaps through others.
    fn is_in(&self, signed: &Digest) -> Result<bool, String> {
        let wanted = self.manifest.to_string();
        let mut level = vec![signed.to_string()];
        let mut read = 0;
        for _ in 0..=DEPTH {
            if level.contains(&wanted) {
                return Ok(true);
            }
            let mut next = Vec::new();
            for digest in level
                .iter()
                .filter_map(|digest| digest.parse::<Digest>().ok())
            {
                read += 1;
                if read > DOCUMENTS {
                    return Ok(false);
                }
                let Some(bytes) = (self.document)(&digest)? else {
                    continue;
                };
                // What is not an index lists nothing.
                if let Ok(index) = serde_json::from_slice::<Index>(&bytes) {
                    next.extend(
                        index
                            .manifests
                            .unwrap_or_default()
                            .into_iter()
                            .map(|l| l.digest),
                    );
                }
            }
            level = next;
        }
        Ok(false)
    }
}
