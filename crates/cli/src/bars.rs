//! Progress on stderr: bars on a terminal, otherwise one line at the start and at the end of each step.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use box_cache::{Event, Phase, Progress, TaskId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::options::globals;
use crate::output;
use crate::report::printable;
use crate::settings::Settings;

/// Without a terminal, a long step prints its progress at this interval, so that a log shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Draws the progress that the libraries report.
pub struct Bars {
    style: Style,
    tasks: Mutex<HashMap<TaskId, Task>>,
}

enum Style {
    Bars(MultiProgress),
    Lines,
    Silent,
}

struct Task {
    phase: Phase,
    name: String,
    bytes: u64,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    spoke: Instant,
}

impl Bars {
    /// Draws in the style of the settings: by default bars if stderr is a terminal, otherwise lines.
    pub fn new(settings: &Settings) -> Bars {
        let style = match settings.progress {
            _ if settings.quiet => Style::Silent,
            globals::Progress::None => Style::Silent,
            globals::Progress::Plain => Style::Lines,
            globals::Progress::Tty => Style::bars(),
            globals::Progress::Auto if std::io::stderr().is_terminal() => Style::bars(),
            globals::Progress::Auto => Style::Lines,
        };
        Bars {
            style,
            tasks: Mutex::new(HashMap::new()),
        }
    }

    fn started(&self, id: TaskId, phase: Phase, name: &str, total: Option<u64>) {
        let name = printable(name);
        let bar = match &self.style {
            Style::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(total.unwrap_or(0)));
                bar.set_style(bar_style(total.is_some()));
                bar.set_message(format!("{} {name}", doing(phase)));
                Some(bar)
            }
            Style::Lines => {
                let size =
                    total.map_or(String::new(), |total| format!(" ({})", output::size(total)));
                say(&format!("{} {name}{size}", doing(phase)));
                None
            }
            Style::Silent => None,
        };
        let task = Task {
            phase,
            name,
            bytes: 0,
            total,
            bar,
            spoke: Instant::now(),
        };
        self.tasks().insert(id, task);
    }

    fn advanced(&self, id: TaskId, bytes: u64) {
        let mut tasks = self.tasks();
        let Some(task) = tasks.get_mut(&id) else {
            return;
        };
        task.bytes = bytes;
        if let Some(bar) = &task.bar {
            bar.set_position(bytes);
        } else if matches!(self.style, Style::Lines) && task.spoke.elapsed() >= HEARTBEAT {
            task.spoke = Instant::now();
            let of = task.total.map_or(String::new(), |total| {
                format!(" of {}", output::size(total))
            });
            say(&format!(
                "{} {}: {}{of}",
                doing(task.phase),
                task.name,
                output::size(bytes)
            ));
        }
    }

    fn finished(&self, id: TaskId, complete: bool) {
        let Some(task) = self.tasks().remove(&id) else {
            return;
        };
        match task.bar {
            Some(bar) => bar.finish_and_clear(),
            None if matches!(self.style, Style::Lines) => {
                let size = match task.bytes {
                    0 => String::new(),
                    bytes => format!(" ({})", output::size(bytes)),
                };
                say(&match complete {
                    true => format!("{} {}{size}", done(task.phase), task.name),
                    false => format!("{} {} stopped{size}", doing(task.phase), task.name),
                });
            }
            None => {}
        }
    }

    fn note(&self, text: &str) {
        match &self.style {
            Style::Bars(bars) => bars.suspend(|| say(&printable(text))),
            Style::Lines => say(&printable(text)),
            Style::Silent => {}
        }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, Task>> {
        // A panic in here leaves no inconsistent state.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started {
                task,
                phase,
                name,
                total,
            } => self.started(task, phase, name, total),
            Event::Advanced { task, bytes } => self.advanced(task, bytes),
            Event::Finished { task, complete } => self.finished(task, complete),
            Event::Waiting { name, .. } => self.note(&format!("waiting for {name}")),
            Event::Note { text } => self.note(text),
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A failure must be printed on a clean line.
        for (_, task) in self.tasks().drain() {
            if let Some(bar) = task.bar {
                bar.finish_and_clear();
            }
        }
    }
}

impl Style {
    fn bars() -> Style {
        Style::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
    }
}

fn bar_style(sized: bool) -> ProgressStyle {
    let template = match sized {
        true => "{msg} [{wide_bar:.cyan}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        false => "{spinner} {msg} {bytes} {bytes_per_sec}",
    };
    ProgressStyle::with_template(template)
        .expect("the templates above are well-formed, and a test draws both")
        .progress_chars("=> ")
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Download => "downloading",
        Phase::Upload => "pushing",
        Phase::Verify => "verifying",
        Phase::Unpack => "unpacking",
        Phase::Save => "saving",
        Phase::Load => "loading",
        _ => "processing",
    }
}

fn done(phase: Phase) -> &'static str {
    match phase {
        Phase::Download => "downloaded",
        Phase::Upload => "pushed",
        Phase::Verify => "verified",
        Phase::Unpack => "unpacked",
        Phase::Save => "saved",
        Phase::Load => "loaded",
        _ => "processed",
    }
}

fn say(line: &str) {
    // A closed stderr is not a reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_templates_are_well_formed() {
        bar_style(true);
        bar_style(false);
    }

    #[test]
    fn a_task_is_drawn_and_taken_away() {
        let bars = Bars {
            style: Style::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::hidden())),
            tasks: Mutex::default(),
        };
        let task = TaskId::next();
        let name = "alpine\x1b[2J";
        bars.event(Event::Started {
            task,
            phase: Phase::Download,
            name,
            total: Some(10),
        });
        bars.event(Event::Advanced { task, bytes: 7 });
        assert_eq!(bars.tasks()[&task].name, "alpine[2J");
        assert_eq!(
            bars.tasks()[&task].bar.as_ref().map(ProgressBar::position),
            Some(7)
        );
        bars.event(Event::Finished {
            task,
            complete: true,
        });
        assert!(bars.tasks().is_empty());
    }
}
