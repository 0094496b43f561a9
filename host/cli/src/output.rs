//! What commands print: answers to standard output, everything else to standard error.
//!
//! With `--json` a command prints JSON and nothing else, and an error is a JSON object too. Colours
//! are dropped by anstream where the output is not a terminal, or when `NO_COLOR` is set.

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
    pub fn note(self, line: impl AsRef<str>) {
        if !self.json {
            anstream::eprintln!("{}", line.as_ref());
        }
    }

    /// Prints an error as the last thing of the process.
    pub fn error(self, error: &anyhow::Error) {
        if self.json {
            anstream::eprintln!("{}", json_error(error));
            return;
        }
        anstream::eprintln!("{RED}error{RED:#}: {}", printable(&chain(error)));
        let Some(foreseen) = error::foreseen(error) else { return };
        if let Error::Host(problem) = foreseen {
            for (name, value) in problem.particulars() {
                anstream::eprintln!("  {DIM}{name}:{DIM:#} {value}");
            }
            if let Some(place) = &problem.place {
                // Its message is the problem's, which is printed.
                anstream::eprintln!("{}", place.to_string().trim_start_matches('\n'));
            }
        }
        if let Some(hint) = foreseen.hint() {
            anstream::eprintln!("{GREEN}help{GREEN:#}: {hint}");
        }
    }
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
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
        text.push('\n');
    }
    text
}

/// A text of somebody else, with what could steer a terminal made visible. Lines and tabs stay.
pub fn printable(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let shown = |c: char| if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() };
    text.chars().map(shown).collect()
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
