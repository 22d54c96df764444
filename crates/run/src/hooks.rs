//! Programs that a bundle has run at points of a container's life, runtime-spec config.md "POSIX-platform Hooks". They come from
//! the host's administrator, not from the image, and run with box's privileges; only `startContainer` runs with the container's.

mod execution;
pub(crate) mod failure;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use box_host::Reason;
use oci_spec::runtime::{ContainerState, Hook, Spec, StateBuilder};
use rustix::io::Errno;

use crate::Error;
use crate::channel::Step;
use crate::error::c_string;
use crate::sealed::{Script, layout};
use execution::run;
pub(crate) use failure::{HookEnd, HookFailure, Point};

/// The hooks of a plan.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// The id in the state that hooks read.
    id: String,
    bundle: PathBuf,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
}

impl Hooks {
    /// Checks the hooks of a spec. Hooks of `prestart`, the old name of `createRuntime`, run first.
    pub fn plan(spec: &Spec, id: &str, bundle: &Path) -> Result<Self, Error> {
        let Some(hooks) = spec.hooks() else {
            return Ok(Self::default());
        };
        #[allow(deprecated)]
        let prestart = hooks.prestart();
        let list = |hooks: &Option<Vec<Hook>>| hooks.clone().unwrap_or_default();
        let mut create_runtime = list(prestart);
        create_runtime.extend(list(hooks.create_runtime()));
        let out = Self {
            id: id.to_owned(),
            bundle: bundle.to_owned(),
            create_runtime,
            create_container: list(hooks.create_container()),
            start_container: list(hooks.start_container()),
            poststart: list(hooks.poststart()),
            poststop: list(hooks.poststop()),
        };
        let all = [
            &out.create_runtime,
            &out.create_container,
            &out.start_container,
            &out.poststart,
            &out.poststop,
        ];
        for hook in all.into_iter().flatten() {
            let path = hook.path().display();
            if !hook.path().is_absolute() {
                return Err(Error::spec(
                    "hooks",
                    format!("{path} is not an absolute path"),
                ));
            }
            if hook.timeout().is_some_and(|timeout| timeout <= 0) {
                return Err(Error::spec(
                    "hooks",
                    format!("{path}: a timeout must be more than zero seconds"),
                ));
            }
        }
        Ok(out)
    }

    /// Whether there are hooks for that point.
    pub fn any(&self, point: Point) -> bool {
        !self.list(point).is_empty()
    }

    /// Runs the hooks of one point in order, up to the first that fails.
    pub fn run(&self, point: Point, pid: i32) -> Result<(), HookFailure> {
        let hooks = self.list(point);
        if hooks.is_empty() {
            return Ok(());
        }
        let failed = |index: usize, end| HookFailure {
            point,
            index: index as u16,
            end,
        };
        let state = self.state(point, pid).ok_or(failed(0, HookEnd::NoState))?;
        for (index, hook) in hooks.iter().enumerate() {
            run(hook, &state).map_err(|end| failed(index, end))?;
        }
        Ok(())
    }

    /// Has the sealed program run the hooks of one point.
    pub fn run_by(&self, script: &mut Script, point: Point, pid: i32) -> Result<(), HookFailure> {
        let hooks = self.list(point);
        if hooks.is_empty() {
            return Ok(());
        }
        let failed = |index: usize, end| HookFailure {
            point,
            index: index as u16,
            end,
        };
        let state = self.state(point, pid).ok_or(failed(0, HookEnd::NoState))?;
        let place = script.place(&state);
        for (index, hook) in hooks.iter().enumerate() {
            let no_string = |_| failed(index, HookEnd::NotExecuted(Errno::INVAL));
            let path = c_string(hook.path().as_os_str().as_bytes()).map_err(no_string)?;
            let strings = |list: Vec<&str>| -> Result<Vec<CString>, HookFailure> {
                let strings = list.into_iter().map(|text| c_string(text.as_bytes()));
                strings.collect::<Result<_, _>>().map_err(no_string)
            };
            let mut words: Vec<&str> = hook.args().iter().flatten().map(String::as_str).collect();
            let name = hook.path().to_string_lossy();
            if words.is_empty() {
                words.push(&name);
            }
            let environment = hook.env().iter().flatten().map(String::as_str);
            let environment = environment.filter(|entry| entry.contains('='));
            let numbers = [
                script.place(path.as_bytes_with_nul()),
                script.place_strings(&strings(words)?),
                script.place_strings(&strings(environment.collect())?),
                place,
                state.len(),
                hook.timeout()
                    .and_then(|limit| usize::try_from(limit).ok())
                    .unwrap_or(0),
                point as usize,
            ];
            let hook = script.place_numbers(&numbers);
            script.add(layout::RUN_HOOK, &[hook], Step::Hook, index);
        }
        Ok(())
    }

