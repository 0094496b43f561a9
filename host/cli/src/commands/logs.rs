//! `modelet logs`: what a function wrote, and what the host wrote about it.

use std::io::Write as _;

use anstyle::Style;
use clap::Args;
use modelet_types::FunctionName;

use crate::client::Client;
use crate::client::answers::LogLine;
use crate::output::{DIM, Output, RED, YELLOW, continued, in_one_line};

const EXAMPLES: &str = "\
Examples:
  modelet logs digits                    the last 100 lines
  modelet logs digits -n 10 -f           the last 10, and those to come, until Ctrl-C
  modelet logs digits --json | jq -r 'select(.level == \"error\").message'

With --json each line is an object of its own.";

/// Show a function's log.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
    /// Go on with new lines as they are written.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines to begin with.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "LINES")]
    tail: u64,
}

/// Prints the lines as they arrive.
///
/// # Errors
/// As for [`Client::logs`], if the connection breaks, or if standard output cannot be written.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let mut lines = client.logs(arguments.function.as_str(), arguments.tail, arguments.follow).await?;
    while let Some(line) = lines.next().await? {
        output.answer(&line, || shown(&line))?;
        std::io::stdout().flush()?;
    }
    if arguments.follow {
        output.note("the host has ended the log: it is shutting down, or the function was deleted");
    }
    Ok(())
}

fn shown(line: &LogLine) -> String {
    let style = match line.level.as_str() {
        "error" | "critical" => RED,
        "warn" => YELLOW,
        "debug" | "trace" => DIM,
        _ => Style::new(),
    };
    let (at, level, source) = (in_one_line(&line.at), in_one_line(&line.level), in_one_line(&line.source));
    // What follows a newline is indented, so that no message can pass for a line of its own.
    let message = continued(&line.message, "    ");
    format!("{DIM}{at}{DIM:#} {style}{level:<5}{style:#} {DIM}{source}{DIM:#} {message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_pass_for_another_line() {
        let line: LogLine = serde_json::from_str(
            r#"{"at":"T","level":"info","source":"stdout","message":"one\nT error host \u001b[2Jtwo\n"}"#,
        )
        .unwrap();
        let text = anstream::adapter::strip_str(&shown(&line)).to_string();
        assert_eq!(text, "T info  stdout one\n    T error host \\u{1b}[2Jtwo\n");
    }
}
