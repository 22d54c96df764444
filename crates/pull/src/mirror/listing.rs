//! Names in a directory of a mirror, as file systems and web servers list them.

use std::io;
use std::path::Path;

/// Most names read from one listing.
const MOST: usize = 10_000;

/// Names in a local directory.
pub(crate) fn of_directory(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in dir.read_dir()?.take(MOST) {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Names that the page of a web server links to: the last part of each `href`. The caller knows the form of the names it
/// looks for, so that navigation and decoration do no harm.
pub(crate) fn of_page(page: &str) -> Vec<String> {
    let mut names: Vec<String> = page
        .split("href=")
        .skip(1)
        .take(MOST)
        .filter_map(|rest| {
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let link = rest[1..].split(quote).next()?;
            let name = link.trim_end_matches('/').rsplit('/').next()?;
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_usual_servers_are_names() {
        let page = r#"<a href="../">../</a><A HREF='x'>x</A> <a href='v3.20/'>v3.20/</a> <a href="/alpine/v3.19/">v3.19</a>
            <a href="?C=N;O=D">Name</a><a href="v3.20/">again</a><a href=bare>bare</a><a href="cut"#;
        assert_eq!(of_page(page), ["..", "cut", "v3.19", "v3.20"]);
        assert!(of_page("no links").is_empty());
    }
}
