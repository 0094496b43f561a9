//! What commands print: answers to standard output, everything else to standard error.
//!
//! With `--json` a command prints JSON and nothing else, and an error is a JSON object too. Colours
//! are dropped by anstream where the output is not a terminal, or when `NO_COLOR` is set.
//!
//! What a host or a handler wrote is printed so that it can neither steer the terminal nor pass for
//! a line of this program: by [`printable`], [`continued`] or [`in_one_line`].

use std::fmt::Display;
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::json;

use crate::error::{self, Error};

/// Headings, and what is to be seen first.
pub const BOLD: Style = Style::new().bold();
/// What is there for completeness.
pub const DIM: Style = Style::new().dimmed();
/// Success.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Warnings.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Errors.
pub const RED: Style = AnsiColor::Red.on_default().bold();

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For a person, or for a program.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether `--json` was given.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints the answer: `value` as JSON, or what `human` writes.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn answer(self, value: &impl Serialize, human: impl FnOnce() -> String) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, value)?;
            writeln!(out)
        } else {
            write!(out, "{}", human())
        }
    }

    /// Prints a line about what is being done; nothing with `--json`.
    pub fn note(self, line: impl Display) {
        if !self.json {
            aside(line);
        }
    }

    /// Prints an error as the last thing of the process.
    pub fn error(self, error: &anyhow::Error) {
        if self.json {
            aside(json_error(error));
        } else {
            aside(human_error(error));
        }
    }
}

/// Prints a line to standard error. If that is closed nobody reads it, and nobody misses it.
pub fn aside(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

fn human_error(error: &anyhow::Error) -> String {
    let foreseen = error::foreseen(error);
    let message = match foreseen {
        // It draws the line of the file under the message.
        Some(Error::File(_)) => printable(&chain(error)),
        _ => continued(&chain(error), "  "),
    };
    let mut text = format!("{RED}error{RED:#}: {message}");
    let Some(foreseen) = foreseen else { return text };
    if let Error::Host(problem) = foreseen {
        for (name, value) in problem.particulars() {
            text.push_str(&format!("\n  {DIM}{name}:{DIM:#} {}", in_one_line(&value)));
        }
        if let Some(place) = &problem.place {
            // Its message is the problem's, which is printed.
            text.push_str(&format!("\n{}", printable(place.to_string().trim_start_matches('\n'))));
        }
    }
    if let Some(hint) = foreseen.hint() {
        text.push_str(&format!("\n{GREEN}help{GREEN:#}: {}", in_one_line(&hint)));
    }
    text
}

/// An error and its causes in one sentence.
fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn json_error(error: &anyhow::Error) -> serde_json::Value {
    let mut object = json!({ "detail": chain(error), "exit": error::exit_of(error) as u8 });
    if let Some(foreseen) = error::foreseen(error) {
        let diagnostic = match foreseen {
            Error::Host(problem) => {
                object["detail"] = problem.detail.clone().into();
                for (name, value) in problem.particulars() {
                    object[name] = value.into();
                }
                problem.place.as_ref()
            }
            Error::File(diagnostic) => {
                object["detail"] = diagnostic.message.clone().into();
                Some(diagnostic.as_ref())
            }
            _ => None,
        };
        if let Some(place) = diagnostic {
            object["file"] = place.path.display().to_string().into();
            object["line"] = place.line.into();
            object["column"] = place.column.into();
            if let Some(field) = &place.field {
                object["field"] = field.as_str().into();
            }
        }
        if let Some(hint) = foreseen.hint() {
            object["help"] = hint.into();
        }
    }
    json!({ "error": object })
}

/// Rows under headings, in columns as wide as their longest cell.
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| in_one_line(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = format!("{BOLD}{}{BOLD:#}\n", line(headings));
    for row in &rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// A sentence in lines of at most `width` characters, of which the further ones begin with `indent`
/// beside that. A longer word has a line of its own.
pub fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            lines.push_str(indent);
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// A text of somebody else, with what could steer a terminal made visible. Lines and tabs stay.
pub fn printable(text: &str) -> String {
    escaped(text, |c| is_steering(c) && !matches!(c, '\n' | '\t'))
}

/// The same for a text that belongs on one line.
pub fn in_one_line(text: &str) -> String {
    escaped(text, is_steering)
}

/// The same for a text after its first line's beginning: further lines begin with `indent`.
pub fn continued(text: &str, indent: &str) -> String {
    printable(text.trim_end_matches('\n')).replace('\n', &format!("\n{indent}"))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let shown = |c: char| if is_escaped(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Whether a terminal does something else with it than show it: controls, and those characters that
/// turn the direction of what follows.
fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes for a person.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::problem::HostProblem;

    #[test]
    fn aligns_columns_by_characters() {
        let text = anstream::adapter::strip_str(&table(
            ["A", "LONG"],
            &[["é".into(), "x".into()], ["bcd".into(), "y".into()]],
        ))
        .to_string();
        assert_eq!(text, "A    LONG\né    x\nbcd  y\n");
    }

    #[test]
    fn a_handlers_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\tb\n\u{1b}[2Jc\r"), "a\tb\n\\u{1b}[2Jc\\r");
        assert_eq!(in_one_line("a\tb\n\u{9b}2J\u{202e}é"), "a\\tb\\n\\u{9b}2J\\u{202e}é");
        assert_eq!(continued("a\nb\n\r\n", "  "), "a\n  b\n  \\r");
        let table = table(["A"], &[["\u{1b}]0;x\n".into()]]);
        assert!(table.ends_with("\n\\u{1b}]0;x\\n\n"), "{table:?}");
    }

    #[test]
    fn a_problem_cannot_steer_the_terminal_or_pass_for_a_line_of_ours() {
        let body = r#"{"status":409,"code":"c\nhelp: x","detail":"d\nhelp: run this\u001b[2J",
            "field":"\u001b]0;owned\u0007","invocation":"\rerror"}"#;
        let headers = reqwest::header::HeaderMap::new();
        let problem = HostProblem::parse(reqwest::StatusCode::CONFLICT, &headers, body.as_bytes());
        let text = human_error(&Error::from(Box::new(problem)).into());
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "error: d\n  help: run this\\u{1b}[2J\n  code: c\\nhelp: x\n  field: \\u{1b}]0;owned\\u{7}\n  \
             invocation: \\rerror"
        );
    }

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrapped("a bc  def", 4, "  "), "a bc\n  def");
        assert_eq!(wrapped("longer a", 4, "  "), "longer\n  a");
        assert_eq!(wrapped("", 4, "  "), "");
    }

    #[test]
    fn writes_sizes_for_people() {
        assert_eq!(bytes(999), "999 bytes");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(23_400_000), "23.4 MB");
    }

    #[test]
    fn errors_as_json_carry_the_exit_code_and_the_place() {
        let text = "a = 1\nb = 2\n";
        let diagnostic = crate::diagnostic::Diagnostic::new("f.toml".as_ref(), text, 10..11, "too small");
        let error = anyhow::Error::from(Error::from(Box::new(diagnostic.of_field("b"))));
        let object = &json_error(&error)["error"];
        assert_eq!(
            *object,
            json!({ "detail": "too small", "exit": 5, "file": "f.toml", "line": 2, "column": 5, "field": "b" })
        );
    }
}
