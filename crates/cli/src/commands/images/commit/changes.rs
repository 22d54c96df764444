//! `--change`: applies instructions to an image's config. Does no I/O.

use std::path::{Component, Path, PathBuf};

use oci_spec::image::{Config, ImageConfiguration};

use super::dockerfile::{Dockerfile, Instruction};
use super::expansion::expand;
use crate::options::{refused, signal};
use crate::report::Failure;

/// Applies the instructions in order. Like docker, reads all of them as one Dockerfile.
pub fn apply(image: &mut ImageConfiguration, changes: &[String]) -> Result<(), Failure> {
    let text = changes.join("\n");
    let read = Dockerfile::read(&text);
    let read = read.map_err(|problem| refused("--change", &problem.line, &problem.reason))?;
    if let Some(change) = changes.iter().find(|change| change.trim().is_empty()) {
        return Err(refused("--change", change, "it is empty"));
    }
    let mut changed = Changed {
        config: image.config().clone().unwrap_or_default(),
        escape: read.escape,
        has_command: false,
    };
    for (instruction, line) in &read.instructions {
        let done = changed.apply(instruction);
        done.map_err(|reason| refused("--change", line, &reason))?;
    }
    image.set_config(Some(changed.config));
    Ok(())
}

struct Changed {
    config: Config,
    escape: char,
    /// Whether there was a `CMD` among the instructions.
    has_command: bool,
}

impl Changed {
    fn apply(&mut self, instruction: &Instruction) -> Result<(), String> {
        match instruction {
            Instruction::Cmd(words) => {
                self.has_command = true;
                self.config.set_cmd(Some(words.clone()));
            }
            Instruction::Entrypoint(words) => {
                let words = Some(words.clone()).filter(|words| !words.is_empty());
                self.config.set_entrypoint(words);
                // Like docker: the image's command belonged to the previous entrypoint.
                if !self.has_command {
                    self.config.set_cmd(None);
                }
            }
            Instruction::Env(pairs) => self.set_variables(pairs)?,
            Instruction::Label(pairs) => {
                let mut labels = self.config.labels().clone().unwrap_or_default();
                labels.extend(self.pairs(pairs)?);
                self.config.set_labels(Some(labels));
            }
            Instruction::Expose(specs) => self.expose(specs)?,
            Instruction::Volume(paths) => self.add_volumes(paths)?,
            Instruction::User(user) => {
                let user = self.value("the user", user)?;
                box_containers::accounts::check(&user).map_err(|error| error.to_string())?;
                self.config.set_user(Some(user));
            }
            Instruction::Workdir(path) => {
                let path = self.value("the directory", path)?;
                let before = self.config.working_dir().clone().unwrap_or_default();
                let path = directory(Path::new(&before), Path::new(&path));
                self.config.set_working_dir(Some(path));
            }
            Instruction::Stopsignal(name) => {
                let name = self.value("the signal", name)?;
                signal::read("STOPSIGNAL", &name)
                    .map_err(|failure| failure.message().to_owned())?;
                self.config.set_stop_signal(Some(name));
            }
        }
        Ok(())
    }

    /// Expands a word with the variables that the image has at this point.
    fn expanded(&self, word: &str) -> Result<String, String> {
        let env = self.config.env().as_deref().unwrap_or(&[]);
        let variable = |name: &str| {
            let pairs = env.iter().filter_map(|entry| entry.split_once('='));
            let mut pairs = pairs.filter(|(key, _)| *key == name);
            pairs.next().map(|(_, value)| value.to_owned())
        };
        let text = expand(word, self.escape, &variable)?;
        match text.contains('\0') {
            true => Err("a value cannot contain a NUL byte".to_owned()),
            false => Ok(text),
        }
    }

    fn value(&self, what: &str, word: &str) -> Result<String, String> {
        let value = self.expanded(word)?;
        match value.is_empty() {
            true => Err(format!("{what} is empty")),
            false => Ok(value),
        }
    }

    /// Expands all pairs with the previous variables: in `ENV A=b C=$A`, `$A` is the A of an earlier line.
    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        let one = |(name, value): &(String, String)| {
            Ok((self.value("a name", name)?, self.expanded(value)?))
        };
        pairs.iter().map(one).collect()
    }

    fn set_variables(&mut self, pairs: &[(String, String)]) -> Result<(), String> {
        let pairs = self.pairs(pairs)?;
        let mut env = self.config.env().clone().unwrap_or_default();
        for (name, value) in pairs {
            if name.contains('=') {
                return Err(format!("{name} is not a valid name of a variable"));
            }
            let entry = format!("{name}={value}");
            let named = |known: &&mut String| known.split('=').next() == Some(&name);
            match env.iter_mut().find(named) {
                Some(known) => *known = entry,
                None => env.push(entry),
            }
        }
        self.config.set_env(Some(env));
        Ok(())
    }

    fn expose(&mut self, specs: &[String]) -> Result<(), String> {
        let mut exposed = self.config.exposed_ports().clone().unwrap_or_default();
        for spec in specs {
            // A variable may expand to several ports.
            for spec in self.expanded(spec)?.split_whitespace() {
                for port in ports(spec)? {
                    if !exposed.contains(&port) {
                        exposed.push(port);
                    }
                }
            }
        }
        self.config.set_exposed_ports(Some(exposed));
        Ok(())
    }

    fn add_volumes(&mut self, paths: &[String]) -> Result<(), String> {
        let mut volumes = self.config.volumes().clone().unwrap_or_default();
        for path in paths {
            let path = self.expanded(path)?.trim().to_owned();
            if path.is_empty() {
                return Err("a path is empty".to_owned());
            }
            if !volumes.contains(&path) {
                volumes.push(path);
            }
        }
        self.config.set_volumes(Some(volumes));
        Ok(())
    }
}

