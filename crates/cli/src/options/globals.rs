//! The options that every command has.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::options::flag::{Flag, Slot};

/// Options of every command.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Directory for images, layers and containers [env: BOX_ROOT] [default: /var/lib/box, or $XDG_DATA_HOME/box when not root]
    #[arg(long, global = true, value_name = "DIR", display_order = 900)]
    pub root: Option<PathBuf>,
    /// Directory for images, an OCI image layout [env: BOX_CACHE] [default: ROOT/cache]
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    pub cache: Option<PathBuf>,
    /// Fetch from this mirror (http, https or file URL); may be repeated, mirrors are tried in order [env: BOX_MIRROR]
    #[arg(
        long = "mirror",
        global = true,
        value_name = "URL",
        display_order = 902
    )]
    pub mirrors: Vec<String>,
    /// Do not use the network, only cached data [env: BOX_OFFLINE]
    #[arg(long, global = true, display_order = 903)]
    pub offline: bool,
    /// Show progress on stderr as bars (tty), as lines (plain), as JSON for programs (json), not at all (none), or depending on stderr (auto)
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true,
        display_order = 904
    )]
    pub progress: Progress,
    /// Print results in their shortest form, without progress
    #[arg(short, long, global = true, display_order = 905)]
    pub quiet: bool,
    /// Log debug messages to stderr
    #[arg(long, global = true, display_order = 906)]
    pub debug: bool,
}

impl Globals {
    /// The flags that are read without clap: all except rare ones and those whose values clap checks.
    const FLAGS: &[Flag<Globals>] = &[
        Flag {
            names: &["--root"],
            slot: |args| Slot::Path(&mut args.root),
        },
        Flag {
            names: &["--cache"],
            slot: |args| Slot::Path(&mut args.cache),
        },
        Flag {
            names: &["--offline"],
            slot: |args| Slot::Switch(&mut args.offline),
        },
        Flag {
            names: &["-q", "--quiet"],
            slot: |args| Slot::Switch(&mut args.quiet),
        },
        Flag {
            names: &["--debug"],
            slot: |args| Slot::Switch(&mut args.debug),
        },
    ];

    /// The place for the value of a flag; `None` for a flag that is left to clap.
    pub fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Flag::named(Self::FLAGS, name).map(|flag| (flag.slot)(self))
    }

    /// The names of all flags that are read without clap.
    #[cfg(test)]
    pub fn flag_names() -> Vec<&'static str> {
        Flag::all_names(Self::FLAGS)
    }
}

/// The style of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Progress {
    /// Bars if stderr is a terminal, lines otherwise.
    #[default]
    Auto,
    /// Bars.
    Tty,
    /// One line at the start and at the end of each step.
    Plain,
    /// One JSON object for each event, one a line.
    Json,
    /// Nothing.
    None,
}
