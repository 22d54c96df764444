//! Progress on stderr: bars on a terminal, otherwise one line at the start and at the end of each step, or JSON for programs.

mod json;
mod total;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use box_cache::{Event, Phase, Progress, TaskId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use json::Line;
use total::Total;

use crate::options::globals;
use crate::output;
use crate::report::{printable, warn};
use crate::settings::Settings;

/// Without a terminal, a long step prints its progress at this interval, so that a log shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A program that reads JSON is told of the progress of a task at this interval at most.
const TICK: Duration = Duration::from_millis(200);

/// The most bars at a time; what goes on beside them is in the total only.
const MOST_BARS: usize = 8;

/// Draws the progress that the libraries report.
pub struct Bars {
    style: Style,
    tasks: Mutex<HashMap<TaskId, Task>>,
    total: Mutex<Total>,
}

enum Style {
    Bars(MultiProgress),
    Lines,
    Json,
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
            globals::Progress::Json => Style::Json,
            globals::Progress::Tty => Style::bars(),
            globals::Progress::Auto if std::io::stderr().is_terminal() => Style::bars(),
            globals::Progress::Auto => Style::Lines,
        };
        Bars {
            style,
            tasks: Mutex::default(),
            total: Mutex::default(),
        }
    }

    fn started(&self, id: TaskId, phase: Phase, name: &str, total: Option<u64>) {
        let mut task = Task {
            phase,
            name: printable(name),
            bytes: 0,
            total,
            bar: None,
            spoke: Instant::now(),
        };
        match &self.style {
            Style::Bars(bars) => {
                self.total().started(bars, id, phase, total);
                if self.tasks().len() < MOST_BARS {
                    task.bar = Some(self.bar(bars, &task));
                }
            }
            Style::Lines => {
                let size =
                    total.map_or(String::new(), |total| format!(" ({})", output::size(total)));
                say(&format!("{} {}{size}", doing(phase), task.name));
            }
            Style::Json => say(&Line::of("started", id, &task).json()),
            Style::Silent => {}
        }
        self.tasks().insert(id, task);
    }

    /// A bar above the total, if that is shown.
    fn bar(&self, bars: &MultiProgress, task: &Task) -> ProgressBar {
        let bar = ProgressBar::new(task.total.unwrap_or(0));
        let bar = match self.total().bar() {
            Some(total) => bars.insert_before(total, bar),
            None => bars.add(bar),
        };
        bar.set_style(bar_style(task.total.is_some()));
        bar.set_message(format!("{} {}", doing(task.phase), task.name));
        bar
    }

    fn advanced(&self, id: TaskId, bytes: u64) {
        let mut tasks = self.tasks();
        let Some(task) = tasks.get_mut(&id) else {
            return;
        };
        task.bytes = bytes;
        let is_due = |task: &Task, interval| task.spoke.elapsed() >= interval;
        match self.style {
            Style::Bars(_) => {
                if let Some(bar) = &task.bar {
                    bar.set_position(bytes);
                }
                self.total().advanced(id, bytes);
            }
            Style::Lines if is_due(task, HEARTBEAT) => {
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
            Style::Json if is_due(task, TICK) => {
                task.spoke = Instant::now();
                say(&Line::of("advanced", id, task).json());
            }
            Style::Lines | Style::Json | Style::Silent => {}
        }
    }

    fn finished(&self, id: TaskId, complete: bool) {
        let Some(task) = self.tasks().remove(&id) else {
            return;
        };
        match self.style {
            Style::Bars(_) => {
                if let Some(bar) = &task.bar {
                    bar.finish_and_clear();
                }
                self.total().finished(id);
            }
            Style::Lines => {
                let size = match task.bytes {
                    0 => String::new(),
                    bytes => format!(" ({})", output::size(bytes)),
                };
                say(&match complete {
                    true => format!("{} {}{size}", done(task.phase), task.name),
                    false => format!("{} {} stopped{size}", doing(task.phase), task.name),
                });
            }
            Style::Json => {
                let mut line = Line::of("finished", id, &task);
                line.complete = Some(complete);
                say(&line.json());
            }
            Style::Silent => {}
        }
    }

    fn waiting(&self, id: TaskId, name: &str) {
        match self.style {
            Style::Json => say(&Line::waiting(id, name).json()),
            _ => self.note(&format!("waiting for {name}")),
        }
    }

    fn note(&self, text: &str) {
        match &self.style {
            Style::Bars(bars) => bars.suspend(|| say(&printable(text))),
            Style::Lines => say(&printable(text)),
            Style::Json => say(&Line::note(text).json()),
            Style::Silent => {}
        }
    }

    fn warn(&self, text: &str) {
        match &self.style {
            Style::Bars(bars) => bars.suspend(|| warn(text)),
            Style::Lines | Style::Silent => warn(text),
            Style::Json => self.note(&format!("warning: {text}")),
        }
    }

    fn total(&self) -> MutexGuard<'_, Total> {
        // As below.
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
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
            Event::Waiting { task, name } => self.waiting(task, name),
            Event::Note { text } => self.note(text),
            Event::Warning { text } => self.warn(text),
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
        self.total().clear();
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
        Phase::Upload => "uploading",
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
        Phase::Upload => "uploaded",
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
            total: Mutex::default(),
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

    #[test]
    fn many_tasks_have_few_bars_and_one_total() {
        let bars = Bars {
            style: Style::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::hidden())),
            tasks: Mutex::default(),
            total: Mutex::default(),
        };
        let start = |bars: &Bars| {
            let task = TaskId::next();
            bars.event(Event::Started {
                task,
                phase: Phase::Download,
                name: "layer",
                total: Some(10),
            });
            task
        };
        let first = start(&bars);
        assert!(bars.total().bar().is_none());
        let others: Vec<TaskId> = (0..20).map(|_| start(&bars)).collect();
        let drawn = bars.tasks().values().filter(|t| t.bar.is_some()).count();
        assert_eq!(drawn, MOST_BARS);
        bars.event(Event::Advanced {
            task: others[19],
            bytes: 4,
        });
        bars.event(Event::Finished {
            task: first,
            complete: true,
        });
        let total = bars.total().bar().cloned();
        assert_eq!(
            total.map(|t| (t.position(), t.length())),
            Some((14, Some(210)))
        );
        for task in others {
            bars.event(Event::Finished {
                task,
                complete: true,
            });
        }
        assert!(bars.total().bar().is_none());
    }
}
