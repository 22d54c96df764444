#![allow(clippy::unwrap_used)]
mod definition;

use clap::Parser;
use proptest::prelude::*;

use super::*;

fn words<'a>(line: impl IntoIterator<Item = &'a str>) -> Vec<OsString> {
    line.into_iter().map(OsString::from).collect()
}

fn both(words: &[OsString]) -> (Option<String>, Option<String>) {
    let whole = Args::try_parse_from(words).ok();
    (
        read(words).map(|args| format!("{args:?}")),
        whole.map(|args| format!("{args:?}")),
    )
}

#[test]
fn common_lines_are_read_as_clap_reads_them() {
    for line in [
        "box run alpine",
        "box run --rm --net none alpine /bin/true",
        "box --root /r -q --offline run --rm -it -e A=1 -e B=2,3 --name=n alpine sh -c x --rm",
        "box run -d --name web -v .:/src:ro -w /src -u 0:0 -m 64m --cpus 1.5 alpine sleep 1",
        "box run --cap-drop ALL --cap-add CHOWN,FOWNER --read-only --tmpfs /tmp alpine",
        "box run --pid host --ipc host --userns auto --init --timeout 5s --debug alpine -it",
        "box run --entrypoint /x --hostname h --mount a --ulimit nofile=1 --seccomp=f alpine",
        "box run --no-new-privileges --security-opt x=y -qti --cache /c alpine a - b",
    ] {
        let (quick, whole) = both(&words(line.split(' ')));
        assert!(quick.is_some(), "{line}");
        assert_eq!(quick, whole, "{line}");
    }
}

#[test]
fn other_lines_are_left_to_clap() {
    for line in [
        "box",
        "box run",
        "box run --rm",
        "box ps",
        "box --rm run alpine",
        "box run --help",
        "box run --romm alpine",
        "box run --rm --rm alpine",
        "box run --rm=yes alpine",
        "box run --name a --name b alpine",
        "box run --name -x alpine",
        "box run --name= alpine",
        "box run -eA=1 alpine",
        "box run -ie A=1 alpine",
        "box run -- alpine",
        "box run alpine -- sh",
        "box run - alpine",
        "box run --net",
    ] {
        assert!(read(&words(line.split(' '))).is_none(), "{line}");
    }
}

/// Words to make lines of: flags in tables and others, values, and words that may be either.
const WORDS: &[&str] = &[
    "run",
    "alpine",
    "--rm",
    "-it",
    "-i",
    "-t",
    "-ti",
    "-d",
    "-e",
    "A=1",
    "-eB=2",
    "--env",
    "-w",
    "/x",
    "--net",
    "none",
    "--net=host",
    "--network",
    "--pid",
    "host",
    "--ipc=host",
    "--userns",
    "--cap-add",
    "A,B",
    "--cap-drop=ALL",
    "--root",
    "-q",
    "--quiet",
    "--offline",
    "--debug",
    "--cache=/c",
    "--name",
    "--init",
    "--timeout",
    "5s",
    "-m",
    "64m",
    "--cpus=1",
    "-v",
    "a:b",
    "--mount",
    "--tmpfs",
    "--read-only",
    "--entrypoint",
    "",
    "-",
    "--",
    "--help",
    "-h",
    "-V",
    "--verify",
    "off",
    "--report",
    "--preserve-fds",
    "3",
    "--pull",
    "never",
    "-u",
    "-x",
    "--seccomp",
    "--cpu-quota",
    "-1",
    "=",
    "--=",
    "--rm=",
    "--hostname",
    "--ulimit",
    "--security-opt",
    "--no-new-privileges",
    "--mirror",
    "-qd",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_line_is_read_differently(
        front in proptest::collection::vec(proptest::sample::select(WORDS), 0..4),
        options in proptest::collection::vec(proptest::sample::select(WORDS), 0..8),
        rest in proptest::collection::vec(proptest::sample::select(WORDS), 0..3),
    ) {
        let line = ["box"].into_iter().chain(front).chain(["run"]).chain(options).chain(["alpine"]).chain(rest);
        let words = words(line);
        if let (Some(quick), whole) = both(&words) {
            prop_assert_eq!(Some(quick), whole, "{:?}", words);
        }
    }
}
