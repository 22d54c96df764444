//! Block I/O, on a loop device.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use box_tests::{Home, Outcome};

use crate::{Background, group_file, is_unified, name};

/// A loop device of 16 MiB, backed by a file in the home and detached when dropped.
struct Loop(String);

impl Loop {
    fn new(home: &Home) -> Self {
        let file = home.path().join("disk");
        File::create(&file).unwrap().set_len(16 << 20).unwrap();
        // Another program may take the free one that was found before we do.
        for _ in 0..20 {
            let mut find = Command::new("losetup");
            find.arg("-f");
            let device = Outcome::of(find, b"").succeeds().text().to_owned();
            let mut attach = Command::new("losetup");
            attach.arg(&device).arg(&file);
            if Outcome::of(attach, b"").status == 0 {
                return Self(device);
            }
        }
        panic!("no free loop device");
    }

    /// `7:0`, as the kernel's files name it.
    fn number(&self) -> String {
        let name = PathBuf::from(&self.0).file_name().unwrap().to_owned();
        let file = PathBuf::from("/sys/block").join(name).join("dev");
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let ended = Command::new("losetup").args(["-d", &self.0]).status();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success(), "{} is still in use", self.0);
        }
    }
}

#[test]
fn rates_of_a_device_reach_their_files() {
    let home = Home::with_alpine();
    let disk = Loop::new(&home);
    let number = disk.number();
    for (flag, asked, v1, v2, rate) in [
        ("--device-read-bps", "1m", "read_bps", "rbps", 1 << 20),
        ("--device-write-bps", "2m", "write_bps", "wbps", 2 << 20),
        ("--device-read-iops", "300", "read_iops", "riops", 300),
        ("--device-write-iops", "400", "write_iops", "wiops", 400),
    ] {
        let value = format!("{}:{asked}", disk.0);
        let v1 = format!("blkio/blkio.throttle.{v1}_device");
        let found = group_file(&home, &[flag, &value], &v1, "io.max");
        if is_unified() {
            let expected = format!("{v2}={rate}");
            assert!(
                found.starts_with(&format!("{number} "))
                    && found.split(' ').any(|field| field == expected),
                "{flag}: {found}"
            );
        } else {
            assert_eq!(found, format!("{number} {rate}"), "{flag}");
        }
    }
}

#[test]
fn the_weight_reaches_its_file() {
    let home = Home::with_alpine();
    let file = "for file in /sys/fs/cgroup/io.bfq.weight /sys/fs/cgroup/io.weight \
                /sys/fs/cgroup/blkio/blkio.bfq.weight /sys/fs/cgroup/blkio/blkio.weight; do \
                if [ -e $file ]; then cat $file; exit; fi; done; exit 1";
    let args = ["run", "--rm", "--blkio-weight", "300", "alpine", "sh", "-c"];
    let found = home.run(args.into_iter().chain([file])).succeeds();
    // The general file of v2 has a scale of its own, up to 10,000.
    let number = found.text().rsplit(' ').next().unwrap();
    assert!(["300", "2930"].contains(&number), "{}", found.text());
}

#[test]
fn reading_takes_as_long_as_the_rate_says() {
    let home = Home::with_alpine();
    let disk = Loop::new(&home);
    let rate = format!("{}:2m", disk.0);
    let device = format!("{}:/dev/disk:r", disk.0);
    let flags = ["--device", &device, "--device-read-bps", &rate];
    let mut args = vec!["run", "--rm", "--net", "none"];
    args.extend(flags);
    // 6 MiB at 2 MiB a second; a busy machine takes longer, none less.
    args.extend(["alpine", "dd", "if=/dev/disk", "of=/dev/null", "bs=1M"]);
    args.push("count=6");
    let began = Instant::now();
    home.run(args).succeeds();
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
}

#[test]
fn stats_show_what_was_read_with_and_without_a_limit() {
    let home = Home::with_alpine();
    let disk = Loop::new(&home);
    let device = format!("{}:/dev/disk:r", disk.0);
    let rate = format!("{}:1g", disk.0);
    let limited: [&str; 4] = ["--device", &device, "--device-read-bps", &rate];
    for (test, flags) in [("plain", &limited[..2]), ("limited", &limited[..])] {
        // What an earlier container read must not come from the page cache.
        let mut flush = Command::new("blockdev");
        flush.args(["--flushbufs", &disk.0]);
        Outcome::of(flush, b"").succeeds();
        let name = name(test);
        let script = "dd if=/dev/disk of=/dev/null bs=1M count=8; while :; do sleep 1; done";
        let running = Background::start(&home, &name, flags, script);
        running.until("what it read is shown", || {
            running.stats()["io"]["read"].as_u64() >= Some(8 << 20)
        });
        let table = home.run(["stats", "--no-stream", &name]).succeeds();
        assert!(table.text().contains(" MiB / "), "{}", table.text());
    }
}
