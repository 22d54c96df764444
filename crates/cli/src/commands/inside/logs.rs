//! `box logs`.

use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use box_run::logs::{Driver, Log, Query, Record, Stream};
use box_run::{Error, Instance};

use clap_complete::ArgValueCandidates;

use crate::options::{moment, refused};
use crate::report::{Failure, cause};
use crate::settings::Settings;

/// Prints what a container wrote while it ran in the background: its stdout to stdout, its stderr to stderr.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  box logs --tail 20 web\n  box logs --since 10m --timestamps web"
)]
pub struct Args {
    /// Name of the container
    #[arg(add = ArgValueCandidates::new(crate::options::completion::names))]
    name: String,
    /// Go on until it ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N|all", default_value = "all")]
    tail: String,
    /// Only what was written since: a time ago such as 10m or 1h30m, or a moment
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Put the time in front of each line
    #[arg(short, long)]
    timestamps: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    let query = args.query()?;
    let instance = settings.containers().get(&args.name)?;
    let Some(mut log) = instance.log()? else {
        return Err(no_log(&instance));
    };
    // By descriptor: it may get another name meanwhile.
    let live = match args.follow.then(|| instance.live()) {
        Some(Ok(live)) => Some(live),
        None | Some(Err(Error::NotRunning { .. } | Error::NoSuchInstance { .. })) => None,
        Some(Err(error)) => return Err(error.into()),
    };
    if live.is_some() {
        log.watch();
    }
    log.seek(&query)?;
    let mut printer = Printer::new(args.timestamps);
    loop {
        // Looked at first: what it writes last is not missed then.
        let runs = match &live {
            Some(live) => !live.wait(Some(Duration::ZERO))?,
            None => false,
        };
        let left = query.until.map(|until| until.saturating_sub(now()));
        printer.print(&mut log)?;
        if !runs || left == Some(0) {
            return Ok(0);
        }
        let patience = left.map_or(PATIENCE, |left| PATIENCE.min(Duration::from_nanos(left)));
        log.wait(live.as_ref().map(|live| live.monitor()), patience)?;
    }
}

/// How long nothing has to happen until the log is looked at again.
const PATIENCE: Duration = Duration::from_secs(1);

fn no_log(instance: &Instance) -> Failure {
    let name = instance.name();
    let driver = match instance.record().options.log.driver {
        Driver::K8sFile => {
            let why = format!("{name} has no log: it never ran in the background");
            return Failure::new(why).hint("box run -d and box start keep what a container prints");
        }
        Driver::None => "none",
        Driver::Passthrough => "passthrough",
    };
    Failure::new(format!(
        "{name} has no log: it was made with --log-driver {driver}"
    ))
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Both of box's streams. What stands in one of their buffers is written out before the other is used, as both may lead to the
/// same terminal.
struct Printer {
    timestamps: bool,
    out: BufWriter<std::io::StdoutLock<'static>>,
    err: BufWriter<std::io::StderrLock<'static>>,
    last: Stream,
    /// In the midst of a line, of stdout and of stderr.
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
