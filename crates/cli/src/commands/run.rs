//! `box run`.

use clap_complete::ArgValueCandidates;
use std::io::IsTerminal;
use std::path::PathBuf;

use box_cache::{Image, Platform};
use box_run::user::Accounts;
use box_run::{EtcFiles, Instances, NewInstance, Options, Overrides, Storage, spec};

use crate::commands::start;
use crate::container::ContainerArgs;
use crate::fetch::FetchArgs;
use crate::quick::Slot;
use crate::report::Failure;
use crate::settings::{Settings, require_root};
use crate::supply::{ImageRequest, PullPolicy, Supplied};
use crate::{options, output};

/// Runs a command in a new container, and exits with its status: 128+N where signal N ended it, 125 where box itself
/// failed, 126 where the command cannot be executed, 127 where it is not found.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "box run [OPTIONS] IMAGE [CMD [ARG]...]",
    after_help = "Examples:\n  box run -it --rm alpine\n  box run -d --name web alpine sleep 1h\n  box run --rm -v .:/src:ro -w /src alpine wc -l README.md\n  \
                  echo hi | box run --rm --net none alpine cat"
)]
pub struct Args {
    /// The image, and the command to run in the place of the image's own; what follows IMAGE belongs to the command
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "CMD"], add = ArgValueCandidates::new(crate::complete::references))]
    image_and_command: Vec<String>,
    /// Run in the background and print the container's name; its output goes to box logs
    #[arg(short, long, conflicts_with_all = ["report", "preserve_fds"])]
    detach: bool,
    /// Delete the container when its command ends
    #[arg(long)]
    rm: bool,
    /// What becomes of the image's files: an overlay over them, or a copy for the container alone [default: overlay, and copy
    /// where no overlay can be had]
    #[arg(long, value_name = "overlay|copy", value_parser = storage)]
    storage: Option<Storage>,
    /// Name of the container [default: two plain words]
    #[arg(long)]
    name: Option<String>,
    /// When to ask the mirror: if the image is missing, always, for a newer one, or never
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

/// How the container is run, which no runtime spec says.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Execution")]
struct Execution {
    /// Put a small init in front of the command, which reaps orphans
    #[arg(long)]
    init: bool,
    /// End the container after this time, with status 124
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Kill it when it has not ended this long after the timeout
    #[arg(long, value_name = "TIME", requires = "timeout")]
    kill_after: Option<String>,
    /// Write how it ended, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Hand descriptors 3 to 2+N on to the command
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Where its output goes in the background: to box logs (k8s-file), nowhere, or to box's own stdout and stderr
    /// [default: k8s-file]
    #[arg(long, value_name = "k8s-file|none|passthrough")]
    log_driver: Option<String>,
    /// How long a log becomes: max-size=SIZE (default 64MiB, -1 for no limit), and max-file=N files of that size
    #[arg(long = "log-opt", value_name = "K=V")]
    log_opts: Vec<String>,
    /// Do not use pivot_root, for hosts that run from an initramfs
    #[arg(long)]
    no_pivot: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, settings: &Settings) -> Result<u8, Failure> {
    require_root("running a container")?;
    let (image, command) = args
        .image_and_command
        .split_first()
        .expect("clap demands an image");
    let reference = options::reference(image)?;
    let platform = args.arch.clone().unwrap_or_else(Platform::host);
    let base = std::env::current_dir().map_err(|error| {
        Failure::new(format!(
            "find the working directory: {}",
            crate::report::cause(&error)
        ))
    })?;
    let instances = Instances::open(&settings.dirs.instances, &settings.dirs.run);
    let mut overrides = args.container.overrides(&base, &instances)?;
    overrides.command = command.to_vec();
    overrides.terminal = args.wants_terminal();
    if overrides.terminal && overrides.term.is_none() {
        overrides.term = Some("xterm".to_owned());
    }
    let mut options = args.execution.options()?;
    options.interactive = args.container.interactive;
    options.pids_by_default = overrides
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
    overrides.accounts = Accounts::of_layers(&supplied.layers, &overrides)?;
    let new = args.instance(settings, &supplied, &overrides, options)?;
    if args.execution.dry_run {
        let plan = box_run::Plan::preview(&new)?.to_string();
        return output::lines(plan.trim_end()).map(|()| 0);
    }
    let instance = instances.create(new)?;
    // The instance's record names its layers from here on: the collector may come.
    drop(supplied.hold);
    if args.detach {
        start::check_passthrough(&instance)?;
        return start::detach(&instances, instance, start::Unstarted::Remove);
    }
    start::execute(
        &instances,
        instance,
        args.execution.report.as_deref(),
        start::Unstarted::Remove,
    )
}

/// Refuses an image that was asked for by a platform which needs more than this processor has: its programs would be killed by
/// an illegal instruction, or worse, not at once.
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
    /// Where the value of a flag is kept; none for the rare ones and those whose values clap checks.
    pub fn slot(&mut self, flag: &str) -> Option<Slot<'_>> {
        Some(match flag {
            "-d" | "--detach" => Slot::Switch(&mut self.detach),
            "--rm" => Slot::Switch(&mut self.rm),
            "--name" => Slot::Text(&mut self.name),
            "--init" => Slot::Switch(&mut self.execution.init),
            "--timeout" => Slot::Text(&mut self.execution.timeout),
            "--log-driver" => Slot::Text(&mut self.execution.log_driver),
            "--log-opt" => Slot::Texts(&mut self.execution.log_opts),
            _ => return self.container.slot(flag),
        })
    }

    /// The image, and the command to run in it.
    pub fn words(&mut self) -> &mut Vec<String> {
        &mut self.image_and_command
    }

    /// `-t` asks for one; without `-t` and `-i` there is one where a person sits at both ends.
    fn wants_terminal(&self) -> bool {
        let person = || std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        self.container.tty || (!self.container.interactive && !self.detach && person())
    }

    fn instance(
        &self,
        settings: &Settings,
        supplied: &Supplied,
        overrides: &Overrides,
        options: Options,
    ) -> Result<NewInstance, Failure> {
        // A host without the file resolves nothing, and neither will the container.
        let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let hostname = spec::hostname(overrides);
        Ok(NewInstance {
            name: self.name.clone(),
            image: supplied.image.reference.to_string(),
            manifest: Some(supplied.image.manifest_digest.to_string()),
            layers: supplied.layers.clone(),
            storage: self.storage.or(settings.config.run.storage),
            copy: |layers, dir| Ok(box_unpack::copy_layers(layers, dir)?),
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
    fn options(&self) -> Result<Options, Failure> {
        let time = |flag: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| options::duration(flag, text))
                .transpose()
        };
        Ok(Options {
            init: self.init,
            no_pivot: self.no_pivot,
            preserve_fds: self.preserve_fds,
            timeout: time("--timeout", &self.timeout)?,
            kill_after: time("--kill-after", &self.kill_after)?,
            measure: self.report.is_some(),
            log: options::log::read(self.log_driver.as_deref(), &self.log_opts)?,
            ..Options::default()
        })
    }
}
