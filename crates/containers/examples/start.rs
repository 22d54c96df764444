//! box without an image store: `start ROOT LAYER COMMAND...` runs a command in an unpacked root file system, as
//! `box run --rm --net none` does. `-t` before ROOT gives it a terminal, `-i` a reaper as PID 1.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use box_containers::overrides::{Network, Overrides};
use box_containers::{
    Containers, Error, EtcFiles, NewContainer, RunOptions, accounts, launch, spec,
};
use box_unpack::Layers;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code().into()
        }
    }
}

fn start() -> Result<u8, Error> {
    let mut arguments = std::env::args().skip(1).peekable();
    let terminal = arguments.next_if_eq("-t").is_some();
    let init = arguments.next_if_eq("-i").is_some();
    let root = PathBuf::from(arguments.next().unwrap_or_default());
    let layer = PathBuf::from(arguments.next().unwrap_or_default());
    let layers = Layers::of_directories([layer]);
    let mut asked = Overrides {
        command: arguments.collect(),
        net: Network::None,
        terminal,
        ..Overrides::default()
    };
    asked.accounts = accounts::Accounts::of_layers(&layers, &spec::mounts(&asked))?;
    let spec = spec::build(&Default::default(), &asked)?;
    let containers = Containers::open(
        root.join("instances"),
        root.join("run"),
        root.join("layers"),
    );
    let container = containers.create(NewContainer {
        name: None,
        image: "an unpacked layer".to_owned(),
        manifest: None,
        layers,
        storage: Some(box_containers::Storage::Overlay),
        spec,
        cgroup_parent: None,
        etc: EtcFiles::new("container", "", &Default::default(), &[]),
        remove: true,
        options: RunOptions::from(box_run::Options {
            init,
            pids_by_default: true,
            ..box_run::Options::default()
        }),
    })?;
    let name = container.name().to_owned();
    let ended = container
        .plan()
        .and_then(|plan| launch(container, plan))
        .and_then(|running| Ok(running.wait()?));
    if ended.is_err() {
        containers.remove(&name, true)?;
    }
    Ok(ended?.code)
}
