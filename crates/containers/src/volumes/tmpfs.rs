//! The options of `--tmpfs`, from tmpfs(5). They are checked here, as the kernel only reports "invalid argument".

use super::size;

/// Options of mounts and tmpfs that have no value.
const WORDS: [&str; 35] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nodiratime",
    "diratime",
    "nosymfollow",
    "symfollow",
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
    "noswap",
    "inode32",
    "inode64",
    "defaults",
    "notmpcopyup",
];

/// Checks an option; the error is the reason for refusing it.
pub(super) fn check(option: &str) -> Result<(), String> {
    let Some((key, value)) = option.split_once('=') else {
        return match option {
            "tmpcopyup" => Err("tmpcopyup is not supported: a tmpfs is empty at first".to_owned()),
            word if WORDS.contains(&word) => Ok(()),
            "size" | "mode" | "uid" | "gid" => Err(format!("{option} needs a value")),
            _ => Err(format!("unknown option {option}")),
        };
    };
    let valid = match key {
        "size" | "nr_blocks" | "nr_inodes" => {
            let percent = value.strip_suffix('%').filter(|_| key == "size");
            match percent {
                Some(number) => number.parse::<u8>().is_ok_and(|number| number <= 100),
                None => number_with_unit(value),
            }
        }
        "mode" => u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777),
        "uid" | "gid" => value.parse::<u32>().is_ok_and(|id| id != u32::MAX),
        "huge" => matches!(value, "never" | "always" | "within_size" | "advise"),
        "mpol" => !value.is_empty(),
        _ => return Err(format!("unknown option {key}")),
    };
    match (valid, key) {
        (true, _) => Ok(()),
        (false, "size" | "nr_blocks" | "nr_inodes") => Err(format!(
            "{key} is a number, perhaps with k, m or g, not {value:?}"
        )),
        (false, "mode") => Err(format!("mode is an octal number up to 7777, not {value:?}")),
        (false, _) => Err(format!("{key} cannot be {value:?}")),
    }
}

/// Whether the kernel's memparse() accepts all of a value.
fn number_with_unit(value: &str) -> bool {
    !value.ends_with(['b', 'B']) && size(value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_tmpfs_and_no_others() {
        for option in [
            "size=64m",
            "size=10%",
            "size=1G",
            "nr_inodes=1k",
            "mode=1777",
            "uid=1000",
            "exec",
            "huge=within_size",
            "rshared",
            "ro",
        ] {
            assert_eq!(check(option), Ok(()), "{option}");
        }
        for option in [
            "foo",
            "size",
            "size=",
            "size=64mb",
            "size=1x",
            "size=101%",
            "mode=8",
            "mode=17777",
            "uid=-1",
            "uid=4294967295",
            "huge=yes",
            "foo=1",
            "tmpcopyup",
            "source=/x",
            "bind",
        ] {
            assert!(check(option).is_err(), "{option}");
        }
    }
}
