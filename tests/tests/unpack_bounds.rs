//! `box unpack` of archives that exceed limits, with 64 MiB for all allocations of the process, stacks included.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use box_tests::{Home, Outcome, behind};
use flate2::Compression;
use flate2::write::GzEncoder;

/// RLIMIT_DATA in KiB: it bounds private writable memory of every kind, setrlimit(2).
const MEMORY: &str = "ulimit -d 65536; exec \"$@\"";

/// Half of it.
const LITTLE: &str = "ulimit -d 32768; exec \"$@\"";

/// Runs `box unpack` with the bound.
fn unpack(home: &Home, args: &[&str]) -> Outcome {
    unpack_with(home, MEMORY, args)
}

fn unpack_with(home: &Home, memory: &str, args: &[&str]) -> Outcome {
    let command = home.command([&["unpack"], args].concat());
    Outcome::of(behind(memory, &command), b"")
}

fn member(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A header of this type with this size.
fn header(kind: tar::EntryType, size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path("large").unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A gzip archive of one header followed by this many copies of one byte, in members of 16 MiB.
fn write_large(home: &Home, name: &str, kind: tar::EntryType, size: u64, byte: u8) {
    const PART: u64 = 16 << 20;
    let mut file = fs::File::create(home.path().join(name)).unwrap();
    file.write_all(&member(&header(kind, size))).unwrap();
    let part = member(&vec![byte; PART as usize]);
    for _ in 0..size / PART {
        file.write_all(&part).unwrap();
    }
    file.write_all(&member(&[0; 1024])).unwrap();
}

#[test]
fn a_bomb_of_10_gib() {
    let home = Home::new();
    write_large(&home, "bomb.tar.gz", tar::EntryType::Regular, 10 << 30, 0);
    unpack(&home, &["./bomb.tar.gz", "dir"])
        .fails(&["\"large\" at byte 0", "limit ratio exceeded"]);
    unpack(
        &home,
        &[
            "--limit",
            "ratio=1M",
            "--limit",
            "bytes=1G",
            "./bomb.tar.gz",
            "dir",
        ],
    )
    .fails(&["\"large\" at byte 0", "limit bytes exceeded"]);
    // Where somebody wants it, it is unpacked: a large file needs no more memory than a small one.
    write_large(&home, "large.tar.gz", tar::EntryType::Regular, 256 << 20, 0);
    unpack(&home, &["--limit", "ratio=1M", "./large.tar.gz", "dir"]).succeeds();
    assert_eq!(
        fs::metadata(home.path().join("dir/large")).unwrap().len(),
        256 << 20
    );
}

#[test]
fn extended_headers_of_1_gib() {
    let home = Home::new();
    for kind in [
        tar::EntryType::XHeader,
        tar::EntryType::XGlobalHeader,
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
    ] {
        write_large(&home, "header.tar.gz", kind, 1 << 30, b'a');
        unpack(&home, &["./header.tar.gz", "dir"]).fails(&["limit header exceeded"]);
    }
    assert!(!home.path().join("dir").exists());
}

#[test]
fn a_hundred_thousand_entries_in_a_directory_that_is_replaced_at_the_end() {
    let home = Home::new();
    let file = fs::File::create(home.path().join("many.tar")).unwrap();
    let mut builder = tar::Builder::new(std::io::BufWriter::new(file));
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(0);
    for number in 0..100_000 {
        // Directories are the ones that have to be gone into.
        let kind = match number % 20 {
            0 => tar::EntryType::Regular,
            _ => tar::EntryType::Directory,
        };
        header.set_entry_type(kind);
        let name = format!("many/{number}-{}", "n".repeat(80));
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    builder.into_inner().unwrap().flush().unwrap();
    let archive = fs::read(home.path().join("many.tar")).unwrap();
    let flat = {
        let mut builder = tar::Builder::new(Vec::new());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(4);
        builder
            .append_data(&mut header, "many", &b"flat"[..])
            .unwrap();
        builder.into_inner().unwrap()
    };
    let replaced = [&archive[..archive.len() - 1024], &flat].concat();
    fs::write(home.path().join("replaced.tar"), replaced).unwrap();
    // In memory: file systems on disks are slow at so many files just after others were removed.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = memory.path().join("dir");
    let dir = dir.to_str().unwrap();
    unpack(&home, &["./many.tar", dir]).succeeds();
    let listing = fs::read_dir(memory.path().join("dir/many")).unwrap();
    assert_eq!(listing.count(), 100_000);
    let dir = format!("{dir}-replaced");
    unpack(&home, &["./replaced.tar", &dir]).succeeds();
    assert_eq!(fs::read(Path::new(&dir).join("many")).unwrap(), b"flat");
}

#[test]
fn more_names_in_a_directory_than_fit_into_the_memory() {
    const NAMES: usize = 150_000;
    let home = Home::new();
    let file = fs::File::create(home.path().join("many.tar.gz")).unwrap();
    let mut builder = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(0);
    for number in 0..NAMES {
        let name = format!("{number}-{}", "n".repeat(240));
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let dir = memory.path().join("found");
    // The unpacked files are moved up into an existing directory.
    fs::create_dir(&dir).unwrap();
    unpack_with(&home, LITTLE, &["./many.tar.gz", dir.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read_dir(dir).unwrap().count(), NAMES);
}

#[test]
fn two_thousand_levels() {
    let home = Home::new();
    let mut builder = tar::Builder::new(Vec::new());
    let deep = format!("{}f", "d/".repeat(2000));
    let record = format!("{} path={deep}\n", deep.len() + 11);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_path("x").unwrap();
    header.set_size(record.len() as u64);
    header.set_cksum();
    builder.append(&header, record.as_bytes()).unwrap();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(4);
    header.set_cksum();
    builder.append(&header, &b"deep"[..]).unwrap();
    fs::write(home.path().join("deep.tar"), builder.into_inner().unwrap()).unwrap();
    unpack(&home, &["./deep.tar", "dir"])
        .fails(&["limit depth exceeded: 2001, the maximum is 1024"]);
    assert!(!home.path().join("dir").exists());
    unpack(&home, &["--limit", "depth=3000", "./deep.tar", "dir"]).succeeds();
    // Longer than a path may be for the host: looked at from the middle.
    let half = home.path().join("dir").join("d/".repeat(1000));
    let mut cat = Command::new("sh");
    cat.args(["-ec", &format!("cd {}; cat f", "d/".repeat(1000))])
        .current_dir(half);
    assert_eq!(cat.output().unwrap().stdout, b"deep");
    let mut remove = Command::new("rm");
    assert!(
        remove
            .arg("-r")
            .arg(home.path().join("dir"))
            .status()
            .unwrap()
            .success()
    );
}

/// The lines of a trace of these system calls; the command itself may fail.
fn traced(home: &Home, calls: &str, args: &[&str]) -> Vec<String> {
    let log = home.path().join("trace");
    let script = format!(
        "exec strace -f -qq -e signal=none -e trace={calls} -o {} \"$@\"",
        log.display()
    );
    let command = home.command([&["unpack"], args].concat());
    Outcome::of(behind(&script, &command), b"");
    let trace = fs::read_to_string(log).unwrap();
    trace.lines().map(str::to_owned).collect()
}

#[test]
fn a_deep_directory_that_is_only_implied_is_found_from_its_end() {
    const NAMES: usize = 100;
    let home = Home::new();
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..NAMES {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        let path = format!("{}e{number}/f", "d/".repeat(1000));
        builder
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
    }
    fs::write(home.path().join("deep.tar"), builder.into_inner().unwrap()).unwrap();
    let lookups = traced(&home, "openat2", &["./deep.tar", "dir"]).len();
    assert!(home.path().join("dir/d/d/d").is_dir());
    // Up the thousand levels once, and some for each name; from the top it would be a thousand for each.
    assert!((NAMES..5000).contains(&lookups), "{lookups} lookups");
}

#[test]
fn room_is_not_made_for_what_a_header_only_claims() {
    let home = Home::new();
    let claims = header(tar::EntryType::Regular, 8 << 30);
    fs::write(home.path().join("claims.tar"), claims).unwrap();
    let calls = traced(&home, "fallocate", &["./claims.tar", "dir"]);
    let lengths: Vec<u64> = calls
        .iter()
        .filter_map(|call| call.split(", ").nth(3)?.split(')').next()?.parse().ok())
        .collect();
    assert_eq!(lengths, [64 << 20], "{calls:?}");
}
