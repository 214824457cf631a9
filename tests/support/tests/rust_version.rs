//! The minimum Rust version in `Cargo.toml` holds for all that the library is built from.

use std::collections::HashMap;
use std::process::Command;

use serde_json::Value;

#[test]
fn no_dependency_asks_for_a_newer_rust() {
    let metadata = metadata();
    let packages = by_id(&metadata["packages"]);
    let nodes = by_id(&metadata["resolve"]["nodes"]);

    let library = packages.values().find(|package| package["name"] == "tower-redis-kit");
    let library = library.expect("the library is among the packages");
    let minimum = rust_version(library).expect("Cargo.toml has a rust-version");

    let mut seen = vec![text(&library["id"])];
    let mut at = 0;
    while let Some(&id) = seen.get(at) {
        at += 1;
        for dependency in array(&nodes[id]["deps"]).iter().filter(|dependency| is_built(dependency))
        {
            let id = text(&dependency["pkg"]);
            if !seen.contains(&id) {
                seen.push(id);
            }
        }
    }
    assert!(seen.len() > 20, "only {} packages found", seen.len());

    let newer: Vec<_> = seen
        .iter()
        .map(|id| packages[id])
        .filter(|package| rust_version(package).is_some_and(|version| version > minimum))
        .map(|package| format!("{} {}", package["name"], package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "these need a newer Rust than {minimum:?}: {newer:#?}");
}

fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--all-features"])
        .args(["--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Whether this entry of a package's `deps` is compiled with it, other than for its tests.
fn is_built(dependency: &Value) -> bool {
    array(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev")
}

fn by_id(list: &Value) -> HashMap<&str, &Value> {
    array(list).iter().map(|item| (text(&item["id"]), item)).collect()
}

/// `1.88` as `[1, 88, 0]`.
fn rust_version(package: &Value) -> Option<[u64; 3]> {
    let mut parts = package["rust_version"].as_str()?.split('.').map(|part| part.parse().ok());
    let mut next = || parts.next().unwrap_or(Some(0)).expect("a version is numbers");
    Some([next(), next(), next()])
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
