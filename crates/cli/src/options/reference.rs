//! Names of images as users type them.

use std::borrow::Cow;

use box_cache::Reference;

use crate::report::Failure;
use crate::settings::registries;

/// An image reference, after the aliases of the user's `registries.conf`.
pub fn reference(text: &str) -> Result<Reference, Failure> {
    aliased(text)?.parse::<Reference>().map_err(|error| {
        Failure::from_error(&error).hint(
            "name an image like alpine:3.20, nginx:1.27, ghcr.io/org/app or alpine@sha256:...",
        )
    })
}

/// The name that an alias stands for, or the text itself. Aliases are looked up for names without a host only, and never for Alpine's
/// own: to start a container of `alpine`, no file of registries is read.
pub fn aliased(text: &str) -> Result<Cow<'_, str>, Failure> {
    let Some(short) = Reference::short_name(text) else {
        return Ok(Cow::Borrowed(text));
    };
    Ok(match registries::shared()?.alias(short) {
        Some(full) => Cow::Owned(format!("{full}{}", &text[short.len()..])),
        None => Cow::Borrowed(text),
    })
}

/// What the name of an image stands for, to be said before it is fetched, if the name does not say where the image is:
/// `docker.io/library/nginx:latest` for `nginx`.
pub fn expansion(reference: &Reference) -> Option<String> {
    Reference::short_name(&reference.to_string()).map(|_| reference.in_full())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_names_without_a_host_are_expanded() {
        for (text, full) in [
            ("nginx", Some("docker.io/library/nginx:latest")),
            ("team/app:1", Some("docker.io/team/app:1")),
            ("docker.io/library/alpine", None),
            ("localhost:5000/app", None),
            ("alpine", None),
        ] {
            let reference = text.parse().unwrap();
            assert_eq!(expansion(&reference).as_deref(), full, "{text}");
        }
    }
}
