//! Alpine's names of branches and releases.

use std::cmp::Ordering;
use std::fmt;

/// A branch: `v3.20`, `edge`, or `latest-stable`, which stands for the newest numbered one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch(String);

/// A release: `3.20.3`, `3.21.0_rc2`, or the date `20240807` of an edge snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

/// What the tag of a reference selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest release of a branch.
    Newest(Branch),
    /// The newest stable release, whose major number must be this one: tag `3`.
    Major(u32),
    /// Exactly this release.
    Exactly(Version),
}

impl Branch {
    /// The newest stable branch.
    pub fn latest_stable() -> Self {
        Self("latest-stable".to_owned())
    }

    /// Parses a branch as mirrors spell it.
    pub fn parse(text: &str) -> Option<Self> {
        let known = matches!(text, "edge" | "latest-stable")
            || text
                .strip_prefix('v')
                .is_some_and(|n| numbers(n).is_some_and(|n| n.len() == 2));
        known.then(|| Self(text.to_owned()))
    }

    /// The branch as in the paths of mirrors.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the name that moves on with each stable branch.
    pub fn is_latest_stable(&self) -> bool {
        self.0 == "latest-stable"
    }
}

impl Version {
    /// Parses a version as Alpine spells it.
    pub fn parse(text: &str) -> Option<Self> {
        let (release, suffix) = text
            .split_once('_')
            .map_or((text, None), |(r, s)| (r, Some(s)));
        let suffix_ok = suffix.is_none_or(|suffix| {
            ["alpha", "beta", "pre", "rc"].iter().any(|stage| {
                suffix
                    .strip_prefix(stage)
                    .is_some_and(|n| n.len() <= 4 && n.bytes().all(|b| b.is_ascii_digit()))
            })
        });
        let known = is_date(text) || (suffix_ok && numbers(release).is_some_and(|n| n.len() == 3));
        known.then(|| Self(text.to_owned()))
    }

    /// The version as in the names of files.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The branch that this version is a release of.
    pub fn branch(&self) -> Branch {
        match numbers(self.0.split('_').next().unwrap_or_default()).as_deref() {
            Some([major, minor, _]) => Branch(format!("v{major}.{minor}")),
            _ => Branch("edge".to_owned()),
        }
    }
}

impl Selector {
    /// Parses a tag; no tag means `latest`. Returns `None` for a tag that Alpine never uses.
    pub fn from_tag(tag: Option<&str>) -> Option<Self> {
        let tag = tag.unwrap_or("latest");
        if tag == "latest" {
            return Some(Self::Newest(Branch::latest_stable()));
        }
        if let Some(branch) = Branch::parse(tag) {
            return Some(Self::Newest(branch));
        }
        if let Some(version) = Version::parse(tag) {
            return Some(Self::Exactly(version));
        }
        match numbers(tag)?.as_slice() {
            [major] => Some(Self::Major(*major)),
            [_, _] => Branch::parse(&format!("v{tag}")).map(Self::Newest),
            _ => None,
        }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialOrd for Branch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Oldest first; `edge` comes after all numbers, `latest-stable` last.
impl Ord for Branch {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |b: &Self| match b.0.as_str() {
            "edge" => (1, Vec::new()),
            "latest-stable" => (2, Vec::new()),
            number => (0, numbers(&number[1..]).unwrap_or_default()),
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Oldest first: candidates before their release, dates after all numbers.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |v: &Self| {
            let (release, stage) = v.0.split_once('_').unwrap_or((&v.0, "~"));
            let digits = stage.len() - stage.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            let (stage, n) = stage.split_at(stage.len() - digits);
            let n = n.parse::<u32>().unwrap_or(0);
            (
                is_date(&v.0),
                numbers(release).unwrap_or_default(),
                stage.to_owned(),
                n,
            )
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.0.cmp(&other.0))
    }
}

/// The numbers of `3.20.3`; `None` if it does not consist of one to four short decimal numbers.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let number = |part: &str| {
        let plain = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| part.parse().ok())?
    };
    let numbers: Option<Vec<u32>> = text.split('.').map(number).collect();
    numbers.filter(|n| n.len() <= 4)
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn exactly(version: &str) -> Selector {
        Selector::Exactly(Version::parse(version).unwrap())
    }

    #[test]
    fn tags_are_branches_or_releases() {
        let newest = |b: &str| Selector::Newest(Branch::parse(b).unwrap());
        for (tag, selector) in [
            (None, newest("latest-stable")),
            (Some("latest"), newest("latest-stable")),
            (Some("3"), Selector::Major(3)),
            (Some("3.20"), newest("v3.20")),
            (Some("v3.20"), newest("v3.20")),
            (Some("edge"), newest("edge")),
            (Some("3.20.3"), exactly("3.20.3")),
            (Some("3.21.0_rc2"), exactly("3.21.0_rc2")),
            (Some("20240807"), exactly("20240807")),
        ] {
            assert_eq!(Selector::from_tag(tag), Some(selector), "{tag:?}");
        }
    }

    #[test]
    fn versions_belong_to_a_branch() {
        for (version, branch) in [
            ("3.20.3", "v3.20"),
            ("3.21.0_rc2", "v3.21"),
            ("20240807", "edge"),
        ] {
            let version = Version::parse(version).unwrap();
            assert_eq!(version.branch().as_str(), branch);
        }
    }

    #[test]
    fn other_tags_are_nothing_of_alpines() {
        for tag in [
            "",
            "bookworm",
            "3.",
            ".3",
            "3.20.3.1",
            "3.20.3_x1",
            "3..1",
            "v3",
            "+3.2",
            "99999.1",
            "2024080",
            "../v3.20",
        ] {
            assert_eq!(Selector::from_tag(Some(tag)), None, "{tag}");
        }
    }

    #[test]
    fn order_is_by_number_and_stage() {
        let sorted = [
            "3.9.6",
            "3.20.0_rc1",
            "3.20.0_rc2",
            "3.20.0_rc10",
            "3.20.0",
            "3.20.3",
            "3.20.10",
            "20240807",
            "20250108",
        ];
        let mut versions: Vec<_> = sorted
            .iter()
            .rev()
            .map(|v| Version::parse(v).unwrap())
            .collect();
        versions.sort();
        assert_eq!(
            versions.iter().map(Version::as_str).collect::<Vec<_>>(),
            sorted
        );
        let sorted = ["v2.7", "v3.9", "v3.20", "edge", "latest-stable"];
        let mut branches: Vec<_> = sorted
            .iter()
            .rev()
            .map(|v| Branch::parse(v).unwrap())
            .collect();
        branches.sort();
        assert_eq!(
            branches.iter().map(Branch::as_str).collect::<Vec<_>>(),
            sorted
        );
    }
}
