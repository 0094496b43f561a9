//! Progress on a terminal; elsewhere a line for each step that is done.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::output::{GREEN, Output, in_one_line};

/// Starts the steps of a command.
#[derive(Clone, Copy)]
pub struct Progress {
    output: Output,
    drawn: bool,
}

/// A step under way. Dropped before it is done, it leaves nothing on the terminal.
pub struct Step {
    bar: ProgressBar,
    output: Output,
}

impl Progress {
    /// Drawn only where a person looks on.
    pub fn new(output: Output) -> Self {
        Self { output, drawn: !output.is_json() && std::io::stderr().is_terminal() }
    }

    /// A step of unknown length.
    pub fn spin(&self, what: &str) -> Step {
        self.step(what, None, ProgressStyle::default_spinner())
    }

    /// A step over `size` bytes.
    pub fn transfer(&self, what: &str, size: u64) -> Step {
        const TEMPLATE: &str =
            "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        self.step(what, Some(size), style)
    }

    fn step(&self, what: &str, length: Option<u64>, style: ProgressStyle) -> Step {
        let target = if self.drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(length, target).with_finish(ProgressFinish::AndClear);
        let bar = bar.with_style(style).with_message(in_one_line(what));
        if self.drawn {
            // Also while nothing arrives, so that the last position is shown.
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Step { bar, output: self.output }
    }
}

impl Step {
    /// A callback that moves the bar to a number of bytes.
    pub fn position(&self) -> impl Fn(u64) + Clone + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |bytes| bar.set_position(bytes)
    }

    /// Ends the step with what came of it.
    pub fn done(self, result: impl AsRef<str>) {
        self.bar.finish_and_clear();
        self.output.note(format!("{GREEN}✓{GREEN:#} {}", in_one_line(result.as_ref())));
    }
}
