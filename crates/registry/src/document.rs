//! Manifests and indexes: their bytes, and what they say.

use box_cache::Digest;
use box_transfer::{Cause, Printable};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The largest document in bytes. Registries must take 4 MiB, and some take more.
pub(crate) const LARGEST: u64 = 8 << 20;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What docker wrote before 2016: media types of schema 1 begin like this.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Configs of images. Any other config belongs to an artifact.
const IMAGE_CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// A manifest or an index, byte for byte as the registry has it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The bytes, which have the digest.
    pub bytes: Vec<u8>,
    /// The media type, in lower case and without parameters.
    pub media_type: String,
    /// The digest that was asked for, or the SHA-256 digest.
    pub digest: Digest,
}

/// What a document says.
#[allow(clippy::large_enum_variant)] // There are never many of them.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// One image, or an artifact: see [`artifact_type`].
    Image(ImageManifest),
    /// Several images.
    Index(ImageIndex),
}

impl Document {
    /// Reads it. Docker's media types, and `null` where Go writes it for an empty list, are accepted.
    ///
    /// # Errors
    /// It is malformed, of docker's schema 1, or says two things at once.
    pub fn parse(&self) -> Result<Parsed> {
        let refuse = |why: String| Error::Document {
            digest: self.digest,
            why: Printable::new(&why),
        };
        let value = read(&self.bytes).map_err(refuse)?;
        let malformed = |e: serde_json::Error| refuse(e.to_string());
        match self.media_type.as_str() {
            OCI_INDEX | DOCKER_LIST => {
                let value = with_list(value, "manifests");
                Ok(Parsed::Index(
                    serde_json::from_value(value).map_err(malformed)?,
                ))
            }
            OCI_MANIFEST | DOCKER_MANIFEST => {
                let value = with_list(value, "layers");
                Ok(Parsed::Image(
                    serde_json::from_value(value).map_err(malformed)?,
                ))
            }
            other if other.starts_with(SCHEMA_1) => Err(Error::Schema1 {
                digest: self.digest,
            }),
            other => Err(refuse(format!("its media type is {other}"))),
        }
    }

    /// A descriptor of it.
    pub fn descriptor(&self) -> Descriptor {
        let size = self.bytes.len() as u64;
        descriptor(&self.media_type, size, &self.digest)
    }

    /// Takes bytes that have this digest, and what a server says about their type: nothing, if it is empty.
    ///
    /// # Errors
    /// They are no document, or the document says that it is another one.
    pub fn new(bytes: Vec<u8>, content_type: &str, digest: Digest) -> Result<Self, Cause> {
        let media_type = media_type(&bytes, content_type).map_err(|why| Cause::Malformed {
            what: "manifest",
            why: Printable::new(&why).to_string(),
        })?;
        Ok(Self {
            bytes,
            media_type,
            digest,
        })
    }
}

/// What an artifact is, for a manifest that is no image: one whose config is not that of an image.
pub fn artifact_type(manifest: &ImageManifest) -> Option<String> {
    let config = manifest.config().media_type().to_string();
    if IMAGE_CONFIGS.contains(&config.as_str()) {
        return None;
    }
    let own = manifest.artifact_type().as_ref().map(MediaType::to_string);
    Some(own.unwrap_or(config))
}

/// A descriptor of a blob.
pub(crate) fn descriptor(media_type: &str, size: u64, digest: &Digest) -> Descriptor {
    let digest: oci_spec::image::Digest = digest
        .to_string()
        .parse()
        .expect("the text of a digest is a digest");
    Descriptor::new(MediaType::from(media_type), size, digest)
}

/// Whether a manifest of this media type can be asked for.
pub(crate) fn is_manifest(media_type: &str) -> bool {
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type)
}

/// A content type without parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// The media type of a document, by the server and by itself, which must agree.
fn media_type(bytes: &[u8], content_type: &str) -> Result<String, String> {
    let header = essence(content_type);
    if matches!(header.as_str(), "text/html" | "application/xhtml+xml") {
        return Err(
            "it is an HTML page: a proxy or a login page answers for the registry".to_owned(),
        );
    }
    let value = read(bytes)?;
    if header.starts_with(SCHEMA_1) || value.get("schemaVersion") == Some(&Value::from(1)) {
        return Ok(format!("{SCHEMA_1}json"));
    }
    if value.get("schemaVersion") != Some(&Value::from(2)) {
        return Err("its schemaVersion is not 2".to_owned());
    }
    let has = |name| value.contains_key(name);
    if has("manifests") && (has("layers") || has("config")) {
        return Err("it is an index and an image at once".to_owned());
    }
    let own = value.get("mediaType").and_then(Value::as_str);
    let own = own.filter(|own| !own.is_empty()).map(essence);
    match own {
        Some(own) if is_manifest(&header) && own != header => Err(format!(
            "the server says that its media type is {header}, the document {own}"
        )),
        Some(own) => Ok(own),
        None if is_manifest(&header) => Ok(header),
        // No usable type at all, as some servers of plain files have it.
        None if !is_vague(&header) => Ok(header),
        None if has("manifests") => Ok(OCI_INDEX.to_owned()),
        None => Ok(OCI_MANIFEST.to_owned()),
    }
}

fn is_vague(content_type: &str) -> bool {
    matches!(
        content_type,
        "" | "application/json" | "application/octet-stream" | "binary/octet-stream" | "text/plain"
    )
}

/// The members of a JSON object, without those that are null.
fn read(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(mut members)) => {
            drop_nulls(&mut members);
            Ok(members)
        }
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(e) => Err(format!("it is not JSON: {e}")),
    }
}

/// The depth is limited by the parser.
fn drop_nulls(members: &mut Map<String, Value>) {
    members.retain(|_, value| !value.is_null());
    for value in members.values_mut() {
        match value {
            Value::Object(inner) => drop_nulls(inner),
            Value::Array(items) => {
                for item in items {
                    if let Value::Object(inner) = item {
                        drop_nulls(inner);
                    }
                }
            }
            _ => {}
        }
    }
}

fn with_list(mut members: Map<String, Value>, name: &str) -> Value {
    members
        .entry(name)
        .or_insert_with(|| Value::Array(Vec::new()));
    Value::Object(members)
}

#[cfg(test)]
mod tests;
