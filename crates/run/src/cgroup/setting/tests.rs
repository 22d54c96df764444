#![allow(clippy::unwrap_used)]
use super::list::{size, weight_of_shares};
use super::*;

fn both(json: &str) -> (Vec<String>, Vec<String>) {
    let resources: LinuxResources = serde_json::from_str(json).unwrap();
    let lines = |settings: Vec<Setting>| {
        let line = |one: &Setting| {
            let ways: Vec<String> = one
                .ways
                .iter()
                .map(|(file, value)| format!("{file}={value}"))
                .collect();
            let mark = match one.need {
                Need::Asked => "",
                Need::Default => "?",
                Need::Quiet => "~",
            };
            format!("{mark}{}", ways.join("|"))
        };
        settings.iter().map(line).collect()
    };
    (lines(legacy(&resources)), lines(unified(&resources)))
}

#[test]
fn memory() {
    let (v1, v2) = both(r#"{"memory":{"limit":1024,"swap":3072,"reservation":512}}"#);
    assert_eq!(
        v1,
        [
            "memory.limit_in_bytes=1024",
            "memory.memsw.limit_in_bytes=3072",
            "memory.soft_limit_in_bytes=512"
        ]
    );
    assert_eq!(
        v2,
        [
            "memory.max=1024",
            "~memory.oom.group=1",
            "memory.swap.max=2048",
            "memory.low=512"
        ]
    );
    let (v1, v2) = both(r#"{"memory":{"limit":-1,"swap":-1}}"#);
    assert_eq!(
        v1,
        ["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"]
    );
    assert_eq!(
        v2,
        [
            "memory.max=max",
            "~memory.oom.group=1",
            "memory.swap.max=max"
        ]
    );
    let (v1, v2) = both(r#"{"memory":{"limit":1024,"swap":2048}}"#);
    assert_eq!(
        v1[1], "~memory.memsw.limit_in_bytes=2048",
        "twice the limit is what nobody asked for"
    );
    assert_eq!(v2[2], "~memory.swap.max=1024");
    let (_, v2) = both(r#"{"memory":{"swappiness":10}}"#);
    assert_eq!(v2, [""], "v2 has no such file");
}

#[test]
fn cpu() {
    let (v1, v2) =
        both(r#"{"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0-1","mems":"0"}}"#);
    assert_eq!(
        v1,
        [
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0"
        ]
    );
    assert_eq!(
        v2,
        [
            "cpu.weight=100",
            "cpu.max=50000 100000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0"
        ]
    );
    assert_eq!(both(r#"{"cpu":{"quota":-1}}"#).1, ["cpu.max=max 100000"]);
}

#[test]
fn weights_survive_the_way_through_shares() {
    for weight in 1..=10_000 {
        assert_eq!(weight_of_shares(shares_of_weight(weight)), weight);
    }
    assert_eq!(shares_of_weight(100), 1024);
}

#[test]
fn pids_and_huge_pages() {
    let (v1, v2) = both(r#"{"pids":{"limit":7},"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#);
    assert_eq!(v1, ["pids.max=7", "hugetlb.2MB.limit_in_bytes=0"]);
    assert_eq!(v2, ["pids.max=7", "hugetlb.2MB.max=0"]);
    assert_eq!(both(r#"{"pids":{"limit":-1}}"#).0, ["pids.max=max"]);
    assert_eq!(both(r#"{"pids":{"limit":0}}"#).1, ["pids.max=max"]);
}

#[test]
fn block_io() {
    let (v1, v2) = both(
        r#"{"blockIO":{"weight":500,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576}],
            "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":100}]}}"#,
    );
    assert_eq!(
        v1,
        [
            "blkio.bfq.weight=500|blkio.weight=500",
            "blkio.throttle.read_bps_device=8:0 1048576",
            "blkio.throttle.write_iops_device=8:16 100"
        ]
    );
    assert_eq!(
        v2,
        [
            "io.bfq.weight=500|io.weight=4950",
            "io.max=8:0 rbps=1048576",
            "io.max=8:16 wiops=100"
        ]
    );
}

#[test]
fn files_of_v2_are_taken_literally_but_stay_in_the_group() {
    let (v1, v2) = both(r#"{"unified":{"memory.high":"1000"}}"#);
    assert_eq!(
        (v1, v2),
        (vec![String::new()], vec!["memory.high=1000".to_owned()])
    );
    for name in ["../x", "a/b", "..", "."] {
        assert_eq!(
            both(&format!(r#"{{"unified":{{"{name}":"1"}}}}"#)).1,
            [""],
            "{name}"
        );
    }
}

#[test]
fn sizes_are_written_as_people_say_them() {
    assert_eq!(size(64 << 20), "64.0 MiB");
    assert_eq!(size(1536), "1.5 KiB");
    assert_eq!(size(-1), "unlimited");
}
