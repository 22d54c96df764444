//! `-u USER[:GROUP]` in any passwd and group: nothing panics, a number is an id, and nothing is ever 4294967295.
#![no_main]

use box_containers::accounts::Accounts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // What is asked for, passwd and group, with zero bytes between.
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\u{1}');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let asked = next();
    let accounts = Accounts {
        passwd: next(),
        group: next(),
    };
    let extra = asked.split(',').skip(1).map(str::to_owned);
    let extra: Vec<String> = extra.collect();
    let asked = asked.split(',').next().unwrap_or_default();
    let Ok(found) = accounts.resolve(asked, &extra) else {
        return;
    };
    let (user, group) = asked.split_once(':').unwrap_or((asked, ""));
    assert!(found.uid != u32::MAX && found.gid != u32::MAX && !found.groups.contains(&u32::MAX));
    assert!(!found.groups.contains(&found.gid) && found.groups.is_sorted());
    assert!(!found.home.is_empty() && !found.home.contains(['\n', '\0', ':']));
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u32>());
    if let Some(id) = number(user).filter(|_| !user.is_empty()) {
        assert_eq!(id, Ok(found.uid));
    }
    if let Some(id) = number(group).filter(|_| !group.is_empty()) {
        assert_eq!(id, Ok(found.gid));
    }
    if let Some(name) = accounts.name_of(found.uid) {
        assert!(name.parse::<f64>().is_err() || name.parse::<i128>().is_err());
    }
});
