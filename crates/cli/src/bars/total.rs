//! One bar for all transfers of a kind, where there are several.

use std::collections::HashMap;

use box_cache::{Phase, TaskId};
use indicatif::{MultiProgress, ProgressBar};

use super::{bar_style, doing};

/// The sum of all downloads, or of all uploads, since the first of them began.
#[derive(Default)]
pub struct Total {
    /// Bytes so far and in all, of each.
    tasks: HashMap<TaskId, (u64, u64)>,
    running: usize,
    bar: Option<ProgressBar>,
}

impl Total {
    /// The bar, while it is shown.
    pub fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// Counts a transfer. The bar appears with the second one.
    pub fn started(
        &mut self,
        bars: &MultiProgress,
        task: TaskId,
        phase: Phase,
        total: Option<u64>,
    ) {
        if !matches!(phase, Phase::Download | Phase::Upload) {
            return;
        }
        self.tasks.insert(task, (0, total.unwrap_or(0)));
        self.running += 1;
        if self.tasks.len() == 2 {
            let bar = bars.add(ProgressBar::new(0));
            bar.set_style(bar_style(true));
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {} in all", doing(phase), self.tasks.len()));
        }
        self.draw();
    }

    /// Notes how far a transfer is.
    pub fn advanced(&mut self, task: TaskId, bytes: u64) {
        if let Some((so_far, total)) = self.tasks.get_mut(&task) {
            *so_far = bytes;
            *total = bytes.max(*total);
            self.draw();
        }
    }

    /// Notes the end of a transfer. The bar goes with the last one.
    pub fn finished(&mut self, task: TaskId) {
        let Some((so_far, total)) = self.tasks.get_mut(&task) else {
            return;
        };
        *so_far = *total;
        self.running = self.running.saturating_sub(1);
        self.draw();
        if self.running == 0 {
            self.clear();
        }
    }

    /// Takes the bar away and forgets all transfers.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.tasks.clear();
        self.running = 0;
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else {
            return;
        };
        let sum = |part: fn(&(u64, u64)) -> u64| {
            let parts = self.tasks.values().map(part);
            parts.fold(0u64, u64::saturating_add)
        };
        bar.set_length(sum(|(_, total)| *total));
        bar.set_position(sum(|(so_far, _)| *so_far));
    }
}
