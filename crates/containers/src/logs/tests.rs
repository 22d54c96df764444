#![allow(clippy::unwrap_used)]
use super::record::prefix;
use super::*;
use Stream::{Stderr, Stdout};

/// A log of these records: seconds since 1970, stream, text; what ends with a line break ends a line.
fn log(parts: &[(u64, Stream, &str)]) -> (tempfile::TempDir, Log) {
    let mut text = vec![];
    for (seconds, stream, part) in parts {
        let line = part.strip_suffix('\n');
        let time = stamp(seconds * 1_000_000_000);
        text.extend(prefix(&time, *stream, line.is_some()));
        text.extend(line.unwrap_or(part).as_bytes());
        text.push(b'\n');
    }
    from_bytes(&text)
}

fn from_bytes(text: &[u8]) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
    std::fs::write(Log::path(dir.path()), text).unwrap();
    let log = Log::open(dir.path(), &LogOptions::default()).unwrap();
    (dir, log.unwrap())
}

/// What each stream has.
fn both(log: &mut Log) -> [String; 2] {
    let mut texts = [String::new(), String::new()];
    log.read(&mut |record| {
        let text = &mut texts[record.stream as usize];
        text.push_str(std::str::from_utf8(record.text).unwrap());
        if record.complete {
            text.push('\n');
        }
        Ok(())
    })
    .unwrap()
    .unwrap();
    texts
}

fn asked(parts: &[(u64, Stream, &str)], query: Query) -> [String; 2] {
    let (_dir, mut log) = log(parts);
    log.seek(&query).unwrap();
    both(&mut log)
}

fn tail(parts: &[(u64, Stream, &str)], lines: u64) -> [String; 2] {
    let tail = Some(lines);
    asked(
        parts,
        Query {
            tail,
            ..Query::default()
        },
    )
}

const PARTS: &[(u64, Stream, &str)] = &[
    (1, Stdout, "a\n"),
    (1, Stdout, "b"),
    (2, Stderr, "e"),
    (2, Stdout, "b\n"),
    (3, Stdout, "c\n"),
    (3, Stderr, "e\n"),
    (4, Stdout, "d"),
];

#[test]
fn the_streams_are_apart() {
    let (_dir, mut log) = log(PARTS);
    assert_eq!(both(&mut log), ["a\nbb\nc\nd", "ee\n"]);
    assert_eq!(both(&mut log), ["", ""]);
}

#[test]
fn the_last_lines_are_whole_in_whatever_midst_they_are() {
    for (lines, out, err) in [
        (0, "", ""),
        (1, "d", ""),
        (2, "d", "ee\n"),
        (3, "c\nd", "ee\n"),
        (4, "bb\nc\nd", "ee\n"),
        (5, "a\nbb\nc\nd", "ee\n"),
        (99, "a\nbb\nc\nd", "ee\n"),
    ] {
        assert_eq!(tail(PARTS, lines), [out, err], "{lines}");
    }
}

#[test]
fn the_last_lines_of_a_log_longer_than_the_buffer() {
    let long = "x".repeat(10_000);
    let mut parts = vec![(1, Stderr, "first"), (1, Stdout, "second\n")];
    parts.extend(std::iter::repeat_n((2, Stdout, long.as_str()), 100));
    parts.extend([(3, Stdout, "\n"), (3, Stderr, "\n"), (4, Stdout, "end\n")]);
    let line = "x".repeat(1_000_000) + "\n";
    assert_eq!(tail(&parts, 1), ["end\n".to_owned(), String::new()]);
    assert_eq!(tail(&parts, 2), ["end\n".to_owned(), "first\n".to_owned()]);
    assert_eq!(
        tail(&parts, 3),
        [line.clone() + "end\n", "first\n".to_owned()]
    );
    assert_eq!(
        tail(&parts, 4),
        [
            "second\n".to_owned() + &line + "end\n",
            "first\n".to_owned()
        ]
    );
}

#[test]
fn since_and_until() {
    let since = |seconds: u64| Query {
        since: Some(seconds * 1_000_000_000),
        ..Query::default()
    };
    let until = |seconds: u64| Query {
        until: Some(seconds * 1_000_000_000),
        ..Query::default()
    };
    assert_eq!(asked(PARTS, since(0)), ["a\nbb\nc\nd", "ee\n"]);
    assert_eq!(asked(PARTS, since(3)), ["c\nd", "e\n"]);
    assert_eq!(asked(PARTS, since(5)), ["", ""]);
    assert_eq!(asked(PARTS, until(0)), ["", ""]);
    assert_eq!(asked(PARTS, until(1)), ["a\nb", ""]);
    let last = Query {
        tail: Some(1),
        ..until(3)
    };
    assert_eq!(asked(PARTS, last), ["", "ee\n"]);
    // A clock that was set back hides nothing.
    let parts = [(9, Stdout, "a\n"), (5, Stdout, "b\n"), (9, Stdout, "c\n")];
    assert_eq!(asked(&parts, since(6))[0], "a\nc\n");
    let last = Query {
        tail: Some(2),
        ..since(6)
    };
    assert_eq!(asked(&parts, last)[0], "a\nc\n");
}

