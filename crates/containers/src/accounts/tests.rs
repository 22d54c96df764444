#![allow(clippy::unwrap_used)]
use super::*;

fn accounts() -> Accounts {
    Accounts {
        passwd: "root:x:0:0:root:/root:/bin/sh\n# no\nbad\nweb:x:1000:1001:Web:/srv/web:/bin/sh\nx:x:-1:0::/:\n12:x:77:78::/h:\n\
                 web:x:0:0::/:\nplus:x:+5:0::/:\nnone:x:4294967295:0::/:\nnogroup:x:8:4294967295::/:\nnul\0:x:9:9::/:\n\
                 big:x:4294967296:0::/:\n1000:x:0:0:root:/root:\n+7:x:0:0::/:\n0x7:x:0:0::/:\n"
            .into(),
        group: "root:x:0:root\nbin:x:1:root,web\nweb:x:1001:\nwheel:x:10:web,other\n50:x:0:\nnone:x:4294967295:web\n"
            .into(),
    }
}

fn resolve(text: &str) -> (u32, u32, Vec<u32>, String) {
    let found = accounts().resolve(text, &[]).unwrap();
    (found.uid, found.gid, found.groups, found.home)
}

#[test]
fn by_name_and_number() {
    assert_eq!(resolve(""), (0, 0, vec![1], "/root".into()));
    // The first entry of a name counts.
    assert_eq!(resolve("web"), (1000, 1001, vec![1, 10], "/srv/web".into()));
    assert_eq!(
        resolve("1000"),
        (1000, 1001, vec![1, 10], "/srv/web".into())
    );
    assert_eq!(resolve("web:wheel"), (1000, 10, vec![], "/srv/web".into()));
    assert_eq!(resolve("5:6"), (5, 6, vec![], "/".into()));
    assert_eq!(resolve("5"), (5, 0, vec![], "/".into()));
}

#[test]
fn a_number_is_an_id() {
    assert_eq!(resolve("12"), (12, 0, vec![], "/".into()));
    assert_eq!(resolve("77"), (77, 78, vec![], "/h".into()));
    assert_eq!(resolve("5:50").1, 50);
    assert_eq!(resolve("007:0050"), (7, 50, vec![], "/".into()));
    let added = accounts().resolve("5:5", &["50".into()]).unwrap();
    assert_eq!(added.groups, [50]);
    for text in [
        "+7",
        "-7",
        " 7",
        "7 ",
        "0x7",
        "0X7",
        "7.0",
        "7_0",
        "\u{967}",
        "4294967295",
        "4294967296",
        "99999999999999999999",
    ] {
        for text in [text.to_owned(), format!("5:{text}")] {
            let refused = accounts().resolve(&text, &[]).unwrap_err().to_string();
            assert!(refused.contains("is no id"), "{text}: {refused}");
        }
        assert!(accounts().resolve("5", &[text.into()]).is_err(), "{text}");
    }
    // It would look like another user.
    let root = Accounts {
        passwd: "1000:x:0:0::/:\n".into(),
        group: String::new(),
    };
    assert_eq!(root.name_of(0), None);
    assert_eq!(accounts().name_of(0).unwrap(), "root");
}

#[test]
fn names_without_ids() {
    for text in ["none", "nogroup", "plus", "x", "big", "bad", "web:none"] {
        let refused = accounts().resolve(text, &[]).unwrap_err().to_string();
        assert!(refused.contains("has no ids"), "{text}: {refused}");
    }
    assert_eq!(resolve("8"), (8, 0, vec![], "/".into()));
}

#[test]
fn unknown_names() {
    for text in ["nobody", "web:nobody", "nul", "nul\0", "# no", "+", "-"] {
        assert!(accounts().resolve(text, &[]).is_err(), "{text}");
    }
    assert_eq!(
        Accounts::default().resolve("root:root", &[]).unwrap().uid,
        0
    );
}

#[test]
fn group_add() {
    let found = accounts()
        .resolve("5:5", &["wheel".into(), "99".into(), "5".into()])
        .unwrap();
    assert_eq!(found.groups, [10, 99]);
    let many = (0..=MOST_GROUPS + 1).map(|group| format!("g:x:{group}:web\n"));
    let many = Accounts {
        group: many.collect(),
        ..accounts()
    };
    let refused = many.resolve("web", &[]).map(|found| found.uid);
    assert!(refused.is_err_and(|error| error.to_string().contains("at most 65536")));
}
