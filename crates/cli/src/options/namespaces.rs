//! Namespaces: the container's own, or the host's.

use box_containers::overrides::{Network, Sharing, UserNamespace};

use crate::options::refused;
use crate::report::Failure;

/// Reads `--net`.
pub fn network(text: Option<&str>) -> Result<Network, Failure> {
    match text {
        None | Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(refused("--net", other, "expected host or none")),
    }
}

/// Reads a flag that shares a namespace with the host.
pub fn sharing(flag: &str, text: Option<&str>) -> Result<Sharing, Failure> {
    match text {
        None | Some("private") => Ok(Sharing::Private),
        Some("host") => Ok(Sharing::Host),
        Some(other) => Err(refused(flag, other, "expected private or host")),
    }
}

/// Reads `FIRST[:SIZE]` of `--userns`: the first id of the host, and how many.
pub fn user(text: &str) -> Result<UserNamespace, Failure> {
    let expected = "expected host, auto, or the first host id and how many, such as 100000:65536";
    let bad = || refused("--userns", text, expected);
    let (first, size) = text.split_once(':').unwrap_or((text, "65536"));
    let first: u32 = first.parse().map_err(|_| bad())?;
    let size: u32 = size.parse().map_err(|_| bad())?;
    if first == 0 || size == 0 || first.checked_add(size).is_none() {
        return Err(bad());
    }
    Ok(UserNamespace::Range { first, size })
}
