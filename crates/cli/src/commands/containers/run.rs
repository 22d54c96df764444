//! `box run`.

use clap_complete::ArgValueCandidates;
use std::io::IsTerminal;
use std::path::PathBuf;

use box_cache::{Image, Platform};
use box_containers::accounts::Accounts;
use box_containers::{EtcFiles, NewContainer, Overrides, RunOptions, Storage, spec};

use crate::commands::containers::start;
use crate::image::fetch::FetchArgs;
use crate::image::supply::{ImageRequest, PullPolicy, Supplied};
use crate::options::container::ContainerArgs;
use crate::options::flag::{Flag, Slot};
use crate::report::Failure;
use crate::settings::{Settings, require_root};
use crate::{options, output};

/// Runs a command in a new container and exits with the command's status: 128+N if signal N killed it, 125 if box itself failed,
/// 126 if the command cannot be executed, 127 if it is not found.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "box run [OPTIONS] IMAGE [CMD [ARG]...]",
    after_help = "Examples:\n  box run -it --rm alpine\n  box run -d --name web alpine sleep 1h\n  box run --rm -v .:/src:ro -w /src alpine wc -l README.md\n  \
                  echo hi | box run --rm --net none alpine cat"
)]
pub struct Args {
    /// The image, and the command to run instead of the image's own; everything after IMAGE belongs to the command
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "CMD"], add = ArgValueCandidates::new(crate::options::completion::references))]
    image_and_command: Vec<String>,
    /// Run in the background and print the container's name; see box logs for its output
    #[arg(short, long, conflicts_with_all = ["report", "preserve_fds"])]
    detach: bool,
    /// Remove the container when its command exits
    #[arg(long)]
    rm: bool,
    /// Storage of the container's files: an overlay on the image, or a full copy of it [default: overlay, or copy where overlays do
    /// not work]
    #[arg(long, value_name = "overlay|copy", value_parser = storage)]
    storage: Option<Storage>,
    /// Name of the container [default: two random words]
    #[arg(long)]
    name: Option<String>,
    /// When to ask a mirror: if the image is missing (missing), always, always if one can be reached (newer), or never
    #[arg(
        long,
        value_name = "missing|always|newer|never",
        default_value = "missing",
        hide_possible_values = true
    )]
    pull: PullPolicy,
    /// Architecture of the image, such as aarch64 or arm64 [default: this machine's]
    #[arg(long, visible_alias = "platform")]
    arch: Option<Platform>,
    #[command(flatten)]
    container: ContainerArgs,
    #[command(flatten)]
    execution: Execution,
    #[command(flatten)]
    fetch: FetchArgs,
}

/// Options of the execution that are not part of the runtime spec.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Execution")]
struct Execution {
    /// Run a small init process as PID 1 that reaps orphans
    #[arg(long)]
    init: bool,
    /// Stop the container after this time, with exit status 124
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Kill the container if it has not exited this long after the timeout
    #[arg(long, value_name = "TIME", requires = "timeout")]
    kill_after: Option<String>,
    /// Write a report of how the container exited, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Pass descriptors 3 to 2+N to the command
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Destination of the output in the background: a log file for box logs (k8s-file), nothing, or box's own stdout and stderr
    /// [default: k8s-file]
    #[arg(long, value_name = "k8s-file|none|passthrough")]
    log_driver: Option<String>,
    /// Limit of the log: max-size=SIZE (default 64MiB, -1 for no limit), or max-file=N files of that size
    #[arg(long = "log-opt", value_name = "K=V")]
    log_opts: Vec<String>,
    /// Do not use pivot_root(2), for hosts that run from an initramfs
    #[arg(long)]
    no_pivot: bool,
    /// Print the plan of the run without running anything
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("running a container")?;
    let (image, command) = args
        .image_and_command
        .split_first()
        .expect("clap requires an image");
    let reference = options::reference(image)?;
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let base = std::env::current_dir().map_err(|error| {
        Failure::new(format!(
            "cannot find the working directory: {}",
            crate::report::cause(&error)
        ))
    })?;
    let containers = settings.containers();
    let mut overrides = args.container.overrides(&base, &containers)?;
    overrides.command = command.to_vec();
    overrides.terminal = args.wants_terminal();
    if overrides.terminal && overrides.term.is_none() {
        overrides.term = Some("xterm".to_owned());
    }
    let mut options = args.execution.options()?;
    options.interactive = args.container.interactive;
    options.runtime.pids_by_default = overrides
        .resources
        .as_ref()
        .is_none_or(|resources| resources.pids().is_none());

