//! How tries at sending something ended.

use box_transfer::{Attempts, Cause};

use crate::repository::Repository;
use crate::{Error, Result};

/// One try that did not bring everything there.
pub(super) struct Setback {
    pub(super) cause: Cause,
    /// Whether the registry has more than before, so that the number of tries may start over.
    pub(super) progressed: bool,
    /// Whether another try may do better, whatever the cause says.
    pub(super) again: bool,
}

impl From<Cause> for Setback {
    fn from(cause: Cause) -> Self {
        Self {
            again: cause.is_transient(),
            progressed: false,
            cause,
        }
    }
}

impl Repository<'_> {
    /// Tries until `once` succeeds, while that can help.
    pub(super) fn persist<T>(
        &self,
        what: &str,
        mut once: impl FnMut() -> Result<Result<T, Setback>>,
    ) -> Result<T> {
        let host = &self.places.registry.host;
        let mut backoff = box_transfer::Backoff::new(&self.session.options.retry);
        let mut attempts = Attempts::default();
        loop {
            let Setback {
                cause,
                progressed,
                again,
            } = match once()? {
                Ok(done) => return Ok(done),
                Err(setback) => setback,
            };
            if progressed {
                backoff.progressed();
            }
            let pause = match again {
                true => backoff.next_pause(cause.retry_after()),
                false => None,
            };
            tracing::debug!(%host, %cause, ?pause, "a try to send failed");
            let Some(pause) = pause else {
                return Err(match cause {
                    cause @ (Cause::Refused(_) | Cause::Absent) => {
                        Error::of_cause(what.to_owned(), self.name.host(), "", cause)
                    }
                    cause => {
                        attempts.push(host.clone(), cause);
                        Error::Unsent {
                            what: what.to_owned(),
                            attempts,
                        }
                    }
                });
            };
            self.session.note(&format!(
                "{host}: {cause}; retrying in {:.1} s",
                pause.as_secs_f32()
            ));
            attempts.push(host.clone(), cause);
            std::thread::sleep(pause);
        }
    }
}
