//! `cfg(loom)` for this package alone: as a flag for all, it would change other crates too.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