    let wanted = ImageRequest {
        reference: &reference,
        platform: &platform,
        policy: match args.execution.dry_run {
            true => PullPolicy::Never,
            false => args.pull,
        },
        fetch: &args.fetch,
    };
    let supplied = wanted.ready(settings)?;
    check_level(&supplied.image)?;
    overrides.accounts = Accounts::of_layers(&supplied.layers, &spec::mounts(&overrides))?;
    let new = args.container(settings, &supplied, &overrides, options)?;
    if args.execution.dry_run {
        let plan = new.plan()?.to_string();
        return output::lines(plan.trim_end()).map(|()| 0);
    }
    let container = containers.create(new)?;
    // From here on the container's record protects its layers from garbage collection.
    drop(supplied.hold);
    if args.detach {
        start::check_passthrough(&container)?;
        return start::detach(&containers, container, start::Unstarted::Remove);
    }
    start::execute(
        &containers,
        container,
        args.execution.report.as_deref(),
        start::Unstarted::Remove,
    )
}

/// Refuses an image that was requested for a newer level of the architecture than this processor has: its programs would be killed
/// by an illegal instruction, and perhaps only after a while.
fn check_level(image: &Image) -> Result<(), Failure> {
    let (host, platform) = (Platform::host(), &image.platform);
    let same = (platform.os(), platform.architecture()) == (host.os(), "amd64");
    match same && host.architecture() == "amd64" && host.accepts(platform).is_none() {
        true => Err(Failure::new(format!(
            "{} is for {platform}, and this machine is {}",
            image.reference,
            Platform::machine()
        ))),
        false => Ok(()),
    }
}

impl Args {
    /// The flags that are read without clap: all except rare ones and those whose values clap checks.
    const FLAGS: &[Flag<Args>] = &[
        Flag {
            names: &["-d", "--detach"],
            slot: |args| Slot::Switch(&mut args.detach),
        },
        Flag {
            names: &["--rm"],
            slot: |args| Slot::Switch(&mut args.rm),
        },
        Flag {
            names: &["--name"],
            slot: |args| Slot::Text(&mut args.name),
        },
        Flag {
            names: &["--init"],
            slot: |args| Slot::Switch(&mut args.execution.init),
        },
        Flag {
            names: &["--timeout"],
            slot: |args| Slot::Text(&mut args.execution.timeout),
        },
        Flag {
            names: &["--log-driver"],
            slot: |args| Slot::Text(&mut args.execution.log_driver),
        },
        Flag {
            names: &["--log-opt"],
            slot: |args| Slot::Texts(&mut args.execution.log_opts),
        },
    ];

    /// The place for the value of a flag; `None` for a flag that is left to clap.
    pub fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        match Flag::named(Self::FLAGS, name) {
            Some(flag) => Some((flag.slot)(self)),
            None => self.container.slot(name),
        }
    }

    /// The names of all flags that are read without clap.
    #[cfg(test)]
    pub fn flag_names() -> Vec<&'static str> {
        [Flag::all_names(Self::FLAGS), ContainerArgs::flag_names()].concat()
    }

    /// The image and the command.
    pub fn words(&mut self) -> &mut Vec<String> {
        &mut self.image_and_command
    }

    /// With `-t`, or, without `-t` and `-i`, if both stdin and stdout are terminals.
    fn wants_terminal(&self) -> bool {
        let interactive = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        self.container.tty || (!self.container.interactive && !self.detach && interactive())
    }

    fn container(
        &self,
        settings: &Settings,
        supplied: &Supplied,
        overrides: &Overrides,
        options: RunOptions,
    ) -> Result<NewContainer, Failure> {
        // A host without this file resolves no names, and neither does the container.
        let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let hostname = spec::hostname(overrides);
        Ok(NewContainer {
            name: self.name.clone(),
            image: supplied.image.reference.to_string(),
            manifest: Some(supplied.image.manifest_digest.to_string()),
            layers: supplied.layers.clone(),
            storage: self.storage.or(settings.config.run.storage),
            spec: spec::build(&supplied.image.config, overrides)?,
            cgroup_parent: self.container.cgroup_parent()?,
            etc: EtcFiles::new(hostname, &resolv_conf, &Default::default(), &[]),
            remove: self.rm,
            options,
        })
    }
}

fn storage(text: &str) -> Result<Storage, String> {
    match text {
        "overlay" => Ok(Storage::Overlay),
        "copy" => Ok(Storage::Copy),
        _ => Err("expected overlay or copy".to_owned()),
    }
}

impl Execution {
    fn options(&self) -> Result<RunOptions, Failure> {
        let time = |flag: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| options::duration(flag, text))
                .transpose()
        };
        let runtime = box_run::Options {
            init: self.init,
            no_pivot: self.no_pivot,
            preserve_fds: self.preserve_fds,
            timeout: time("--timeout", &self.timeout)?,
            kill_after: time("--kill-after", &self.kill_after)?,
            measure: self.report.is_some(),
            ..box_run::Options::default()
        };
        Ok(RunOptions {
            runtime,
            log: options::log::read(self.log_driver.as_deref(), &self.log_opts)?,
            ..RunOptions::default()
        })
    }
}
