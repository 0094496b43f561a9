//! Embeds the templates and the SDK anew when a file is added to them: the macro that embeds them
//! makes cargo see changed files, and not new ones.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for embedded in ["templates", "src", "macros", "Cargo.toml"] {
        println!("cargo::rerun-if-changed=../../guest-sdk/{embedded}");
    }
    println!("cargo::rerun-if-changed=../../wit");
}
