//! Builds the store again when a migration is added or changed; it must never do more.
fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
