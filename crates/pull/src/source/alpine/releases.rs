//! `latest-releases.yaml`: the newest release of a branch, as written by Alpine's release tool.

use box_cache::Digest;
use box_transfer::Printable;
use serde::Deserialize;

use super::version::{Branch, Version};

/// Name of a release list.
pub const LIST: &str = "latest-releases.yaml";

/// The flavor of the root filesystem for containers.
pub const MINIROOTFS: &str = "alpine-minirootfs";

/// The minirootfs of one release, every field checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The branch by its own name, even if the list of `latest-stable` was requested.
    pub branch: Branch,
    /// The release.
    pub version: Version,
    /// Name of the tarball, beside the list.
    pub file: String,
    /// Size of the tarball in bytes. Only release lists state it.
    pub size: Option<u64>,
    /// Digest of the tarball.
    pub sha256: Digest,
    /// Digest of the tarball. Releases before 3.5 have none.
    pub sha512: Option<Digest>,
}

/// One entry as written. Other flavors may lack any of these, and have fields of their own.
#[derive(Deserialize)]
struct Entry {
    flavor: Option<String>,
    branch: Option<String>,
    arch: Option<String>,
    version: Option<String>,
    file: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
    sha512: Option<String>,
}

/// The minirootfs in a release list for `arch` (Alpine's name). The error describes what is wrong with the list.
pub fn parse(text: &str, arch: &str) -> Result<Release, String> {
    if text.trim_start().starts_with('<') {
        return Err(format!(
            "expected a YAML list, got an HTML page: {}",
            Printable::new(text)
        ));
    }
    let entries: Vec<Entry> = serde_saphyr::from_str(text)
        .map_err(|e| format!("not a release list: {}", Printable::new(&e.to_string())))?;
    let mut found = entries
        .iter()
        .filter(|e| e.flavor.as_deref() == Some(MINIROOTFS));
    let entry = found
        .next()
        .ok_or_else(|| format!("it lists {} flavors, none is {MINIROOTFS}", entries.len()))?;
    if found.next().is_some() {
        return Err(format!("it lists {MINIROOTFS} more than once"));
    }
    checked(entry, arch)
}

/// Name of the tarball of a release.
pub fn file_name(version: &Version, arch: &str) -> String {
    format!("{MINIROOTFS}-{version}-{arch}.tar.gz")
}

fn checked(entry: &Entry, arch: &str) -> Result<Release, String> {
    let wrong = |field: &str, value: &str| {
        format!("{field} of {MINIROOTFS} is `{}`", Printable::new(value))
    };
    let stated = text_of("arch", &entry.arch)?;
    if stated != arch {
        return Err(format!("{}, expected {arch}", wrong("arch", stated)));
    }
    let version = text_of("version", &entry.version)?;
    let version = Version::parse(version).ok_or_else(|| wrong("version", version))?;
    let branch = text_of("branch", &entry.branch)?;
    let branch = Branch::parse(branch)
        .filter(|b| !b.is_latest_stable())
        .ok_or_else(|| wrong("branch", branch))?;
    let file = text_of("file", &entry.file)?;
    if !is_plain_name(file) {
        return Err(format!(
            "{}, expected a plain file name",
            wrong("file", file)
        ));
    }
    let size = entry.size.filter(|size| *size > 0);
    let digest = |field: &'static str, value: &Option<String>| {
        let hex = text_of(field, value)?;
        format!("{field}:{}", hex.trim().to_ascii_lowercase())
            .parse::<Digest>()
            .map_err(|_| wrong(field, hex))
    };
    Ok(Release {
        branch,
        version,
        file: file.to_owned(),
        size: Some(size.ok_or_else(|| format!("{MINIROOTFS} has no size"))?),
        sha256: digest("sha256", &entry.sha256)?,
        sha512: Some(digest("sha512", &entry.sha512)?),
    })
}

fn text_of<'a>(field: &str, value: &'a Option<String>) -> Result<&'a str, String> {
    value
        .as_deref()
        .ok_or_else(|| format!("{MINIROOTFS} has no {field}"))
}

/// Whether `name`, which comes from the server, can be used in a path and a URL without leading elsewhere.
fn is_plain_name(name: &str) -> bool {
    let first_ok = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    first_ok && name.len() <= 200 && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
