//! `box images`, `box rmi`, `box inspect`, `box version`.

use box_tests::Home;

#[test]
fn listings_have_stable_fields() {
    let home = Home::new();
    assert_eq!(
        home.run(["images", "--format", "json"]).succeeds().json(),
        serde_json::json!([])
    );
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let images = home.run(["images", "--format", "json"]).succeeds().json();
    let image = &images[0];
    let fields: Vec<&String> = image.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "digest",
            "fetched",
            "platform",
            "reference",
            "size",
            "url",
            "verified",
            "version"
        ]
    );
    assert_eq!(image["reference"], "alpine:3.20");
    assert_eq!(image["version"], "3.20.3");
    assert!(
        image["url"].as_str().unwrap().ends_with(".tar.gz"),
        "{image}"
    );
    assert!(image["fetched"].as_str().unwrap().ends_with('Z'), "{image}");
    let table = home.run(["images"]).succeeds();
    assert!(
        table.text().contains("alpine:3.20") && table.text().contains("3.20.3"),
        "{}",
        table.text()
    );
    assert!(table.text().contains("minirootfs"), "{}", table.text());
    let chosen = home
        .run(["images", "--format", "version,reference"])
        .succeeds();
    assert_eq!(chosen.text(), "3.20.3\talpine:3.20");
    home.run(["images", "--format", "colour"])
        .fails(&["colour"])
        .hints(&["reference"]);
    let quiet = home.run(["images", "-q"]).succeeds();
    assert_eq!(quiet.text(), image["digest"].as_str().unwrap());
}

#[test]
fn inspect_shows_config_and_layers() {
    let home = Home::new();
    home.run(["pull", "-q", "alpine:3.20"]).succeeds();
    let image = &home.run(["inspect", "alpine:3.20"]).succeeds().json()[0];
    assert_eq!(image["kind"], "image");
    assert_eq!(
        image["config"]["config"]["Cmd"],
        serde_json::json!(["/bin/sh"])
    );
    assert_eq!(image["config"]["os"], "linux");
    assert_eq!(
        image["config"]["rootfs"]["diff_ids"][0],
        image["layers"][0]["diff_id"]
    );
    home.run(["inspect", "alpine:9.99"])
        .fails(&["alpine:9.99"])
        .hints(&["box images"]);
}

#[test]
fn a_removed_image_is_gone_and_can_be_pulled_again() {
    let home = Home::with_alpine();
    home.run([
        "run",
        "--name",
        "kept",
        "alpine",
        "sh",
        "-c",
        "echo mine > /file",
    ])
    .succeeds();
    home.run(["rmi", "alpine"]).succeeds();
    assert_eq!(home.run(["images", "-q"]).succeeds().text(), "");
    home.run(["run", "--rm", "--offline", "alpine", "true"])
        .fails(&["alpine"]);
    home.run(["rmi", "alpine"])
        .fails(&["alpine:latest"])
        .hints(&["box images"]);
    home.run(["rmi", "-f", "alpine"]).succeeds();
    // A kept container does not lose its files.
    home.run(["start", "-a", "kept"]).succeeds();
    home.run(["run", "--rm", "alpine", "true"]).succeeds();
    home.run(["rm", "kept"]).succeeds();
}

#[test]
fn the_version_is_told() {
    let home = Home::new();
    let line = home.run(["version"]).succeeds();
    assert!(line.text().starts_with("box "), "{}", line.text());
    let json = home.run(["version", "--format", "json"]).succeeds().json();
    assert!(line.text().contains(json["version"].as_str().unwrap()));
    assert!(
        home.run(["--version"])
            .succeeds()
            .text()
            .starts_with("box ")
    );
}
