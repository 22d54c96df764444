//! registries.conf, certs.d and box's own configuration.

use std::fs;
use std::path::Path;

use box_tests::registry::{Image, Layer, Registry};
use box_tests::server::Certificate;
use box_tests::{Home, Outcome};

/// A home with settings of containers in it.
fn home(registries_conf: &str) -> Home {
    let home = Home::new();
    write(&home, ".config/containers/registries.conf", registries_conf);
    home
}

fn write(home: &Home, path: &str, text: &str) {
    let path = home.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn run(home: &Home, args: &[&str]) -> Outcome {
    let mut command = home.command(args);
    command
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("CONTAINERS_REGISTRIES_CONF");
    Outcome::of(command, b"")
}

fn registry() -> Registry {
    let registry = Registry::new();
    registry.put("team/app", "one", &Image::new(&[Layer::alpine()]));
    registry
}

#[test]
fn a_mirror_serves_what_the_registry_is_not_asked_for() {
    let mirror = registry();
    let home = home(&format!(
        "[[registry]]\nprefix = 'reg.invalid/apps'\nlocation = 'reg.invalid/apps'\n[[registry.mirror]]\nlocation = '{}/team'\n",
        mirror.host()
    ));
    run(&home, &["pull", "reg.invalid/apps/app:one"]).succeeds();
    assert_eq!(mirror.count("GET /v2/team/app/manifests/one"), 1);
    run(&home, &["run", "--rm", "reg.invalid/apps/app:one", "true"]).succeeds();
}

#[test]
fn a_location_takes_the_place_of_a_prefix() {
    let other = registry();
    let home = home(&format!(
        "[[registry]]\nprefix = '*.invalid'\nlocation = '{}/team'\n",
        other.host()
    ));
    run(&home, &["pull", "any.invalid/app:one"]).succeeds();
}

#[test]
fn what_is_blocked_is_not_asked_for() {
    let registry = registry();
    let blocked = format!(
        "[[registry]]\nlocation = '{}'\nblocked = true\n",
        registry.host()
    );
    let home = home(&blocked);
    let image = registry.reference("team/app:one");
    run(&home, &["pull", &image]).fails(&["registries.conf blocks it"]);
    assert_eq!(registry.count("GET "), 0);
    // The user's own file takes the place of the system's; one that is named takes the place of both.
    write(&home, "other.conf", "");
    let mut command = home.command(["pull", &image]);
    command
        .env("HOME", home.path())
        .env("CONTAINERS_REGISTRIES_CONF", home.path().join("other.conf"));
    Outcome::of(command, b"").succeeds();
    write(
        &home,
        ".config/containers/registries.conf.d/last.conf",
        &blocked,
    );
    let mut command = home.command(["pull", &image]);
    command
        .env("HOME", home.path())
        .env("CONTAINERS_REGISTRIES_CONF", home.path().join("other.conf"));
    Outcome::of(command, b"").fails(&["last.conf blocks it"]);
    // box's own settings hold, too.
    fs::remove_dir_all(home.path().join(".config")).unwrap();
    let own = format!("[registry.'{}/team']\nblocked = true\n", registry.host());
    write(&home, "config/config.toml", &own);
    run(&home, &["pull", &image]).fails(&["config.toml blocks it"]);
}

#[test]
fn an_alias_is_one_name_in_every_command() {
    let registry = registry();
    let alias = format!(
        "[aliases]\napp = '{}/team/app'\nalpine = '{}/team/app'\n",
        registry.host(),
        registry.host()
    );
    let home = home(&alias);
    let full = registry.reference("team/app:one");
    run(&home, &["pull", "app:one"]).succeeds();
    for args in [
        &["images", "app:one"][..],
        &["images", "app"],
        &["inspect", "app:one"],
        &["images", &full],
    ] {
        let said = run(&home, args).succeeds();
        assert!(said.text().contains(&full), "{said:?}");
    }
    run(
        &home,
        &["run", "--rm", "--pull", "never", "app:one", "true"],
    )
    .succeeds();
    run(&home, &["rmi", "app:one"]).succeeds();
    // Alpine's own name stays its own.
    let said = run(&home, &["pull", "alpine"]).succeeds();
    assert!(said.text().starts_with("alpine:latest"), "{said:?}");
}

#[test]
fn alpine_needs_no_settings_of_registries() {
    let home = home("[[registry");
    run(&home, &["pull", "alpine"]).succeeds();
    run(&home, &["run", "--rm", "alpine", "true"]).succeeds();
    run(&home, &["run", "--rm", "other", "true"]).fails(&["registries.conf: line 1"]);
    write(
        &home,
        ".config/containers/registries.conf",
        "[registries.search]\nregistries = ['docker.io']\n",
    );
    run(&home, &["pull", "other"]).fails(&["registries.conf", "version 1"]);
    let path = home.path().join(".config/containers/registries.conf");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(path, mode).unwrap();
    run(&home, &["pull", "other"]).fails(&["cannot trust", "writable by everybody"]);
}

#[test]
fn certificates_are_checked_against_those_for_the_host() {
    let certificate = Certificate::new();
    let registry = Registry::secure(&certificate);
    registry.put("team/app", "one", &Image::new(&[Layer::alpine()]));
    let image = registry.reference("team/app:one");
    let refused = |home: &Home| run(home, &["pull", &image]).fails(&["certificate"]);
    let plain = home("");
    refused(&plain);
    let place = |home: &Home, host: &str| {
        let dir = home.path().join(".config/containers/certs.d").join(host);
        fs::create_dir_all(&dir).unwrap();
        fs::copy(certificate.write(home.path()), dir.join("ca.crt")).unwrap();
    };
    // That of another host is none.
    place(&plain, "localhost");
    refused(&plain);
    place(&plain, registry.host());
    run(&plain, &["pull", &image]).succeeds();

    let own = home("");
    let file = certificate.write(own.path());
    let settings = |home: &Home, line: &str| {
        let text = format!("[registry.'{}']\n{line}\n", registry.host());
        write(home, "config/config.toml", &text);
    };
    settings(
        &own,
        &format!("ca-certs = ['{}']", Path::new(&file).display()),
    );
    run(&own, &["pull", &image]).succeeds();

    let insecure = home("");
    settings(&insecure, "insecure = true");
    run(&insecure, &["pull", &image]).succeeds();
    let insecure = home(&format!(
        "[[registry]]\nlocation = '{}'\ninsecure = true\n",
        registry.host()
    ));
    run(&insecure, &["pull", &image]).succeeds();
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let registry = registry();
    let home = home("");
    let image = registry.reference("team/app:one");
    let said = run(&home, &["pull", "--progress", "json", &image]).succeeds();
    let events: Vec<serde_json::Value> = said
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |event: &str, phase: &str| {
        let found = events
            .iter()
            .find(|e| e["event"] == event && e["phase"] == phase);
        found.unwrap_or_else(|| panic!("no {event} of {phase}: {events:?}"))
    };
    let (started, finished) = (of("started", "download"), of("finished", "download"));
    assert_eq!(started["task"], finished["task"]);
    assert_eq!(started["total"], finished["bytes"]);
    assert_eq!(finished["complete"], true);
}