/// The ports of `PORT[-PORT][/PROTOCOL]`. Like docker, ignores the host's port in `8080:80`.
fn ports(spec: &str) -> Result<Vec<String>, String> {
    let bad = || {
        format!(
            "{spec} is not a port: expected 1 to 65535 or a range such as 8000-8002, optionally with /tcp, /udp or /sctp"
        )
    };
    let (range, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let range = range.rsplit(':').next().unwrap_or(range);
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u16>().ok().filter(|&port| port > 0),
        false => None,
    };
    match (number(first), number(last), protocol.as_str()) {
        (Some(first), Some(last), "tcp" | "udp" | "sctp") if first <= last => Ok((first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect()),
        _ => Err(bad()),
    }
}

/// Makes a path absolute, relative to the previous working directory.
fn directory(before: &Path, path: &Path) -> String {
    let mut out = PathBuf::from("/");
    for part in Path::new("/").join(before).join(path).components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn changed(texts: &[&str]) -> Result<Config, Failure> {
        let mut image = ImageConfiguration::default();
        let mut config = Config::default();
        config
            .set_env(Some(vec![
                "PATH=/bin".into(),
                "A=1".into(),
                "W=/srv".into(),
            ]))
            .set_cmd(Some(vec!["sh".into()]))
            .set_working_dir(Some("/home/web".into()));
        image.set_config(Some(config));
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        apply(&mut image, &texts)?;
        Ok(image.config().clone().unwrap())
    }

    #[test]
    fn variables_have_their_previous_values() {
        let config = changed(&["ENV A=2 B=$A PATH=/x:$PATH", "ENV C=$A \"D E\"='$A'"]).unwrap();
        let expected = ["PATH=/x:/bin", "A=2", "W=/srv", "B=1", "C=2", "D E=$A"];
        assert_eq!(config.env().as_deref().unwrap(), expected);
    }

    #[test]
    fn labels_ports_and_volumes() {
        let config = changed(&[
            "LABEL a=$A b=\"x y\" a=3",
            "EXPOSE 8000-8002 53/UDP 8001/tcp 8080:80 $A",
            "VOLUME $W /y",
            "VOLUME [\"/a b\", \"/$x\"]",
        ])
        .unwrap();
        let labels = config.labels().as_ref().unwrap();
        assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("3", "x y"));
        assert_eq!(
            config.exposed_ports().as_deref().unwrap(),
            [
                "8000/tcp", "8001/tcp", "8002/tcp", "53/udp", "80/tcp", "1/tcp"
            ]
        );
        assert_eq!(
            config.volumes().as_deref().unwrap(),
            ["/srv", "/y", "/a b", "/$x"]
        );
    }

    #[test]
    fn commands_and_entrypoints() {
        let config = changed(&["ENTRYPOINT [\"a\"]"]).unwrap();
        assert_eq!(
            (config.entrypoint().as_deref().unwrap(), config.cmd()),
            (&["a".to_owned()][..], &None)
        );
        let config = changed(&["CMD echo $A", "ENTRYPOINT [\"a\"]"]).unwrap();
        assert_eq!(
            config.cmd().as_deref().unwrap(),
            ["/bin/sh", "-c", "echo $A"]
        );
        assert_eq!(changed(&["ENTRYPOINT []"]).unwrap().entrypoint(), &None);
    }

    #[test]
    fn single_values() {
        let config = changed(&[
            "USER \"web\"",
            "WORKDIR sub",
            "WORKDIR ../$A",
            "STOPSIGNAL SIGQUIT",
        ])
        .unwrap();
        assert_eq!(config.user().as_deref(), Some("web"));
        assert_eq!(config.working_dir().as_deref(), Some("/home/web/1"));
        assert_eq!(config.stop_signal().as_deref(), Some("SIGQUIT"));
        assert_eq!(
            changed(&["WORKDIR /x/../../y"])
                .unwrap()
                .working_dir()
                .as_deref(),
            Some("/y")
        );
    }

    #[test]
    fn a_refusal_names_the_instruction() {
        for (text, reason) in [
            ("", "empty"),
            ("ENV A=\"b", "double quote"),
            ("ENV $NO=b", "a name is empty"),
            ("USER $NO", "the user is empty"),
            ("USER 4294967295", "is no id"),
            ("USER web:+5", "is no id"),
            ("WORKDIR \"\"", "the directory is empty"),
            ("STOPSIGNAL nope", "nope"),
            ("EXPOSE 0", "0 is not a port"),
            ("EXPOSE 70000", "70000 is not a port"),
            ("EXPOSE 9-8", "9-8 is not a port"),
            ("EXPOSE 80/icmp", "80/icmp is not a port"),
            ("EXPOSE +80", "+80 is not a port"),
            ("VOLUME [\" \"]", "a path is empty"),
            ("FROM x", "only for builds"),
        ] {
            let failure = changed(&["USER ok", text]).unwrap_err();
            let message = failure.message();
            assert!(
                message.starts_with(&format!("--change {text}")),
                "{text}: {message}"
            );
            assert!(message.contains(reason), "{text}: {message}");
        }
    }
}
