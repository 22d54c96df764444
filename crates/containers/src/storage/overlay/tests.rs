#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn topmost_comes_first() {
    let layers = [PathBuf::from("/low"), PathBuf::from("/high")];
    let overlay = Overlay::new(
        Layers::of_directories(layers),
        "/u".into(),
        "/w".into(),
        true,
    )
    .unwrap();
    let expected = "lowerdir=/high:/low,upperdir=/u,workdir=/w,index=off,metacopy=off,redirect_dir=nofollow,volatile";
    assert_eq!(overlay.describe(), expected);
    assert!(Overlay::new(Layers::default(), "/u".into(), "/w".into(), true).is_err());
}

/// Mounts it in a namespace of the calling thread and returns the content of its file `f`.
fn read_through(overlay: &Overlay, target: &Path) -> String {
    box_run::sys::process::unshare(libc::CLONE_NEWNS | libc::CLONE_FS).unwrap();
    box_run::sys::mount::make_private().unwrap();
    let before = std::env::current_dir().unwrap();
    overlay.mount_here(target).unwrap();
    assert_eq!(std::env::current_dir().unwrap(), before);
    std::fs::read_to_string(target.join("f")).unwrap()
}

fn in_a_thread(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

#[test]
fn paths_that_options_cannot_carry_go_by_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    for odd in ["a:b,c\\d e", "new\nline", "\"quotes'", "\\", "per%cent=é\t"] {
        let odd = dir.path().join(odd);
        for name in ["low", "upper", "work", "target"] {
            std::fs::create_dir_all(odd.join(name)).unwrap();
        }
        std::fs::write(odd.join("low/f"), "below").unwrap();
        let overlay = Overlay::new(
            Layers::of_directories([odd.join("low")]),
            odd.join("upper"),
            odd.join("work"),
            false,
        )
        .unwrap();
        in_a_thread(|| assert_eq!(read_through(&overlay, &odd.join("target")), "below"));
    }
}

#[test]
fn as_many_layers_as_the_kernel_takes_with_long_paths_and_high_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(200));
    let layers: Vec<_> = (0..MOST_LAYERS)
        .map(|number| long.join(number.to_string()))
        .collect();
    for path in layers
        .iter()
        .chain(&["u", "w", "t"].map(|name| long.join(name)))
    {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(layers[0].join("f"), "lowest").unwrap();
    let overlay = Overlay::new(
        Layers::of_directories(layers.clone()),
        long.join("u"),
        long.join("w"),
        false,
    )
    .unwrap();
    assert!(overlay.opened().unwrap().options.as_bytes().len() <= LONGEST);
    in_a_thread(|| assert_eq!(read_through(&overlay, &long.join("t")), "lowest"));
    let more = [layers, vec![long.clone()]].concat();
    let refused = Overlay::new(
        Layers::of_directories(more),
        long.join("u"),
        long.join("w"),
        false,
    )
    .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("has 501 layers, and the kernel stacks 500 at most"),
        "{refused}"
    );
}
