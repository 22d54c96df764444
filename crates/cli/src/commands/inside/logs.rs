//! `box logs`.

use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use box_containers::logs::{Driver, Log, Query, Record, Stream};
use box_containers::{Container, Error};

use clap_complete::ArgValueCandidates;

use crate::options::{moment, refused};
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Prints the output of a container that ran in the background: its stdout to stdout, its stderr to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box logs --tail 20 web\n  box logs --since 10m --timestamps web"
)]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Follow the log until the container exits
    #[arg(short, long)]
    follow: bool,
    /// Print only the last lines
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all")]
    tail: String,
    /// Print only lines written since this time: a time ago such as 10m or 1h30m, or a date and time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Print only lines written until this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Print the time before each line
    #[arg(short, long)]
    timestamps: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let query = args.query()?;
    let container = settings.containers().get(&args.name)?;
    let Some(mut log) = container.log()? else {
        return Err(no_log(&container));
    };
    // Held by descriptor: the container may be renamed in the meantime.
    let live = match args.follow.then(|| container.live()) {
        Some(Ok(live)) => Some(live),
        None | Some(Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. })) => None,
        Some(Err(error)) => return Err(error.into()),
    };
    if live.is_some() {
        log.watch();
    }
    log.seek(&query)?;
    let mut printer = Printer::new(args.timestamps);
    loop {
        // Checked before the log is read, so that the last lines are not missed.
        let runs = match &live {
            Some(live) => !live.wait(Some(Duration::ZERO))?,
            None => false,
        };
        let left = query.until.map(|until| until.saturating_sub(now()));
        printer.print(&mut log)?;
        if !runs || left == Some(0) {
            return Ok(0);
        }
        let timeout = left.map_or(RECHECK, |left| RECHECK.min(Duration::from_nanos(left)));
        log.wait(live.as_ref().map(|live| live.monitor()), timeout)?;
    }
}

/// Without any event the log is read again after this time.
const RECHECK: Duration = Duration::from_secs(1);

fn no_log(container: &Container) -> Failure {
    let name = container.name();
    let driver = match container.record().options.log.driver {
        Driver::K8sFile => {
            let why = format!("{name} has no log: it never ran in the background");
            return Failure::new(why).hint("box run -d and box start write a log");
        }
        Driver::None => "none",
        Driver::Passthrough => "passthrough",
    };
    Failure::new(format!(
        "{name} has no log: it was created with --log-driver {driver}"
    ))
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Both output streams of box. Each buffer is flushed before the other stream is written to, since both may be the same terminal.
struct Printer {
    timestamps: bool,
    out: BufWriter<std::io::StdoutLock<'static>>,
    err: BufWriter<std::io::StderrLock<'static>>,
    last: Stream,
    /// Whether stdout and stderr are in the middle of a line.
    within: [bool; 2],
}

impl Printer {
    fn new(timestamps: bool) -> Self {
        const BUFFER: usize = 64 << 10;
        Self {
            timestamps,
            out: BufWriter::with_capacity(BUFFER, std::io::stdout().lock()),
            err: BufWriter::with_capacity(BUFFER, std::io::stderr().lock()),
            last: Stream::Stdout,
            within: [false; 2],
        }
    }

    fn print(&mut self, log: &mut Log) -> Result<(), Failure> {
        let written = log.read(&mut |record| self.record(record))?;
        written
            .and_then(|()| self.out.flush())
            .and_then(|()| self.err.flush())
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Failure::silent(0),
                _ => Failure::new(format!("write the log: {}", cause(&error))),
            })
    }

    fn record(&mut self, record: &Record<'_>) -> std::io::Result<()> {
        if record.stream != self.last {
            self.out.flush()?;
            self.err.flush()?;
            self.last = record.stream;
        }
        let out: &mut dyn Write = match record.stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let within = &mut self.within[record.stream as usize];
        if self.timestamps && !*within {
            out.write_all(record.time)?;
            out.write_all(b" ")?;
        }
        *within = !record.complete;
        out.write_all(record.text)?;
        if record.complete {
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl Args {
    fn query(&self) -> Result<Query, Failure> {
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(
                text.parse()
                    .map_err(|_| refused("--tail", text, "expected a number of lines, or all"))?,
            ),
        };
        let moment = |flag, text: &Option<String>| {
            text.as_deref()
                .map(|text| moment::read(flag, text))
                .transpose()
        };
        Ok(Query {
            tail,
            since: moment("--since", &self.since)?,
            until: moment("--until", &self.until)?,
        })
    }
}
