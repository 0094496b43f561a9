//! Components that a compiler has much more to do with than their size suggests.

use crate::support::blocking_handler;

/// Answers 204 and nothing: at 64 are the case `ok` (0) and the status.
const ANSWER: &str = r#"(data (i32.const 68) "\cc")"#;

/// `depth` blocks within each other, with a table in each that jumps to all around it: as many edges of
/// control flow as the square of the depth.
pub fn jumps(depth: usize) -> Vec<u8> {
    let mut body = "block ".repeat(depth);
    let targets: Vec<String> = (0..depth).map(|target| target.to_string()).collect();
    for level in (1..=depth).rev() {
        let targets = targets[..level].join(" ");
        body.push_str(&format!("local.get 0 br_table {targets} end\n"));
    }
    with_parts(&format!("(func (param i32) {body})"))
}

/// `count` functions, and none that could be left out.
pub fn functions(count: usize) -> Vec<u8> {
    with_parts(&"(func (param i32) (result i32) local.get 0 i32.ctz)\n".repeat(count))
}

/// One function of `count` steps, each of which needs the one before.
pub fn long_function(count: usize) -> Vec<u8> {
    let steps =
        "local.get 0 i32.const 7 i32.rotl local.get 1 i32.xor local.tee 1 local.set 0\n".repeat(count);
    with_parts(&format!("(func (param i32 i32) (result i32) {steps} local.get 0)"))
}

/// As many blocks within each other.
pub fn nested(depth: usize) -> Vec<u8> {
    with_parts(&format!(
        "(func (param i32) {} local.get 0 br_if 0 {})",
        "block ".repeat(depth),
        "end ".repeat(depth)
    ))
}

fn with_parts(parts: &str) -> Vec<u8> {
    blocking_handler(&format!("{ANSWER} {parts}"), "(i32.const 64)")
}
