//! The life cycle of containers, and helpers for commands that act on several of them.

pub mod kill;
pub mod pause;
pub mod prune;
pub mod ps;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod start;
pub mod stop;
pub mod unpause;
pub mod update;
pub mod wait;

use std::fmt::Display;
use std::panic::resume_unwind;
use std::time::Duration;

use box_containers::spec::STOP_SIGNAL;
use box_containers::{Container, Containers};

use crate::options::signal;
use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Performs an action on each container and prints the names of those for which it succeeded. Tries all of them before it reports
/// failures.
pub fn each(
    settings: &Settings,
    names: &[String],
    action: impl Fn(&Containers, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let containers = settings.containers();
    report(
        names
            .iter()
            .map(|name| action(&containers, name).map(|()| name)),
    )
}

/// Like [`each`], but on all containers at once, for actions that take time.
pub fn each_at_once(
    settings: &Settings,
    names: &[String],
    action: impl Fn(&Containers, &str) -> Result<(), Failure> + Sync,
) -> Result<u8, Failure> {
    let containers = settings.containers();
    let done = at_once(names, |name| action(&containers, name));
    report(
        done.into_iter()
            .zip(names)
            .map(|(done, name)| done.map(|()| name)),
    )
}

/// Prints a line for each success and reports the failures.
pub fn report(done: impl Iterator<Item = Result<impl Display, Failure>>) -> Result<u8, Failure> {
    let mut failures = Vec::new();
    for done in done {
        match done {
            Ok(line) => output::line(&line.to_string())?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::all(failures)
}

/// The number of actions that run at the same time, each in a thread of its own.
const MAX_THREADS: usize = 256;

/// Performs an action on all containers at once. The results are in the order of the names. All threads have ended on return.
pub fn at_once<T: Send>(
    names: &[String],
    action: impl Fn(&str) -> Result<T, Failure> + Sync,
) -> Vec<Result<T, Failure>> {
    if let [name] = names {
        return vec![action(name)];
    }
    let action = &action;
    let mut results = Vec::with_capacity(names.len());
    for part in names.chunks(MAX_THREADS) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = part
                .iter()
                .map(|name| {
                    let small = std::thread::Builder::new().stack_size(256 << 10);
                    (name, small.spawn_scoped(scope, move || action(name)))
                })
                .collect();
            results.extend(threads.into_iter().map(|(name, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // No more threads can be created: one after the other.
                Err(_) => action(name),
            }));
        });
    }
    results
}

/// Stops a container. Does nothing if it is not running.
pub fn stop(
    container: &Container,
    signal: Option<i32>,
    grace: Option<Duration>,
) -> Result<(), Failure> {
    let live = match container.live() {
        Ok(live) => live,
        Err(box_containers::Error::NotRunning { .. }) => return Ok(()),
        // It was made with --rm and has just exited.
        Err(box_containers::Error::NoSuchContainer { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let signal = match signal {
        Some(signal) => signal,
        None => {
            let spec = container.spec()?;
            let asked = spec
                .annotations()
                .as_ref()
                .and_then(|annotations| annotations.get(STOP_SIGNAL));
            // An image with an unknown signal can still be stopped.
            asked
                .and_then(|text| signal::read(STOP_SIGNAL, text).ok())
                .unwrap_or(TERM)
        }
    };
    Ok(live.stop(signal, grace)?)
}

/// SIGTERM.
const TERM: i32 = 15;
