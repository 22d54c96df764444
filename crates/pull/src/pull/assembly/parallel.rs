//! Several layers at a time: threads that take one layer after the other, and never wait for another process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle, scope};

use box_cache::Claim;

use super::{Fetched, Layers};
use crate::error::{Error, Result};
use crate::resolved::Descriptor;

/// Says whether one layer has failed, so that the work on the others is in vain.
#[derive(Default)]
pub(super) struct Stop(AtomicBool);

impl Stop {
    /// Set when the work is to end.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Layers<'_> {
    /// Makes all these layers ready that no other process is fetching.
    ///
    /// # Errors
    /// The first error ends all downloads; what they brought is continued by the next pull.
    pub(super) fn fetch_unclaimed(&self, layers: &[(usize, &Descriptor)]) -> Result<Vec<Fetched>> {
        let threads = self.pull.options.jobs.get().min(layers.len());
        let queue = Mutex::new(layers.iter().copied());
        let stop = Stop::default();
        if threads <= 1 {
            return self.work(&queue, &stop);
        }
        scope(|scope| {
            let mut workers: Vec<ScopedJoinHandle<'_, Result<Vec<Fetched>>>> = Vec::new();
            for _ in 0..threads {
                let thread = Builder::new().name("layer".to_owned());
                let spawned = thread.spawn_scoped(scope, || self.work(&queue, &stop));
                match spawned {
                    Ok(worker) => workers.push(worker),
                    // Fewer threads do the same work.
                    Err(error) if !workers.is_empty() => {
                        tracing::debug!(%error, "fetching with fewer threads");
                        break;
                    }
                    Err(_) => return self.work(&queue, &stop),
                }
            }
            join(workers)
        })
    }

    fn work<'d>(
        &self,
        queue: &Mutex<impl Iterator<Item = (usize, &'d Descriptor)>>,
        stop: &Stop,
    ) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::new();
        while !stop.is_set() {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, descriptor)) = next else {
                break;
            };
            match self.one(number, descriptor, stop) {
                Ok(one) => fetched.extend(one),
                Err(_) if stop.is_set() => break,
                Err(error) => {
                    stop.set();
                    return Err(error);
                }
            }
        }
        Ok(fetched)
    }

    /// One layer; `None` if another process is fetching it.
    fn one(&self, number: usize, descriptor: &Descriptor, stop: &Stop) -> Result<Option<Fetched>> {
        match self.pull.try_claim(descriptor)? {
            None => Ok(None),
            Some(Claim::Partial(partial)) => {
                self.download(number, descriptor, *partial, stop).map(Some)
            }
            Some(Claim::Present(_)) => {
                let hold = self.pull.cache.hold()?;
                let Some(size) = self.pull.cache.has_blob(&descriptor.digest)? else {
                    // A collector was faster. The caller claims it again.
                    return Ok(None);
                };
                let ready = self.cached(descriptor, size)?;
                drop(hold);
                Ok(Some(Fetched {
                    ready,
                    download: None,
                }))
            }
        }
    }
}

/// Everything that the workers made ready, or the error of the one that failed.
fn join(workers: Vec<ScopedJoinHandle<'_, Result<Vec<Fetched>>>>) -> Result<Vec<Fetched>> {
    let mut all = Vec::new();
    let mut failed: Option<Error> = None;
    for worker in workers {
        match worker.join() {
            Ok(Ok(fetched)) => all.extend(fetched),
            Ok(Err(error)) => failed = failed.or(Some(error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(all),
    }
}
