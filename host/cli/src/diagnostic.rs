//! A mistake in a file that a person wrote, shown with the line it stands on.
//!
//! Knows text, spans and TOML's errors; not what the file is for.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::{fmt, fs, io};

/// The least likeness, from 0 to 1, at which another word is worth suggesting.
const LIKENESS: f64 = 0.75;
/// The longest part of a line that is shown, in characters: golden tensors make very long lines.
const MAX_SHOWN: usize = 100;

/// A mistake at a place in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path of the entry, such as `limits.memory_bytes`, where it is known.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// The part of the line that is shown, and the characters of it that are marked.
    excerpt: (String, Range<usize>),
}

impl std::error::Error for Diagnostic {}

impl Diagnostic {
    /// A mistake at the bytes `span` of `text`, which is what stands in the file at `path`.
    pub fn new(path: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_char_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let content = text[line_start..line_end].trim_end_matches('\r');
        let column = text[line_start..start].chars().count();
        let end = floor_char_boundary(text, span.end.clamp(start, line_end));
        let width = text[start..end].chars().count().max(1);
        Self {
            path: path.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: column + 1,
            field: None,
            message: message.into(),
            help: None,
            excerpt: excerpt(content, column, width),
        }
    }

    /// Reads a file's text; bytes that are none are a mistake at their place.
    ///
    /// # Errors
    /// If it cannot be read, or at the first byte that is not UTF-8.
    pub fn read_text(path: &Path) -> io::Result<Result<String, Box<Self>>> {
        let not_text = |error: FromUtf8Error| {
            let at = error.utf8_error().valid_up_to();
            let message = format!("byte {at} (0x{:02x}) is not UTF-8 text", error.as_bytes()[at]);
            // Up to there it is the same text, so the byte's place is the same too.
            let text = String::from_utf8_lossy(error.as_bytes());
            let help = Some("save the file as UTF-8".into());
            Box::new(Self { help, ..Self::new(path, &text, at..at + 1, message) })
        };
        Ok(String::from_utf8(fs::read(path)?).map_err(not_text))
    }

    /// What TOML's parser, or a type read through it, found wrong.
    pub fn of_toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let message = error.message().trim_end().to_owned();
        let mut diagnostic = Self::new(path, text, error.span().unwrap_or(0..0), message);
        diagnostic.help = did_you_mean(&diagnostic.message);
        diagnostic
    }

    /// Names the entry at fault.
    #[must_use]
    pub fn of_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (content, marked) = &self.excerpt;
        let gutter = self.line.to_string();
        let pad = " ".repeat(gutter.len());
        writeln!(f, "{}", self.message)?;
        writeln!(f, "{pad}--> {}:{}:{}", self.path.display(), self.line, self.column)?;
        writeln!(f, "{pad} |")?;
        writeln!(f, "{gutter} | {content}")?;
        write!(f, "{pad} | {}{}", " ".repeat(marked.start), "^".repeat(marked.len()))
    }
}

/// The part of a line around the marked characters, and where the mark is within it.
fn excerpt(line: &str, column: usize, width: usize) -> (String, Range<usize>) {
    let skipped =
        if column + width.min(MAX_SHOWN) > MAX_SHOWN { column.saturating_sub(MAX_SHOWN / 2) } else { 0 };
    let shown: String = line.chars().skip(skipped).take(MAX_SHOWN).collect();
    let start = column - skipped;
    let end = (start + width).min(shown.chars().count().max(start + 1));
    // A tab in the source would shift the mark.
    (shown.replace('\t', " "), start..end)
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// A suggestion out of serde's own words: "unknown field `x`, expected one of `a`, `b`".
pub fn did_you_mean(message: &str) -> Option<String> {
    let (wrong, allowed) = message.split_once(", expected ")?;
    let wrong = quoted(wrong).next_back()?;
    let (best, likeness) = quoted(allowed)
        .map(|word| (word, strsim::jaro_winkler(wrong, word)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (likeness >= LIKENESS).then(|| format!("did you mean `{best}`?"))
}

/// The words between backticks.
fn quoted(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    // Every second piece is between two backticks; the collected list lets it be walked from the end.
    text.split('`').skip(1).step_by(2).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, needle: &str) -> Diagnostic {
        let start = text.find(needle).unwrap();
        Diagnostic::new(Path::new("f.toml"), text, start..start + needle.len(), "wrong")
    }

    #[test]
    fn shows_the_line_and_marks_the_place() {
        let shown = at("a = 1\nbé = 2 # x\n", "2").to_string();
        assert_eq!(shown, "wrong\n --> f.toml:2:6\n  |\n2 | bé = 2 # x\n  |      ^");
    }

    #[test]
    fn cuts_long_lines_around_the_place() {
        let text = format!("a = [{}7]", "0, ".repeat(200));
        let shown = at(&text, "7").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[3].len() < 120, "{shown}");
        let mark = lines[4].find('^').unwrap();
        assert_eq!(&lines[3][mark..=mark], "7", "{shown}");
    }

    #[test]
    fn survives_spans_outside_of_the_text() {
        let diagnostic = Diagnostic::new(Path::new("f"), "é", 1..99, "wrong");
        assert_eq!((diagnostic.line, diagnostic.column), (1, 1));
        assert_eq!(Diagnostic::new(Path::new("f"), "", 5..9, "wrong").line, 1);
    }

    #[test]
    fn shows_the_first_byte_that_is_no_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"a = 1\nb = \"\xc3\xa9\xe9\"\n").unwrap();
        let diagnostic = Diagnostic::read_text(file.path()).unwrap().unwrap_err();
        assert_eq!((diagnostic.line, diagnostic.column), (2, 7), "{diagnostic}");
        assert_eq!(diagnostic.message, "byte 13 (0xe9) is not UTF-8 text");
        std::fs::write(file.path(), "é").unwrap();
        assert_eq!(Diagnostic::read_text(file.path()).unwrap().unwrap(), "é");
    }

    #[test]
    fn suggests_the_nearest_word_only() {
        let message = "unknown field `memory_byte`, expected one of `memory_bytes`, `handles`";
        assert_eq!(did_you_mean(message).unwrap(), "did you mean `memory_bytes`?");
        assert_eq!(did_you_mean("unknown field `x`, expected `handles`"), None);
        assert_eq!(did_you_mean("invalid type: string, expected u64"), None);
    }
}
