//! Names of containers: which are valid, and generated ones of two plain words.

use crate::Error;

/// The longest name, which is also the name of a directory.
pub const LONGEST: usize = 128;

/// Checks a name: letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
pub fn check(name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST {
        "it is longer than 128 characters"
    } else if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        "it must begin with a letter or a digit"
    } else if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    {
        "it may contain letters, digits, '_', '.' and '-' only"
    } else {
        return Ok(());
    };
    Err(Error::BadName {
        name: name.to_owned(),
        reason,
    })
}

/// A name of two words, and with `number` also a number, derived from a random number.
pub(crate) fn made(random: u64, number: bool) -> String {
    let first = FIRST[(random & 63) as usize];
    let second = SECOND[(random >> 6 & 63) as usize];
    if number {
        format!("{first}-{second}-{}", (random >> 12) % 1_000_000)
    } else {
        format!("{first}-{second}")
    }
}

const FIRST: [&str; 64] = [
    "amber", "azure", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "cool",
    "coral", "crisp", "deft", "eager", "early", "fair", "fine", "firm", "fleet", "fond", "free",
    "fresh", "gentle", "glad", "golden", "grand", "green", "happy", "hardy", "jolly", "keen",
    "kind", "lively", "lucky", "mellow", "merry", "mild", "misty", "neat", "noble", "plain",
    "proud", "quick", "quiet", "rapid", "ready", "rosy", "round", "sharp", "silver", "sleek",
    "smart", "solid", "steady", "still", "sunny", "swift", "tidy", "vivid", "warm", "wide", "wild",
    "wise", "young",
];

const SECOND: [&str; 64] = [
    "acorn", "apple", "badger", "bay", "beach", "birch", "bird", "breeze", "brook", "cedar",
    "cliff", "cloud", "clover", "coast", "crane", "creek", "dawn", "deer", "dove", "eagle", "elm",
    "falcon", "fern", "field", "finch", "fjord", "flame", "forest", "fox", "garden", "grove",
    "harbor", "hare", "hawk", "heron", "hill", "island", "lake", "leaf", "lynx", "maple", "marsh",
    "meadow", "moon", "moss", "oak", "otter", "owl", "peak", "pine", "pond", "rain", "reef",
    "river", "robin", "rock", "seal", "sky", "snow", "spruce", "stone", "stream", "valley",
    "willow",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for good in ["a", "web-1", "A_b.c", "0"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "..",
            "a/b",
            "a b",
            "ä",
            "a\0",
            &"a".repeat(129),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn made_names_follow_the_rules() {
        for random in 0..4096 {
            assert!(check(&made(random, random % 2 == 0)).is_ok());
        }
        assert_eq!(made(0, false), "amber-acorn");
    }
}
