#![allow(clippy::unwrap_used)]
use super::*;
use crate::logs::MaxSize;

fn settings(size: u64, files: u32) -> LogOptions {
    LogOptions {
        max_size: MaxSize::Bytes(size),
        max_files: files,
        ..LogOptions::default()
    }
}

fn content(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(DIRECTORY).join(name)).unwrap()
}

fn without_times(text: &str) -> Vec<&str> {
    text.lines().map(|line| &line[31..]).collect()
}

#[test]
fn lines_and_parts_of_lines() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), &LogOptions::default()).unwrap();
    writer.write(Stream::Stdout, b"one\n\ntw");
    writer.write(Stream::Stderr, b"err\n");
    writer.write(Stream::Stdout, b"o\n");
    let text = content(dir.path(), files::CURRENT);
    assert_eq!(
        without_times(&text),
        [
            "stdout F one",
            "stdout F ",
            "stdout P tw",
            "stderr F err",
            "stdout F o"
        ]
    );
}

#[test]
fn a_long_line_is_several_records_and_none_is_empty_but_for_its_break() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), &LogOptions::default()).unwrap();
    for extra in [0, 1] {
        let mut line = vec![b'x'; 2 * LONGEST + extra];
        line.push(b'\n');
        writer.write(Stream::Stdout, &line);
    }
    let text = content(dir.path(), files::CURRENT);
    let shape: Vec<(&str, usize)> = without_times(&text)
        .iter()
        .map(|line| (&line[..8], line.len() - 9))
        .collect();
    assert_eq!(
        shape,
        [
            ("stdout P", LONGEST),
            ("stdout F", LONGEST),
            ("stdout P", LONGEST),
            ("stdout P", LONGEST),
            ("stdout F", 1)
        ]
    );
}

#[test]
fn the_files_never_have_more_than_was_asked_for() {
    for (size, files) in [(1 << 10, 1), (1 << 10, 3), (100_000, 1), (40_000, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), &settings(size, files)).unwrap();
        for round in 0..300 {
            let line = vec![b'x'; round * 7 % 400 * 60];
            writer.write(Stream::Stdout, &line);
            writer.write(Stream::Stderr, b"last\n");
            let entries = std::fs::read_dir(dir.path().join(DIRECTORY)).unwrap();
            let sizes: Vec<u64> = entries
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .collect();
            assert!(
                sizes.iter().sum::<u64>() <= size * u64::from(files),
                "{sizes:?}"
            );
            assert!(sizes.len() <= files.max(2) as usize, "{sizes:?}");
        }
        assert!(content(dir.path(), files::CURRENT).ends_with("stderr F last\n"));
    }
}

#[test]
fn half_a_record_is_cut_off_by_the_next_start() {
    for (left, kept) in [
        ("a\nb\n2026-01", "a\nb\n"),
        ("a\nb\n", "a\nb\n"),
        ("2026", ""),
        ("", ""),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        std::fs::write(dir.path().join(DIRECTORY).join(files::CURRENT), left).unwrap();
        let mut writer = Writer::open(dir.path(), &LogOptions::default()).unwrap();
        assert_eq!(content(dir.path(), files::CURRENT), kept);
        writer.write(Stream::Stdout, b"new\n");
        let text = content(dir.path(), files::CURRENT);
        assert!(
            text.strip_prefix(kept)
                .unwrap()
                .ends_with(" stdout F new\n")
        );
    }
}

#[test]
fn what_a_full_disk_refuses_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), &LogOptions::default()).unwrap();
    writer.write(Stream::Stdout, b"before\n");
    let file = std::mem::replace(
        &mut writer.file,
        File::options().append(true).open("/dev/full").unwrap(),
    );
    writer.write(Stream::Stdout, b"12\n345");
    writer.write(Stream::Stderr, b"6\n");
    writer.file = file;
    writer.write(Stream::Stdout, b"after\n");
    let text = content(dir.path(), files::CURRENT);
    assert_eq!(
        without_times(&text),
        [
            "stdout F before",
            "stderr F box: 8 bytes of output are missing here: no space left on device",
            "stdout F after"
        ]
    );
}