#[test]
fn what_is_no_record_is_left_out() {
    let (_dir, mut good) = log(&[(1, Stdout, "good\n")]);
    let mut record = vec![];
    good.read(&mut |found| {
        record.extend(prefix(found.time, found.stream, found.complete));
        record.extend(found.text);
        record.push(b'\n');
        Ok(())
    })
    .unwrap()
    .unwrap();
    let huge = vec![b'x'; 3 * BUFFER];
    let nothing = vec![0; 2 * BUFFER + 17];
    for garbage in [&b"garbage\n"[..], b"\n\n", b"\0\0\n", &huge, &nothing] {
        let mut text = record.clone();
        text.extend(garbage);
        if !garbage.ends_with(b"\n") {
            // The end of the line that is no record is dropped with it, although it looks like one.
            text.extend(&record);
        }
        text.extend(&record);
        let (_dir, mut log) = from_bytes(&text);
        assert_eq!(both(&mut log)[0], "good\ngood\n");
        log.file = None;
        log.offset = 0;
        let tail = Some(2);
        log.seek(&Query {
            tail,
            ..Query::default()
        })
        .unwrap();
        assert_eq!(both(&mut log)[0], "good\ngood\n");
    }
}

#[test]
fn half_a_record_at_the_end_is_waited_for() {
    let (dir, mut log) = log(&[(1, Stdout, "a\n")]);
    let add = |text: &[u8]| {
        let mut file = File::options()
            .append(true)
            .open(Log::path(dir.path()))
            .unwrap();
        io::Write::write_all(&mut file, text).unwrap();
    };
    let mut record = prefix(&stamp(0), Stdout, true).to_vec();
    record.extend(b"b\n");
    add(&record[..20]);
    assert_eq!(both(&mut log)[0], "a\n");
    add(&record[20..]);
    assert_eq!(both(&mut log)[0], "b\n");
}

/// A log of a kilobyte, which goes on from file to file all the time.
#[test]
fn a_reader_follows_from_file_to_file() {
    for max_files in [1, 4] {
        let dir = tempfile::tempdir().unwrap();
        let settings = LogOptions {
            max_size: MaxSize::Bytes(1024),
            max_files,
            ..LogOptions::default()
        };
        let mut writer = Writer::open(dir.path(), &settings).unwrap();
        let mut log = Log::open(dir.path(), &settings).unwrap().unwrap();
        let mut followed = String::new();
        let mut written = String::new();
        for number in 0..500 {
            let line = format!("{number} {}\n", "x".repeat(number % 90));
            writer.write(Stdout, line.as_bytes());
            written.push_str(&line);
            // Not at each turn, so that some files are passed.
            if number % 3 == 0 {
                followed.push_str(&both(&mut log)[0]);
            }
        }
        followed.push_str(&both(&mut log)[0]);
        assert_eq!(followed, written);
        // One that comes late finds the newest part, from a whole line on.
        let mut late = Log::open(dir.path(), &settings).unwrap().unwrap();
        let kept = both(&mut late)[0].clone();
        assert!(
            written.ends_with(&format!("\n{kept}")) && kept.len() > 300,
            "{kept}"
        );
        let mut late = Log::open(dir.path(), &settings).unwrap().unwrap();
        late.seek(&Query {
            tail: Some(7),
            ..Query::default()
        })
        .unwrap();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(
            both(&mut late)[0].lines().collect::<Vec<_>>(),
            lines[lines.len() - 7..]
        );
        // One that was away too long goes on with the oldest that there is.
        let mut slow = Log::open(dir.path(), &settings).unwrap().unwrap();
        slow.seek_to_end().unwrap();
        for _ in 0..100 {
            writer.write(Stdout, b"again, and a little longer than nothing\n");
        }
        let found = both(&mut slow)[0].clone();
        assert!(!found.is_empty() && found.lines().all(|line| line.starts_with("again")));
    }
}

#[test]
fn a_container_that_writes_faster_than_this_reads_does_not_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = LogOptions {
        max_size: MaxSize::Bytes(1024),
        ..LogOptions::default()
    };
    let mut writer = Writer::open(dir.path(), &settings).unwrap();
    writer.write(Stdout, b"begun\n");
    let mut log = Log::open(dir.path(), &settings).unwrap().unwrap();
    let mut count = 0;
    log.read(&mut |_| {
        count += 1;
        assert!(count < 1000);
        writer.write(Stdout, &[b'x'; 400]);
        Ok(())
    })
    .unwrap()
    .unwrap();
    assert!(count > 0);
    // What came meanwhile is there the next time.
    assert!(both(&mut log)[0].contains("xxx"));
}

#[test]
fn a_rotation_that_was_broken_off_hides_nothing() {
    let (dir, _) = log(&[(1, Stdout, "new\n")]);
    let settings = LogOptions {
        max_size: MaxSize::Bytes(1 << 20),
        max_files: 5,
        ..LogOptions::default()
    };
    let current = Log::path(dir.path());
    let name = |end: &str| PathBuf::from(format!("{}.{end}", current.display()));
    // ctr.log became ctr.log.1, and ctr.log.next was not renamed yet.
    std::fs::rename(&current, name("1")).unwrap();
    std::fs::write(name("next"), "").unwrap();
    let (other, _) = log(&[(0, Stdout, "old\n")]);
    std::fs::copy(Log::path(other.path()), name("3")).unwrap();
    let mut log = Log::open(dir.path(), &settings).unwrap().unwrap();
    assert_eq!(both(&mut log)[0], "old\nnew\n");
    let mut writer = Writer::open(dir.path(), &settings).unwrap();
    writer.write(Stdout, b"next\n");
    assert_eq!(both(&mut log)[0], "next\n");
}

#[test]
fn a_log_in_the_older_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Log::open(dir.path(), &LogOptions::default())
            .unwrap()
            .is_none()
    );
    std::fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
    assert!(
        Log::open(dir.path(), &LogOptions::default())
            .unwrap()
            .is_none()
    );
    std::fs::write(dir.path().join("log/output"), "text").unwrap();
    let error = Log::open(dir.path(), &LogOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("log/output"), "{error}");
}
