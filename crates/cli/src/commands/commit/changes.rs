//! `--change`: instructions as a Dockerfile has them. Pure.

use std::collections::HashMap;

use oci_spec::image::{Config, ImageConfiguration};

use crate::options::{refused, signal};
use crate::report::Failure;

/// Applies one instruction, such as `CMD ["nginx", "-g", "daemon off;"]`.
pub fn apply(image: &mut ImageConfiguration, text: &str) -> Result<(), Failure> {
    let bad = |why: &str| refused("--change", text, why);
    let (word, value) = text
        .trim()
        .split_once([' ', '\t', '='])
        .ok_or_else(|| bad("expected a value"))?;
    let value = value.trim();
    let mut config: Config = image.config().clone().unwrap_or_default();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => drop(config.set_cmd(Some(command(value)))),
        "ENTRYPOINT" => {
            config.set_entrypoint(Some(command(value)));
            // It was meant for the entrypoint of before, as docker sees it.
            config.set_cmd(None);
        }
        "ENV" => {
            let mut env = config.env().clone().unwrap_or_default();
            let (key, value) = pair(value).ok_or_else(|| bad("expected K=V"))?;
            env.retain(|entry| entry.split('=').next() != Some(&key));
            env.push(format!("{key}={value}"));
            config.set_env(Some(env));
        }
        "LABEL" => {
            let mut labels: HashMap<_, _> = config.labels().clone().unwrap_or_default();
            let (key, value) = pair(value).ok_or_else(|| bad("expected K=V"))?;
            labels.insert(key, value);
            config.set_labels(Some(labels));
        }
        "USER" => drop(config.set_user(Some(value.to_owned()))),
        "WORKDIR" if value.starts_with('/') => drop(config.set_working_dir(Some(value.to_owned()))),
        "WORKDIR" => return Err(bad("expected an absolute path")),
        "STOPSIGNAL" => {
            signal::read("--change STOPSIGNAL", value)?;
            config.set_stop_signal(Some(value.to_owned()));
        }
        "EXPOSE" => {
            let mut ports = config.exposed_ports().clone().unwrap_or_default();
            ports.extend(
                value
                    .split_whitespace()
                    .map(|port| match port.contains('/') {
                        true => port.to_owned(),
                        false => format!("{port}/tcp"),
                    }),
            );
            config.set_exposed_ports(Some(ports));
        }
        "VOLUME" => {
            let mut volumes = config.volumes().clone().unwrap_or_default();
            volumes.extend(match value.starts_with('[') {
                true => command(value),
                false => value.split_whitespace().map(str::to_owned).collect(),
            });
            config.set_volumes(Some(volumes));
        }
        _ => {
            return Err(bad(
                "expected CMD, ENTRYPOINT, ENV, LABEL, USER, WORKDIR, EXPOSE, VOLUME or STOPSIGNAL",
            ));
        }
    }
    image.set_config(Some(config));
    Ok(())
}

/// A JSON list, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text)
        .unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

/// `K=V` with quotes taken off, or `K V`.
fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text
        .split_once('=')
        .or_else(|| text.split_once(char::is_whitespace))?;
    let value = value.trim();
    let plain = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    (!key.is_empty()).then(|| (key.to_owned(), plain.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn instructions() {
        let mut image = ImageConfiguration::default();
        for text in [
            "ENV A=1",
            "ENV A=2",
            "ENV B=\"x y\"",
            "LABEL k=v",
            "USER web",
            "WORKDIR /srv",
            "EXPOSE 80 53/udp",
            "STOPSIGNAL QUIT",
            "ENTRYPOINT [\"a\", \"b c\"]",
            "CMD echo hi",
        ] {
            apply(&mut image, text).unwrap();
        }
        let config = image.config().as_ref().unwrap();
        let env = config.env().as_ref().unwrap();
        assert_eq!(env[env.len() - 2..], ["A=2", "B=x y"]);
        assert_eq!(config.entrypoint().as_ref().unwrap(), &["a", "b c"]);
        assert_eq!(
            config.cmd().as_ref().unwrap(),
            &["/bin/sh", "-c", "echo hi"]
        );
        assert_eq!(
            config.exposed_ports().as_ref().unwrap(),
            &["80/tcp", "53/udp"]
        );
        for text in [
            "",
            "CMD",
            "FROM x",
            "WORKDIR srv",
            "ENV x",
            "STOPSIGNAL nope",
        ] {
            assert!(apply(&mut image, text).is_err(), "{text}");
        }
    }
}
