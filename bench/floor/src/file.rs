//! A file as its model takes it, as `examples/filetype` makes it: the first and the last bytes, without the
//! blanks around them.

/// Bytes that are taken from either end.
const END: usize = 1024;
/// Stands where the file has no more bytes.
const PADDING: i32 = 256;

/// The row of a file.
pub fn row(file: &[u8]) -> Vec<i32> {
    let mut row = vec![PADDING; 2 * END];
    let begin = file.trim_ascii_start();
    for (at, &byte) in row.iter_mut().zip(begin.iter().take(END)) {
        *at = byte.into();
    }
    let end = file.trim_ascii_end();
    let end = &end[end.len().saturating_sub(END)..];
    let first = 2 * END - end.len();
    for (at, &byte) in row[first..].iter_mut().zip(end) {
        *at = byte.into();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_files_are_filled_up_in_the_middle() {
        let row = row(b" ab ");
        assert_eq!(row[..4], [97, 98, 32, 256]);
        assert_eq!(row[2 * END - 4..], [256, 32, 97, 98]);
    }
}
