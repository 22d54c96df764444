//! The command of a container as execve(2) takes it.

use std::ffi::CString;

use oci_spec::runtime::Process;

use crate::Error;
use crate::error::c_string;
use crate::sys::process::Strings;

/// The search path of a container without a PATH of its own: of a command whose environment has none, and of an image that sets none.
/// The runtime spec leaves the choice to the runtime; this is Docker's.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Program, arguments and environment.
#[derive(Debug)]
pub(crate) struct Command {
    /// The command, as given.
    pub name: String,
    /// The paths to try in order: one for each directory of PATH, or the given path.
    pub candidates: Vec<CString>,
    pub arguments: Strings,
    pub environment: Strings,
}

impl Command {
    /// Reads `args` and `env`.
    pub fn plan(process: &Process) -> Result<Self, Error> {
        let args = process.args().as_deref().unwrap_or(&[]);
        let environment = process.env().as_deref().unwrap_or(&[]);
        Self::new(args, environment)
    }

    /// From plain lists.
    pub fn new(args: &[String], environment: &[String]) -> Result<Self, Error> {
        let name = args.first().filter(|name| !name.is_empty());
        let name = name
            .ok_or_else(|| Error::spec("process.args", "the command is missing"))?
            .clone();
        let path = environment
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        let candidates = if name.contains('/') {
            vec![c_string(name.as_bytes())?]
        } else {
            // An empty element, which means the working directory to shells, is ignored.
            let directories = path.split(':').filter(|directory| !directory.is_empty());
            directories
                .map(|directory| c_string(format!("{directory}/{name}").as_bytes()))
                .collect::<Result<_, _>>()?
        };
        let strings = |list: &[String]| {
            list.iter()
                .map(|text| c_string(text.as_bytes()))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            name,
            candidates,
            arguments: Strings::new(strings(args)?),
            environment: Strings::new(strings(environment)?),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidates(name: &str, environment: &[&str]) -> Vec<String> {
        let environment: Vec<_> = environment.iter().map(|&entry| entry.to_owned()).collect();
        let command = Command::new(&[name.to_owned()], &environment).unwrap();
        command
            .candidates
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn path_is_searched_for_bare_names_only() {
        assert_eq!(candidates("sh", &["PATH=/bin::/x"]), ["/bin/sh", "/x/sh"]);
        assert_eq!(candidates("./sh", &["PATH=/bin"]), ["./sh"]);
        assert_eq!(candidates("sh", &[]).len(), 6);
        assert!(candidates("sh", &["PATH="]).is_empty());
        assert!(Command::new(&[], &[]).is_err());
        assert!(Command::new(&["a\0".into()], &[]).is_err());
    }
}
