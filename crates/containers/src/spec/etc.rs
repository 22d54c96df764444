//! The files below /etc that depend on the host and the hostname, not on the image. Touches no files.

use serde::{Deserialize, Serialize};

/// Contents of the files that are mounted over those of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcFiles {
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/hostname`.
    pub hostname: String,
}

/// `--dns`, `--dns-search`, `--dns-option`: replacements for lines of the host's resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub search: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

impl EtcFiles {
    /// `host_resolv_conf` is the text of the host's resolv.conf(5), `added` are `--add-host NAME:ADDRESS` pairs.
    pub fn new(
        hostname: &str,
        host_resolv_conf: &str,
        dns: &Dns,
        added: &[(String, String)],
    ) -> Self {
        let mut hosts = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
        if !hostname.is_empty() {
            hosts += &format!("127.0.1.1\t{hostname}\n");
        }
        for (name, address) in added {
            hosts += &format!("{address}\t{name}\n");
        }
        Self {
            resolv_conf: resolv_conf(host_resolv_conf, dns),
            hosts,
            hostname: format!("{hostname}\n"),
        }
    }

    /// Their names in the bundle and their contents.
    pub(crate) fn files(&self) -> [(&'static str, &str); 3] {
        [
            ("resolv.conf", &self.resolv_conf),
            ("hosts", &self.hosts),
            ("hostname", &self.hostname),
        ]
    }
}

fn resolv_conf(host: &str, dns: &Dns) -> String {
    let mut out = String::new();
    for line in host.lines() {
        let replaced = match line.split_ascii_whitespace().next() {
            Some("nameserver") => !dns.servers.is_empty(),
            Some("search" | "domain") => !dns.search.is_empty(),
            Some("options") => !dns.options.is_empty(),
            Some("sortlist") => false,
            // Comments are about tools of the host.
            _ => true,
        };
        if !replaced {
            out += line;
            out.push('\n');
        }
    }
    for server in &dns.servers {
        out += &format!("nameserver {server}\n");
    }
    for (key, words) in [("search", &dns.search), ("options", &dns.options)] {
        if !words.is_empty() {
            out += &format!("{key} {}\n", words.join(" "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_lines_are_kept_or_replaced() {
        let host = "# made by\nnameserver 1.1.1.1\nsearch a b\noptions ndots:1\n";
        assert_eq!(
            resolv_conf(host, &Dns::default()),
            "nameserver 1.1.1.1\nsearch a b\noptions ndots:1\n"
        );
        let dns = Dns {
            servers: vec!["9.9.9.9".into()],
            search: vec!["c".into()],
            options: vec![],
        };
        assert_eq!(
            resolv_conf(host, &dns),
            "options ndots:1\nnameserver 9.9.9.9\nsearch c\n"
        );
    }

    #[test]
    fn hosts_has_the_name_and_what_was_added() {
        let files = EtcFiles::new(
            "web",
            "",
            &Dns::default(),
            &[("db".into(), "10.0.0.2".into())],
        );
        assert!(files.hosts.contains("127.0.1.1\tweb\n"));
        assert!(files.hosts.ends_with("10.0.0.2\tdb\n"));
        assert_eq!(files.hostname, "web\n");
    }
}
