//! Verbs that do one thing to each of several containers.

use std::time::Duration;

use box_run::{Instance, Instances};

use crate::options::signal;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// The containers of this invocation.
pub fn open(settings: &Settings) -> Instances {
    Instances::open(&settings.dirs.instances, &settings.dirs.run)
}

/// Does it to each and prints the name of each it was done to; failures are told when all were tried.
pub fn each(
    settings: &Settings,
    names: &[String],
    action: impl Fn(&Instances, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let instances = open(settings);
    let mut failures = Vec::new();
    for name in names {
        match action(&instances, name) {
            Ok(()) => output::line(name)?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

/// What the image asks to be stopped with, as the OCI's conversion of its config writes it.
const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// Stops a container; one that does not run is left as it is.
pub fn stop(
    instance: &Instance,
    signal: Option<i32>,
    grace: Option<Duration>,
) -> Result<(), Failure> {
    let live = match instance.live() {
        Ok(live) => live,
        Err(box_run::Error::NotRunning { .. }) => return Ok(()),
        // It was to go with its command, and has gone this moment.
        Err(box_run::Error::NoSuchInstance { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let signal = match signal {
        Some(signal) => signal,
        None => {
            let spec = instance.spec()?;
            let asked = spec
                .annotations()
                .as_ref()
                .and_then(|annotations| annotations.get(STOP_SIGNAL));
            asked.map_or(Ok(TERM), |text| signal::read(STOP_SIGNAL, text))?
        }
    };
    Ok(live.stop(signal, grace)?)
}

/// SIGTERM.
const TERM: i32 = 15;
