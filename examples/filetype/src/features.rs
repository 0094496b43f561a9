//! What the model sees of a file: its first bytes from the first that is not white space on, and its
//! last bytes up to the last that is not.
//!
//! The rules are those of version 3.3 of the model's package (feature extraction v2 in its own
//! words). Knows nothing of types.

use crate::package::{BEGINNING, BLOCK, END, ENOUGH_BYTES, PADDING};

/// Numbers in one row of the model's input.
pub const WIDTH: usize = BEGINNING + END;

/// What can be told from a file's bytes.
#[derive(Debug, PartialEq)]
pub enum Features {
    /// There are none.
    Empty,
    /// Too few for the model: all that matters is whether they are UTF-8.
    Few {
        /// Whether they are.
        is_text: bool,
    },
    /// A row for the model: `[2048] i32`, bytes or padding.
    Row(Vec<i32>),
}

/// Looks at no more than the first and the last 4,096 bytes.
pub fn extract(file: &[u8]) -> Features {
    if file.is_empty() {
        return Features::Empty;
    }
    let read = file.len().min(BLOCK);
    let (head, tail) = (&file[..read], &file[file.len() - read..]);
    let beginning = trim_start(head);
    if beginning.len() < ENOUGH_BYTES {
        return Features::Few { is_text: std::str::from_utf8(head).is_ok() };
    }

    let beginning = &beginning[..beginning.len().min(BEGINNING)];
    let end = trim_end(tail);
    let end = &end[end.len().saturating_sub(END)..];
    // The beginning is padded behind itself and the end before itself, so both keep their edges.
    let mut row = vec![PADDING; WIDTH];
    fill(&mut row[..beginning.len()], beginning);
    fill(&mut row[WIDTH - end.len()..], end);
    Features::Row(row)
}

fn fill(row: &mut [i32], bytes: &[u8]) {
    for (value, &byte) in row.iter_mut().zip(bytes) {
        *value = i32::from(byte);
    }
}

/// As the model's trainers understood it, which is Python's: with the vertical tab, which
/// `u8::is_ascii_whitespace` leaves out.
fn is_white(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_white(byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_white(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(file: &[u8]) -> Vec<i32> {
        match extract(file) {
            Features::Row(row) => row,
            other => panic!("{other:?} is no row"),
        }
    }

    #[test]
    fn pads_a_short_file_on_the_inner_sides() {
        let row = row(b" \x0b#!/bin/sh\n");
        // White space is taken from the outer sides only.
        assert_eq!(row[..10], b"#!/bin/sh\n".map(i32::from));
        assert_eq!(row[WIDTH - 11..], b" \x0b#!/bin/sh".map(i32::from));
        assert!(row[10..WIDTH - 11].iter().all(|&value| value == PADDING));
    }

    #[test]
    fn takes_both_edges_of_a_long_file() {
        let file: Vec<u8> = (0..20_000_u32).map(|at| 33 + (at % 90) as u8).collect();
        let row = row(&file);
        assert!(row[..BEGINNING].iter().zip(&file).all(|(&seen, &byte)| seen == i32::from(byte)));
        assert!(
            row.iter().rev().zip(file.iter().rev()).take(END).all(|(&seen, &byte)| seen == i32::from(byte))
        );
    }

    #[test]
    fn asks_no_model_about_too_few_bytes() {
        assert_eq!(extract(b""), Features::Empty);
        assert_eq!(extract(b"1234567"), Features::Few { is_text: true });
        assert_eq!(extract(b" \t\x0b\n  1234567"), Features::Few { is_text: true });
        assert_eq!(extract(b"\xff\xfe"), Features::Few { is_text: false });
        assert!(matches!(extract(b"12345678"), Features::Row(_)));
    }

    #[test]
    fn white_space_beyond_a_block_hides_the_rest_of_the_beginning() {
        let mut file = vec![b' '; BLOCK - 3];
        file.extend(b"print('hello')");
        assert_eq!(extract(&file), Features::Few { is_text: true });
    }
}
