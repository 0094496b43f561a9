//! Components written as text, for what no compiler would make.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::repository;

/// The signature that a module's export of `blocking-handler.handle` has: its parameters are too
/// many to be flat, so that it gets and gives a pointer.
const HANDLE: &str = "modelet:handler/blocking-handler@0.1.0#handle";

/// A component of the world `blocking-function` around one core module.
///
/// `parts` stands in the module beside its memory and its allocator, and `handle` is the body of a
/// function that gets and gives a pointer.
pub fn blocking_handler(parts: &str, handle: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {parts}
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.set $free (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
            (func (export "{HANDLE}") (param i32) (result i32) {handle}))"#
    );
    let mut module = wat::parse_str(&text).expect("the module is valid text");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit")).expect("the contract can be read");
    let world =
        resolve.select_world(&[package], Some("blocking-function")).expect("the contract has this world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("the module can say which world it is for");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .expect("the module fits the world")
}

/// The smallest handler: 204 and nothing. `salt` makes components that differ.
pub fn noop_handler(salt: u64) -> Vec<u8> {
    // At 64: the case `ok` (0), then status 204, no headers and no body.
    let parts = format!(r#"(global i64 (i64.const {salt})) (data (i32.const 68) "\cc")"#);
    blocking_handler(&parts, "(i32.const 64)")
}
