//! Volumes: read-only with all mounts below, and refusal of flags that box does not fully support.

use box_tests::{Home, Outcome};

/// Runs a shell command in a new mount namespace, with a file system mounted below `d`.
fn with_mount_below(home: &Home, line: &str) -> Outcome {
    let script = format!(
        "mkdir -p d && mount -t tmpfs t d && mkdir d/in && mount -t tmpfs t d/in && touch d/in/file && {line}"
    );
    let mut command = home.shell("exec unshare -m sh -c \"$SCRIPT\"");
    command.env("SCRIPT", script);
    Outcome::of(command, b"")
}

#[test]
fn a_read_only_volume_is_so_with_what_is_mounted_below() {
    let home = Home::with_alpine();
    let write = "alpine sh -c 'touch /x/in/new || chmod 700 /x/in || touch -c /x/in/file'";
    for flag in [
        "-v $PWD/d:/x:ro",
        "-v $PWD/d:/x:ro-force-recursive",
        "-v $PWD/d:/x:ro,rslave",
        "--mount type=bind,src=$PWD/d,dst=/x,readonly",
        "--mount type=bind,src=$PWD/d,dst=/x,ro=true,bind-recursive=readonly",
        "--userns 300000:65536 -v $PWD/d:/x:ro",
    ] {
        let run = with_mount_below(&home, &format!("box run --rm {flag} {write}"));
        let run = run.exits(1);
        assert!(
            run.stderr.contains("Read-only file system"),
            "{flag}: {}",
            run.stderr
        );
    }
    let write = "alpine sh -c '! touch /x/new 2>/dev/null && touch /x/in/new'";
    for flag in [
        "-v $PWD/d:/x:ro-non-recursive",
        "--mount type=bind,src=$PWD/d,dst=/x,readonly,bind-recursive=writable",
    ] {
        with_mount_below(&home, &format!("box run --rm {flag} {write}")).succeeds();
    }
    // Only the mount itself.
    let flag = "--mount type=bind,src=$PWD/d,dst=/x,ro,bind-recursive=disabled";
    with_mount_below(
        &home,
        &format!("box run --rm {flag} alpine sh -c '! [ -e /x/in/file ]'"),
    )
    .succeeds();
}

#[test]
fn a_field_of_mount_in_quotes_holds_commas() {
    let home = Home::with_alpine();
    let source = home.path().join("a,b:c");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "here").unwrap();
    let mount = format!("type=bind,\"source={}\",target=/x", source.display());
    let run = home.run(["run", "--rm", "--mount", &mount, "alpine", "cat", "/x/file"]);
    assert_eq!(run.succeeds().text(), "here");
}

#[test]
fn what_would_have_no_effect_is_refused() {
    let home = Home::with_alpine();
    for (flags, words) in [
        (
            ["--sysctl", "kernel.hostname=x"],
            ["kernel.hostname", "--hostname"],
        ),
        (
            ["--sysctl", "kernel/domainname=x"],
            ["domainname", "--domainname"],
        ),
        (["--tmpfs", "/x:size=1m,foo"], ["/x", "unknown option foo"]),
        (["--tmpfs", "/x:size=1q"], ["size", "1q"]),
        (
            ["--mount", "type=bind,src=/tmp,dst=/x,what=1"],
            ["--mount", "what"],
        ),
        (
            ["--mount", "type=volume,src=x,dst=/x,volume-opt=a"],
            ["--mount", "volume-opt"],
        ),
    ] {
        let [flag, value] = flags;
        home.run(["run", "--rm", flag, value, "alpine", "true"])
            .fails(&words);
    }
    let args = [
        "--ulimit",
        "nofile=100",
        "--ulimit",
        "nofile=200",
        "--domainname",
        "example.org",
    ];
    let mut all = vec!["run", "--rm"];
    all.extend(args);
    all.extend([
        "alpine",
        "sh",
        "-c",
        "ulimit -n; cat /proc/sys/kernel/domainname",
    ]);
    assert_eq!(home.run(all).succeeds().text(), "200\nexample.org");
}

/// The run directory uses memory of the host: a container gets its own bounded file system instead (CVE-2020-8557).
#[test]
fn the_files_below_etc_do_not_fill_the_run_directory() {
    let home = Home::with_alpine();
    let script = "echo 10.0.0.1 added >>/etc/hosts && tail -n 1 /etc/hosts && chmod 600 /etc/hosts && \
                  head -c 100m /dev/zero >/etc/hostname; wc -c </etc/hostname; sleep 600";
    let run = home.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let of_box = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("BOX_RUN", &run);
        Outcome::of(command, b"").succeeds().text().to_owned()
    };
    of_box(&[
        "run", "-d", "--rm", "--name", "full", "alpine", "sh", "-c", script,
    ]);
    let join = |script: &str| of_box(&["exec", "full", "sh", "-c", script]);
    let size = "until pidof sleep >/dev/null; do sleep 0.05; done; wc -c </etc/hostname";
    let written: u64 = join(size).trim().parse().unwrap();
    assert!((1 << 20..=64 << 20).contains(&written), "{written}");
    assert!(join("tail -n 1 /etc/hosts").contains("added"));
    let mut used = 0;
    let mut directories = vec![run.clone(), home.root().join("instances/full")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => used += entry.metadata().unwrap().len(),
            }
        }
    }
    assert!(used < 200_000, "{used}");
    of_box(&["rm", "-f", "full"]);
}
