#![allow(clippy::unwrap_used)]
use super::*;

fn bind(text: &str) -> Result<Volume, Error> {
    Volume::bind(text, Path::new("/home/me"))
}

#[test]
fn binds() {
    let expect = |source: &str, destination: &str, options: &[&str]| Volume::Bind {
        source: source.into(),
        destination: destination.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        create: true,
    };
    assert_eq!(bind("/a:/b").unwrap(), expect("/a", "/b", &["rbind"]));
    assert_eq!(
        bind("./a:/b/../c:ro,z").unwrap(),
        expect("/home/me/a", "/c", &["rbind", "rro"])
    );
    for (options, expected) in [
        ("ro-non-recursive", &["rbind", "ro"][..]),
        ("bind,ro", &["bind", "ro"]),
        ("ro-force-recursive", &["rbind", "rro"]),
        ("ro,rslave", &["rbind", "rro", "rslave"]),
        ("nosuid,noatime", &["rbind", "rnosuid", "noatime"]),
    ] {
        let volume = bind(&format!("/a:/b:{options}")).unwrap();
        assert_eq!(volume, expect("/a", "/b", expected), "{options}");
    }
    assert_eq!(
        bind("..:/b:bind,rslave").unwrap(),
        expect("/home", "/b", &["bind", "rslave"])
    );
}

#[test]
fn refused_binds() {
    for text in [
        "",
        "/a",
        "/a:",
        ":/b",
        "/a:b",
        "/a:/",
        "/a:/..",
        "a:/b",
        "/a:/b:what",
        "/a:/b:ro,rw",
        "/a:/b:ro-force-recursive,rslave",
    ] {
        assert!(bind(text).is_err(), "{text}");
    }
}

#[test]
fn two_on_one_place_are_refused() {
    let volumes = |texts: &[&str]| -> Vec<Volume> {
        let one = |text: &&str| match text.strip_prefix("tmpfs ") {
            Some(text) => Volume::tmpfs(text).unwrap(),
            None => bind(text).unwrap(),
        };
        texts.iter().map(one).collect()
    };
    for texts in [
        ["/a:/x", "/b:/x"],
        ["/a:/x", "/a:/x/"],
        ["/a:/x/../y", "/a:/y"],
        ["/a:/x", "tmpfs /x:size=1m"],
    ] {
        assert!(Volume::check_places(&volumes(&texts)).is_err(), "{texts:?}");
    }
    assert!(Volume::check_places(&volumes(&["/a:/x", "/a:/x/y"])).is_ok());
}

#[test]
fn unknown_tmpfs_options_are_refused() {
    let refusal = Volume::tmpfs("/t:size=1m,foo").unwrap_err().to_string();
    assert!(refusal.contains("unknown option foo"), "{refusal}");
    assert!(Volume::tmpfs("/t:size=1m,exec").is_ok());
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("64m", 64 << 20),
        ("1GiB", 1 << 30),
        ("2KB", 2048),
    ] {
        assert_eq!(size(text), Some(bytes), "{text}");
    }
    for text in ["", "m", "-1", "+1", "1x", "1.5m", "99999999999t"] {
        assert_eq!(size(text), None, "{text}");
    }
}
