//! The devices that a container can open, whatever nodes it creates.

use box_tests::Home;

#[test]
fn devices_are_confined_even_for_one_that_makes_nodes() {
    let home = Home::with_alpine();
    let run = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["alpine", "sh", "-c", script]);
        home.run(args)
    };
    let denied = run(&["--cap-add", "MKNOD"], "mknod /tmp/disk b 8 0");
    assert!(
        denied.status != 0 && denied.stderr.contains("Operation not permitted"),
        "{}",
        denied.stderr
    );
    run(
        &["--cap-add", "MKNOD"],
        "mknod /dev/other c 1 3 && echo x >/dev/other",
    )
    .succeeds();
    // A device has the requested access and no more: the capability alone would allow both.
    for (access, allowed, refused) in [("r", "3<", "3>"), ("w", "3>", "3<")] {
        let device = format!("/dev/kmsg:/dev/given:{access}");
        let flags = ["--cap-add", "SYSLOG", "--device", &device];
        run(&flags, &format!("exec {allowed}/dev/given")).succeeds();
        let denied = run(&flags, &format!("exec {refused}/dev/given"));
        assert!(
            denied.stderr.contains("Operation not permitted"),
            "{access}: {}",
            denied.stderr
        );
    }
}