    /// Runs all hooks of one point. Failures are only logged, as the spec demands for hooks after the fact.
    pub fn run_all(&self, point: Point, pid: i32) {
        if !self.any(point) {
            return;
        }
        let Some(state) = self.state(point, pid) else {
            return;
        };
        for (index, hook) in self.list(point).iter().enumerate() {
            if let Err(end) = run(hook, &state) {
                let index = index as u16;
                let error = self.error(HookFailure { point, index, end });
                tracing::warn!("{error}");
            }
        }
    }

    /// Turns a failure into an error that names the point, the program and how it failed.
    pub fn error(&self, failure: HookFailure) -> Error {
        let hook = self.list(failure.point).get(usize::from(failure.index));
        let limit = hook.and_then(Hook::timeout).unwrap_or_default();
        let words = |errno: Errno| Reason(&errno.into()).to_string();
        Error::Hook {
            kind: failure.point.name(),
            path: hook.map(|hook| hook.path().clone()).unwrap_or_default(),
            reason: match failure.end {
                HookEnd::NoState => "the state that it reads cannot be written".to_owned(),
                HookEnd::NotExecuted(errno) => format!("it cannot be executed: {}", words(errno)),
                HookEnd::NotSeen(errno) => format!("its end cannot be seen: {}", words(errno)),
                HookEnd::Exited(status) => format!("it exited with status {status}"),
                HookEnd::Signaled(signal) => format!("signal {signal} ended it"),
                HookEnd::TimedOut => {
                    format!("it took longer than {limit} seconds and was killed")
                }
            },
        }
    }

    fn list(&self, point: Point) -> &[Hook] {
        match point {
            Point::CreateRuntime => &self.create_runtime,
            Point::CreateContainer => &self.create_container,
            Point::StartContainer => &self.start_container,
            Point::Poststart => &self.poststart,
            Point::Poststop => &self.poststop,
        }
    }

    /// The state that hooks read, runtime-spec runtime.md "State".
    fn state(&self, point: Point, pid: i32) -> Option<Vec<u8>> {
        let status = match point {
            Point::CreateRuntime | Point::CreateContainer => ContainerState::Creating,
            Point::StartContainer => ContainerState::Created,
            Point::Poststart => ContainerState::Running,
            Point::Poststop => ContainerState::Stopped,
        };
        let state = StateBuilder::default()
            .version("1.1.0")
            .id(self.id.clone())
            .status(status)
            .bundle(self.bundle.clone());
        let state = if point == Point::Poststop {
            state
        } else {
            state.pid(pid)
        };
        serde_json::to_vec(&state.build().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use oci_spec::runtime::{HookBuilder, HooksBuilder};

    fn hooks(script: &str, timeout: Option<i64>) -> Result<Hooks, Error> {
        let hook = HookBuilder::default()
            .path("/bin/sh")
            .args(["sh", "-c", script].map(str::to_owned).to_vec());
        let hook = hook.env(vec!["NAME=value".to_owned()]);
        let hook = match timeout {
            Some(seconds) => hook.timeout(seconds),
            None => hook,
        };
        let hook = hook.build().unwrap();
        let mut spec = Spec::default();
        spec.set_hooks(Some(
            HooksBuilder::default()
                .create_runtime(vec![hook])
                .build()
                .unwrap(),
        ));
        Hooks::plan(&spec, "web", Path::new("/bundle"))
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("cat > {out}; env >> {out}", out = out.display());
        hooks(&script, None)
            .unwrap()
            .run(Point::CreateRuntime, 7)
            .unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        for part in [
            "\"id\":\"web\"",
            "\"pid\":7",
            "\"status\":\"creating\"",
            "\"bundle\":\"/bundle\"",
            "NAME=value",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("CARGO"));
    }

    #[test]
    fn failures_say_how() {
        let error = |script, timeout| {
            let hooks = hooks(script, timeout).unwrap();
            let failure = hooks.run(Point::CreateRuntime, 1).unwrap_err();
            hooks.error(failure).to_string()
        };
        assert_eq!(
            error("exit 3", None),
            "createRuntime hook /bin/sh: it exited with status 3"
        );
        assert_eq!(
            error("kill -9 $$", None),
            "createRuntime hook /bin/sh: signal 9 ended it"
        );
        assert!(
            error("sleep 60", Some(1)).ends_with("it took longer than 1 seconds and was killed")
        );
        assert!(hooks("", Some(0)).is_err());
    }
}
