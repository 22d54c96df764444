#![allow(clippy::unwrap_used)]
use super::*;

/// A log whose lines were written at these times.
fn log(parts: &[(&str, u64)]) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let mut output = File::from(create(dir.path()).unwrap());
    let mut times = vec![];
    let mut length = 0u64;
    for (text, time) in parts {
        output.write_all(text.as_bytes()).unwrap();
        length += text.len() as u64;
        times.extend(length.to_le_bytes());
        times.extend(time.to_le_bytes());
    }
    std::fs::write(dir.path().join(TIMES), times).unwrap();
    let log = Log::open(dir.path()).unwrap().unwrap();
    (dir, log)
}

fn all(log: &mut Log) -> String {
    let mut out = vec![];
    log.copy(&mut out).unwrap().unwrap();
    String::from_utf8(out).unwrap()
}

fn query(parts: &[(&str, u64)], query: Query) -> String {
    let (_dir, mut log) = log(parts);
    log.seek(&query).unwrap();
    all(&mut log)
}

const PARTS: &[(&str, u64)] = &[("a\nb\n", 1000), ("c", 2000), ("c\nd\n", 3000), ("e", 4000)];

#[test]
fn tails() {
    let tail = |lines| {
        query(
            PARTS,
            Query {
                tail: Some(lines),
                ..Query::default()
            },
        )
    };
    assert_eq!(
        [tail(0), tail(1), tail(2), tail(3), tail(99)],
        ["", "e", "d\ne", "cc\nd\ne", "a\nb\ncc\nd\ne"]
    );
    let long = "x".repeat(100_000);
    let text = format!("{long}\n{long}\n");
    let end = query(
        &[(&text, 1)],
        Query {
            tail: Some(1),
            ..Query::default()
        },
    );
    assert_eq!(end.len(), 100_001);
}

#[test]
fn since_and_until() {
    let since = |time| {
        query(
            PARTS,
            Query {
                since: Some(time),
                ..Query::default()
            },
        )
    };
    assert_eq!(
        [since(0), since(1000), since(1001), since(2001), since(9000)],
        ["a\nb\ncc\nd\ne", "a\nb\ncc\nd\ne", "cc\nd\ne", "d\ne", ""]
    );
    let until = |time| {
        query(
            PARTS,
            Query {
                until: Some(time),
                ..Query::default()
            },
        )
    };
    assert_eq!(
        [until(999), until(1000), until(3500), until(9000)],
        ["", "a\nb\n", "a\nb\ncc\nd\n", "a\nb\ncc\nd\ne"]
    );
    let both = Query {
        since: Some(1001),
        until: Some(3000),
        tail: Some(1),
    };
    assert_eq!(query(PARTS, both), "d\n");
}

#[test]
fn what_is_not_noted_yet_was_written_last() {
    let seek = |query| {
        let (dir, mut log) = log(PARTS);
        let mut output = File::from(create(dir.path()).unwrap());
        output.write_all(b"\nlate\n").unwrap();
        log.seek(&query).unwrap();
        all(&mut log)
    };
    let since = |time| {
        seek(Query {
            since: Some(time),
            ..Query::default()
        })
    };
    assert_eq!([since(9000), since(u64::MAX)], ["late\n", ""]);
    let until = |time| {
        seek(Query {
            until: Some(time),
            ..Query::default()
        })
    };
    assert_eq!(
        [until(9000), until(u64::MAX)],
        ["a\nb\ncc\nd\ne", "a\nb\ncc\nd\ne\nlate\n"]
    );
}

#[test]
fn lines_have_times() {
    let (_dir, mut log) = log(PARTS);
    let mut seen = vec![];
    let mut each = |line: Line<'_>| {
        seen.push((String::from_utf8_lossy(line.bytes).into_owned(), line.time));
        Ok(())
    };
    log.lines(false, &mut each).unwrap().unwrap();
    log.lines(true, &mut each).unwrap().unwrap();
    let expected = [
        ("a\n", 1000),
        ("b\n", 1000),
        ("cc\n", 2000),
        ("d\n", 3000),
        ("e", 4000),
    ];
    assert_eq!(seen, expected.map(|(text, time)| (text.to_owned(), time)));
}

#[test]
fn the_recorder_notes_growth() {
    let (dir, mut log) = log(&[]);
    let mut recorder = Recorder::open(dir.path()).unwrap();
    assert!(!recorder.note().unwrap());
    let mut output = File::from(create(dir.path()).unwrap());
    output.write_all(b"hi\n").unwrap();
    assert!(recorder.note().unwrap());
    assert!(!recorder.note().unwrap());
    let mut count = 0;
    log.lines(true, &mut |line| {
        count += 1;
        assert!(line.time > 1_600_000_000_000);
        Ok(())
    })
    .unwrap()
    .unwrap();
    assert_eq!(count, 1);
    assert!(!log.wait(Duration::from_millis(1)).unwrap());
    output.write_all(b"more\n").unwrap();
    assert!(log.wait(Duration::from_secs(10)).unwrap());
    assert_eq!(all(&mut log), "more\n");
}

#[test]
fn half_a_note_does_not_count() {
    let (dir, _log) = log(PARTS);
    let bytes = std::fs::read(dir.path().join(TIMES)).unwrap();
    std::fs::write(dir.path().join(TIMES), &bytes[..bytes.len() - 3]).unwrap();
    let mut log = Log::open(dir.path()).unwrap().unwrap();
    // When the last part was written is not known, so it may be what is looked for.
    log.seek(&Query {
        since: Some(4000),
        ..Query::default()
    })
    .unwrap();
    assert_eq!(all(&mut log), "e");
}
