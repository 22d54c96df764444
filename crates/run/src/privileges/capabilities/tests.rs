#![allow(clippy::unwrap_used)]
use super::*;

fn set(names: &[&str]) -> Set {
    names
        .iter()
        .map(|name| name.parse::<Capability>().unwrap())
        .fold(Set::EMPTY, Set::with)
}

fn changes(names: &[&str]) -> Vec<Change> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn names_are_read_with_and_without_prefix_in_any_case() {
    for name in ["CAP_SYS_ADMIN", "SYS_ADMIN", "sys_admin", "cap_sys_admin"] {
        assert_eq!(
            name.parse::<Capability>().unwrap(),
            Capability::SYS_ADMIN,
            "{name}"
        );
    }
    assert_eq!("mknod".parse::<Capability>().unwrap().number(), 27);
    assert_eq!("all".parse::<Change>().unwrap(), Change::All);
    for name in ["", "CAP_", "ROOT", "CAP_CAP_CHOWN", "SYS-ADMIN"] {
        assert!(name.parse::<Capability>().is_err(), "{name:?}");
    }
}

#[test]
fn the_default_is_dockers_without_mknod_and_audit_write() {
    let docker = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ];
    assert_eq!(
        Set::DEFAULT,
        set(&docker).difference(set(&["MKNOD", "AUDIT_WRITE"]))
    );
    // The build script has the number.
    assert_eq!(Set::DEFAULT.bits(), 0x8004_25fb);
}

#[test]
fn adding_and_dropping_follow_dockers_order() {
    let held = set(&["CHOWN", "KILL", "SYS_ADMIN"]);
    let changed =
        |add: &[&str], drop: &[&str]| Set::DEFAULT.changed(&changes(add), &changes(drop), held);
    assert_eq!(changed(&[], &[]), Set::DEFAULT);
    assert_eq!(changed(&["CHOWN"], &["ALL"]), set(&["CHOWN"]));
    assert_eq!(changed(&["ALL"], &["KILL"]), set(&["CHOWN", "SYS_ADMIN"]));
    assert_eq!(changed(&["ALL"], &["ALL"]), Set::EMPTY);
    assert_eq!(
        changed(&["MKNOD"], &["NET_RAW"]),
        Set::DEFAULT
            .with(Capability::MKNOD)
            .difference(set(&["NET_RAW"]))
    );
}

#[test]
fn oci_sets_go_there_and_back() {
    for one in [Set::EMPTY, Set::DEFAULT, Set::ALL] {
        assert_eq!(Set::from_oci(Some(&one.to_oci())), one);
        assert_eq!(one.to_oci().len(), one.iter().count());
    }
    assert_eq!(Set::from_oci(None), Set::EMPTY);
    let five = Capabilities::for_user(Set::DEFAULT, set(&["KILL"]));
    assert_eq!(Capabilities::from_oci(&five.to_oci()), five);
}

#[test]
fn what_the_kernel_would_refuse_is_refused_by_name() {
    let all = Set::ALL;
    assert!(Capabilities::for_root(Set::DEFAULT).check(all).is_ok());
    assert!(
        Capabilities::for_user(Set::DEFAULT, set(&["KILL"]))
            .check(all)
            .is_ok()
    );
    let error = Capabilities::for_root(set(&["SYS_TIME"]))
        .check(Set::DEFAULT)
        .unwrap_err();
    assert!(error.to_string().contains("CAP_SYS_TIME"), "{error}");
    let kill = set(&["KILL"]);
    for broken in [
        Capabilities {
            effective: kill,
            ..Capabilities::default()
        },
        Capabilities {
            ambient: kill,
            inheritable: kill,
            ..Capabilities::default()
        },
        Capabilities {
            ambient: kill,
            permitted: kill,
            ..Capabilities::default()
        },
    ] {
        assert!(broken.check(all).is_err(), "{broken:?}");
    }
}
