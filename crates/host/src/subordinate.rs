//! Ranges of ids that are set aside for a user's containers: /etc/subuid and /etc/subgid, subuid(5).

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The login name or number of the user it belongs to.
    pub owner: &'a str,
    /// The first id.
    pub first: u32,
    /// How many ids there are.
    pub count: u32,
}

/// The ranges in the text of such a file, lines of `owner:first:count`. Lines that are not of this form are skipped, as shadow's own
/// reader does.
pub fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':').map(str::trim);
        Some(Entry {
            owner: fields.next()?,
            first: fields.next()?.parse().ok()?,
            count: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_another_form_are_skipped() {
        let text = "# no\nother:1:2\nbox:x:5\n\nbox: 100000 :65536\nbox:-1:7\n1000:7:4294967295\nbox:4294967296:1\n";
        let found: Vec<_> = entries(text)
            .map(|entry| (entry.owner, entry.first, entry.count))
            .collect();
        assert_eq!(
            found,
            [
                ("other", 1, 2),
                ("box", 100_000, 65_536),
                ("1000", 7, u32::MAX)
            ]
        );
    }
}
