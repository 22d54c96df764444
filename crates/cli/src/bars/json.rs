//! Progress for programs: one JSON object a line. Stable, documented in docs/cli.md.

use box_cache::{Phase, TaskId};
use serde::Serialize;

use super::Task;
use crate::output;

/// One event.
#[derive(Serialize)]
pub struct Line<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// Whether all of it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// An event of a task.
    pub fn of(event: &'static str, id: TaskId, task: &'a Task) -> Self {
        Self {
            task: Some(id.number()),
            phase: Some(phase(task.phase)),
            name: Some(&task.name),
            bytes: Some(task.bytes),
            total: task.total,
            ..Self::new(event)
        }
    }

    /// A task waits for another process, or for a lock.
    pub fn waiting(id: TaskId, name: &'a str) -> Self {
        Self {
            task: Some(id.number()),
            name: Some(name),
            ..Self::new("waiting")
        }
    }

    /// Something worth knowing.
    pub fn note(text: &'a str) -> Self {
        Self {
            text: Some(text),
            ..Self::new("note")
        }
    }

    /// The object, on one line.
    pub fn json(&self) -> String {
        let line = serde_json::to_string(self).expect("text and numbers are always JSON");
        output::escaped(&line)
    }

    fn new(event: &'static str) -> Self {
        Self {
            event,
            task: None,
            phase: None,
            name: None,
            bytes: None,
            total: None,
            complete: None,
            text: None,
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Download => "download",
        Phase::Upload => "upload",
        Phase::Verify => "verify",
        Phase::Unpack => "unpack",
        Phase::Save => "save",
        Phase::Load => "load",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_line_has_what_is_known_and_no_control_character() {
        let id = TaskId::next();
        let task = Task {
            phase: Phase::Upload,
            name: "a\u{9b}b\n".to_owned(),
            bytes: 5,
            total: None,
            bar: None,
            spoke: Instant::now(),
        };
        let mut line = Line::of("finished", id, &task);
        line.complete = Some(false);
        assert_eq!(
            line.json(),
            format!(
                r#"{{"event":"finished","task":{},"phase":"upload","name":"a\u009bb\n","bytes":5,"complete":false}}"#,
                id.number()
            )
        );
        assert_eq!(
            Line::note("say \"x\"").json(),
            r#"{"event":"note","text":"say \"x\""}"#
        );
    }
}
