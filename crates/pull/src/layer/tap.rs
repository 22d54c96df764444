//! Unpacks a download while it arrives.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use box_cache::DiffId;
use box_transfer::{Downloaded, Tap, is_full};

use super::{LayerSink, LayerWriter, StagedLayer};
use crate::BoxError;
use crate::error::{Error, Result};

/// Hands the bytes of a download to a [`LayerSink`].
pub(crate) struct LayerTap<'a> {
    sink: &'a dyn LayerSink,
    name: &'a str,
    expected: Option<DiffId>,
    layer: Unpacking,
    /// Set when the download is to end.
    stop: Option<&'a AtomicBool>,
}

enum Unpacking {
    Open(Box<dyn LayerWriter>),
    /// The unpacking refused the bytes. If they turn out to be the right ones, this is the failure; otherwise it is only
    /// the consequence of wrong bytes.
    Refused(BoxError),
}

impl<'a> LayerTap<'a> {
    /// Starts a layer; `name` is for messages, `expected` is its content by the config.
    pub fn start(sink: &'a dyn LayerSink, name: &'a str, expected: Option<DiffId>) -> Result<Self> {
        let writer = sink.layer(expected.as_ref()).map_err(Error::layer(name))?;
        Ok(Self {
            sink,
            name,
            expected,
            layer: Unpacking::Open(writer),
            stop: None,
        })
    }

    /// Ends the download with an error as soon as `stop` is set.
    pub fn until(self, stop: &'a AtomicBool) -> Self {
        Self {
            stop: Some(stop),
            ..self
        }
    }

    /// Completes the layer of a download. If the bytes are right and yet no layer, they are worthless, and deleted.
    pub fn finish(self, downloaded: Downloaded) -> Result<(Downloaded, Box<dyn StagedLayer>)> {
        let layer = match self.layer {
            Unpacking::Open(writer) => writer.finish(),
            Unpacking::Refused(error) => Err(error),
        };
        match layer {
            Ok(layer) => Ok((downloaded, layer)),
            Err(error) => {
                downloaded.partial.discard()?;
                Err(Error::layer(self.name)(error))
            }
        }
    }
}

impl Tap for LayerTap<'_> {
    fn restart(&mut self) -> Result<(), BoxError> {
        self.layer = Unpacking::Open(self.sink.layer(self.expected.as_ref())?);
        Ok(())
    }

    /// Only a full disk is an error at once, as it will not be less full later.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err("another layer failed".into());
        }
        let Unpacking::Open(writer) = &mut self.layer else {
            return Ok(());
        };
        match writer.write_all(bytes) {
            Err(error) if is_full(&error) => Err(error.into()),
            Err(error) => {
                self.layer = Unpacking::Refused(error.into());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
