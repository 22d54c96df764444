//! Who must have signed an image of a registry.
//!
//! - A [`Policy`] says, for each prefix of names, whether images are accepted as they are, refused, or must be signed.
//! - A [`PublicKey`] is what a signature is checked with; a [`SigningKey`] makes one.
//! - [`Evidence`] is a signature as a registry had it. It is kept with the image and checked again whenever the image is used,
//!   against the policy of that moment: nothing is believed because it was true at the pull.
//!
//! The formats are those of cosign: the simple signing payload with its signature in an annotation
//! (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>), and sigstore bundles
//! (<https://github.com/sigstore/protobuf-specs>). Certificates and transparency logs are not evaluated: only keys count.

mod attach;
mod bundle;
mod encrypted;
mod evidence;
mod judgement;
mod key;
mod payload;
mod policy;
pub(crate) mod search;
mod signing;

pub use evidence::{Evidence, Subject};
pub use judgement::Refusal;
pub use key::PublicKey;
pub use policy::{Policy, Rule, Signers};
pub use signing::SigningKey;

#[cfg(test)]
mod tests;
