//! Prints the log of the libraries on stderr: warnings as `warning:` lines, and everything with `--debug`.

use std::fmt::Write as _;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::report;

/// Subscribes to the log of the libraries.
pub fn listen(debug: bool) {
    let level = if debug { Level::TRACE } else { Level::WARN };
    // Fails only if there is a subscriber already, and this is the only place that sets one.
    let _ = tracing::subscriber::set_global_default(Stderr { level });
}

struct Stderr {
    level: Level,
}

impl Subscriber for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("box_")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::from_level(self.level))
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        match *event.metadata().level() {
            Level::ERROR | Level::WARN => report::warn(text),
            level => {
                let target = event.metadata().target();
                let text = report::printable(&format!("{level} {target}: {text}"));
                // A closed stderr is not a reason to fail.
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
        }
    }

    // Only events are printed, not spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
