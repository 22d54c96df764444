//! The hooks of a bundle, written into a container's config.json, for every way to start it.

use std::fs;
use std::path::Path;

use box_tests::Home;
use serde_json::{Value, json};

use crate::{field, until};

/// Adds a hook of each kind to the spec; each records its name, its network namespace and the state on its stdin.
fn add_hooks(home: &Home, name: &str, log: &Path) {
    let path = home.root().join(format!("instances/{name}/config.json"));
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let hook = |point: &str, log: &str| {
        let script = format!(
            "state=$(cat); echo {point} $(readlink /proc/self/ns/net) $(cat /etc/alpine-release 2>/dev/null || echo host) \
             $state $FROM >> {log}"
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "FROM=env"]}])
    };
    let log = log.to_str().unwrap();
    spec["hooks"] = json!({
        "prestart": hook("prestart", log),
        "createRuntime": hook("createRuntime", log),
        "createContainer": hook("createContainer", log),
        "startContainer": hook("startContainer", "/inside"),
        "poststart": hook("poststart", log),
        "poststop": hook("poststop", log),
    });
    fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
}

/// Reads the records of the hooks: point, network namespace, system, state.
fn notes(text: &str) -> Vec<(String, String, String, Value)> {
    let one = |line: &str| {
        let mut words = line.splitn(4, ' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_else(|| panic!("{line}"));
        let (point, net, system, rest) = (next(), next(), next(), next());
        let state = rest
            .strip_suffix(" env")
            .expect("the hook has its variables");
        (point, net, system, serde_json::from_str(state).expect(line))
    };
    text.lines().map(one).collect()
}

fn check(home: &Home, name: &str, log: &Path) {
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let host = host.to_str().unwrap();
    let bundle = home.root().join("instances").join(name);
    let text = fs::read_to_string(log).unwrap();
    let seen = notes(&text);
    let points: Vec<&str> = seen.iter().map(|note| note.0.as_str()).collect();
    let expected = [
        ("prestart", "creating", true),
        ("createRuntime", "creating", true),
        ("createContainer", "creating", false),
        ("poststart", "running", true),
        ("poststop", "stopped", true),
    ];
    assert_eq!(points, expected.map(|(point, ..)| point), "{text}");
    let pid = &seen[0].3["pid"];
    assert!(pid.as_u64().is_some_and(|pid| pid > 1), "{text}");
    for ((point, status, on_host), (_, net, system, state)) in expected.into_iter().zip(&seen) {
        assert_eq!(net == host, on_host, "{point}: {text}");
        // createContainer runs before the root is changed.
        assert_eq!(system, "host", "{point}");
        assert_eq!(state["status"], status, "{point}");
        assert_eq!(state["id"], name, "{point}");
        assert_eq!(state["bundle"], bundle.to_str().unwrap(), "{point}");
        if point != "poststop" {
            assert_eq!(&state["pid"], pid, "{point}");
        }
    }
    let inside = fs::read_to_string(bundle.join("upper/inside")).unwrap();
    let [(point, net, system, state)] = &notes(&inside)[..] else {
        panic!("{inside}")
    };
    assert!(point == "startContainer" && net != host && system.starts_with("3."));
    assert!(
        state["status"] == "created" && &state["pid"] == pid,
        "{inside}"
    );
}

#[test]
fn hooks_run_where_the_bundle_has_them() {
    let home = Home::with_alpine();
    for (name, options, attach) in [
        ("plain", &["--net", "none"][..], true),
        ("behind", &["--net", "none"], false),
        ("mapped", &["--net", "none", "--userns", "auto"], true),
        (
            "led",
            &["--net", "none", "--userns", "auto", "--init"],
            false,
        ),
    ] {
        let mut line = vec!["run", "--name", name];
        line.extend(options);
        line.extend(["alpine", "true"]);
        home.run(line).succeeds();
        // Hooks inside a user namespace write as an ordinary user of the host.
        let dir = home.path().join(format!("{name}-log"));
        fs::create_dir(&dir).unwrap();
        for path in [home.path(), &dir] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        let log = dir.join("log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        add_hooks(&home, name, &log);
        if attach {
            home.run(["start", "-a", name]).succeeds();
        } else {
            home.run(["start", name]).succeeds();
            until(&home, "it has ended", || {
                field(&home, name, "status") == "exited"
                    && fs::read_to_string(&log).unwrap().contains("poststop")
            });
        }
        check(&home, name, &log);
    }
}

#[test]
fn a_hook_that_fails_is_named() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "web", "alpine", "true"])
        .succeeds();
    let path = home.root().join("instances/web/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for point in ["prestart", "createRuntime"] {
        spec["hooks"] = json!({point: [{"path": "/bin/false"}]});
        fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        for line in [&["start", "web"][..], &["start", "-a", "web"]] {
            home.run(line)
                .fails(&["createRuntime hook /bin/false", "status 1"]);
        }
    }
    home.run(["rm", "web"]).succeeds();
}

#[test]
fn a_hook_that_fails_inside_is_named_with_how() {
    let home = Home::with_alpine();
    home.run(["run", "--name", "web", "alpine", "true"])
        .succeeds();
    let path = home.root().join("instances/web/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let shell = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let mut slow = shell("sleep 1000");
    slow["timeout"] = json!(1);
    for point in ["createContainer", "startContainer"] {
        for (hook, how) in [
            (shell("exit 3"), "/bin/sh: it exited with status 3"),
            (shell("kill -9 $$"), "/bin/sh: signal 9 ended it"),
            (
                json!({"path": "/bin/none"}),
                "/bin/none: it cannot be executed: no such file or directory",
            ),
            (
                json!({"path": "/etc/passwd"}),
                "/etc/passwd: it cannot be executed: permission denied",
            ),
            (
                slow.clone(),
                "/bin/sh: it took longer than 1 seconds and was killed",
            ),
        ] {
            // The second of two: the first does what it should.
            spec["hooks"] = json!({point: [shell("exit 0"), hook]});
            fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
            for line in [&["start", "web"][..], &["start", "-a", "web"]] {
                home.run(line)
                    .fails(&[&format!("error: {point} hook {how}")]);
            }
        }
    }
    home.run(["rm", "web"]).succeeds();
}

/// The image decides what is at the path of a hook inside; it is not executed by box (CVE-2019-5736).
#[test]
fn a_hook_inside_does_not_lead_to_the_hosts_program() {
    let home = Home::with_alpine();
    let trap = "printf '#!/proc/self/exe\\n' > /trap; chmod 111 /trap";
    home.run(["run", "--name", "web", "alpine", "sh", "-c", trap])
        .succeeds();
    let path = home.root().join("instances/web/config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    spec["hooks"] = json!({"startContainer": [{"path": "/trap"}]});
    fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
    home.run(["start", "-a", "web"])
        .fails(&["startContainer hook /trap", "status 126"]);
    for (hook, word) in [
        (json!({"path": "/none"}), "cannot be executed: no such file"),
        (
            json!({"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}),
            "signal 9",
        ),
        (
            json!({"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}),
            "longer than 1 seconds",
        ),
    ] {
        spec["hooks"] = json!({"startContainer": [{"path": "/bin/true", "timeout": 60}, hook]});
        fs::write(&path, serde_json::to_vec(&spec).unwrap()).unwrap();
        home.run(["start", "-a", "web"])
            .fails(&["startContainer hook", word]);
    }
}
