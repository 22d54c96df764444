//! `box login` and `box logout`, and credentials that other programs share with box.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use box_tests::registry::{Image, Layer, PASSWORD, Registry, USER};
use box_tests::{Home, Outcome, Terminal};

/// Somebody's home with all the places where credentials may be, and the password of a registry.
struct Person {
    home: Home,
    registry: Registry,
}

impl Person {
    /// The registry has the image `app:one`.
    fn new() -> Self {
        let registry = Registry::with_password();
        registry.put("team/app", "one", &Image::new(&[Layer::alpine()]));
        let home = Home::new();
        fs::create_dir(home.path().join("run")).unwrap();
        Self { home, registry }
    }

    fn host(&self) -> &str {
        self.registry.host()
    }

    fn auth_file(&self) -> PathBuf {
        self.home.path().join("run/containers/auth.json")
    }

    fn docker_file(&self) -> PathBuf {
        self.home.path().join(".docker/config.json")
    }

    /// A program with the environment of this person.
    fn at_home(&self, mut command: Command) -> Command {
        command
            .env("HOME", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .env("PATH", self.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG")
            .env_remove("REGISTRY_AUTH_FILE");
        command
    }

    fn path(&self) -> String {
        let others = std::env::var("PATH").unwrap();
        format!("{}:{others}", self.home.path().join("helpers").display())
    }

    fn run(&self, args: &[&str], stdin: &str) -> Outcome {
        Outcome::of(self.at_home(self.home.command(args)), stdin.as_bytes())
    }

    fn login(&self, password: &str) -> Outcome {
        let args = ["login", "-u", USER, "--password-stdin", self.host()];
        self.run(&args, &format!("{password}\n"))
    }

    fn program(&self, name: &str, args: &[&str]) -> Outcome {
        let mut command = Command::new(name);
        command.args(args);
        Outcome::of(self.at_home(command), b"")
    }

    /// Whether skopeo gets in.
    #[track_caller]
    fn skopeo(&self, gets_in: bool) {
        let image = format!("docker://{}", self.registry.reference("team/app:one"));
        let args = [
            "inspect",
            "--override-os=linux",
            "--tls-verify=false",
            &image,
        ];
        let said = self.program("skopeo", &args).exits(match gets_in {
            true => 0,
            false => 1,
        });
        let unauthorized = said.stderr.contains("unauthorized");
        assert_eq!(unauthorized, !gets_in, "{said:?}");
    }
}

#[test]
fn other_programs_use_a_login_until_the_logout() {
    let person = Person::new();
    person.skopeo(false);
    let said = person.login(PASSWORD).succeeds();
    assert_eq!(
        said.text(),
        format!(
            "logged in to {} as {USER}, saved in {}",
            person.host(),
            person.auth_file().display()
        )
    );
    let mode = fs::metadata(person.auth_file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    person.skopeo(true);
    let podman = person.program("podman", &["login", "--get-login", person.host()]);
    assert_eq!(podman.succeeds().text(), USER);
    let said = person.run(&["login", "--get-login", person.host()], "");
    assert_eq!(said.succeeds().text(), USER);

    let said = person.run(&["logout", person.host()], "").succeeds();
    assert!(said.text().contains("auth.json"), "{said:?}");
    person.skopeo(false);
    person
        .run(&["logout", person.host()], "")
        .fails(&["nobody is logged in to", person.host()]);
    person
        .run(&["login", "--get-login", person.host()], "")
        .fails(&["nobody is logged in"]);
}

#[test]
fn a_wrong_password_is_not_saved() {
    let person = Person::new();
    person
        .login("wrong")
        .fails(&["wrong credentials for", person.host()]);
    assert!(!person.auth_file().exists());
    person.login("").fails(&["the password is empty"]);
    let args = ["login", "-u", USER, "--password", PASSWORD, person.host()];
    let said = person.run(&args, "").fails(&["other users can see it"]);
    assert!(!said.stderr.contains(PASSWORD), "{said:?}");
    person
        .run(&["login", "--password-stdin", person.host()], "x")
        .fails(&["needs a user name"]);
    person
        .run(&["login", "-u", USER, "--password-stdin", "team/app"], "x")
        .fails(&["is not a registry"]);
}

#[test]
fn a_login_at_the_terminal_shows_no_password() {
    let person = Person::new();
    let command = person.at_home(person.home.command(["login", person.host()]));
    let mut terminal = Terminal::start(&command);
    terminal.expect("User name: ");
    terminal.send(&format!("{USER}\r"));
    terminal.expect("Password: ");
    // A slip of the finger, and the end of the line a second time.
    terminal.send(&format!("{}x\x7fé\x7f\r", &PASSWORD[..4]));
    assert_eq!(terminal.wait(), 125);
    assert!(
        terminal.transcript().contains("wrong credentials"),
        "{}",
        terminal.transcript()
    );

    let command = person.at_home(person.home.command(["login", person.host()]));
    let mut terminal = Terminal::start(&command);
    let before = terminal.attributes().local_modes;
    terminal.expect("User name: ");
    terminal.send(&format!("{USER}\r"));
    terminal.expect("Password: ");
    terminal.send(&format!("not this\x15{PASSWORD}x\x7f\r"));
    terminal.expect("logged in to");
    assert_eq!(terminal.wait(), 0);
    let shown = terminal.transcript();
    assert!(
        !shown.contains(&PASSWORD[..4]) && !shown.contains("not this"),
        "{shown}"
    );
    assert_eq!(terminal.attributes().local_modes, before);
    // The one who is logged in is offered.
    // As in a shell at a terminal; programs in the background of a script ignore Ctrl-C.
    let login = person.at_home(person.home.command(["login", person.host()]));
    let mut command = Command::new("env");
    command.arg("--default-signal=INT");
    command.arg(login.get_program()).args(login.get_args());
    for (name, value) in login.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut terminal = Terminal::start(&command);
    terminal.expect(&format!("User name [{USER}]: "));
    terminal.send("\r");
    terminal.expect("Password: ");
    terminal.send("\x03");
    assert_eq!(terminal.wait(), 130);
    assert_eq!(terminal.attributes().local_modes, before);
}

#[test]
fn box_uses_what_podman_saved() {
    let person = Person::new();
    let image = person.registry.reference("team/app:one");
    person
        .run(&["pull", &image], "")
        .fails(&["demands credentials"])
        .hints(&["box login", person.host()]);
    let args = [
        "login",
        "--tls-verify=false",
        "-u",
        USER,
        "-p",
        PASSWORD,
        person.host(),
    ];
    person.program("podman", &args).succeeds();
    person.run(&["pull", &image], "").succeeds();
    // The same file by its name, and from another place.
    let elsewhere = person.home.path().join("elsewhere.json");
    fs::rename(person.auth_file(), &elsewhere).unwrap();
    let elsewhere = elsewhere.to_str().unwrap();
    let pull = ["pull", "--authfile", elsewhere, &image];
    person.run(&pull, "").succeeds();
    let missing = ["pull", "--authfile", "missing.json", &image];
    person
        .run(&missing, "")
        .fails(&["missing.json", "no such file"]);
}

#[test]
fn helpers_of_dockers_file_keep_and_give_the_password() {
    let person = Person::new();
    let helpers = person.home.path().join("helpers");
    fs::create_dir(&helpers).unwrap();
    let program = helpers.join("docker-credential-vault");
    let kept = person.home.path().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {kept} ;;\nget) cat {kept} || {{ echo credentials not found in native keychain; exit 1; }} ;;\n\
         erase) rm {kept} ;;\nesac 2>/dev/null\n",
        kept = kept.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(person.docker_file().parent().unwrap()).unwrap();
    fs::write(
        person.docker_file(),
        r#"{"credsStore": "vault", "psFormat": "x"}"#,
    )
    .unwrap();
    let said = person.login(PASSWORD).succeeds();
    assert!(said.text().contains("docker-credential-vault"), "{said:?}");
    assert!(kept.exists());
    let file = fs::read_to_string(person.docker_file()).unwrap();
    assert!(
        file.contains("psFormat") && !file.contains("\"auth\""),
        "{file}"
    );
    let image = person.registry.reference("team/app:one");
    person.run(&["pull", &image], "").succeeds();
    person.run(&["logout", person.host()], "").succeeds();
    assert!(!kept.exists());

    // Without the program, a read goes on without credentials, and says so once.
    fs::remove_file(program).unwrap();
    let open = Registry::new();
    open.put("team/app", "one", &Image::new(&[Layer::alpine()]));
    let said = person
        .run(&["pull", &image], "")
        .fails(&["demands credentials"]);
    let warnings = said.stderr.matches("warning: ").count();
    assert_eq!(warnings, 1, "{said:?}");
    assert!(said.stderr.contains("docker-credential-vault"), "{said:?}");
    person
        .run(&["pull", &open.reference("team/app:one")], "")
        .succeeds();
}
