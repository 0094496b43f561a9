//! What the answer tells, as lines of JSON.

use modelet_sdk::Problem;
use serde::Serialize;

use crate::resample::MODEL_RATE;
use crate::segments::Edge;

/// One line of the answer. Times are milliseconds from the first sample.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Somebody begins to speak.
    Start { at_ms: u64 },
    /// Nobody speaks any more.
    End { at_ms: u64 },
    /// The last line, if all went well.
    Done { duration_ms: u64, speech_ms: u64 },
    /// The last line, if something is wrong that shows only after the answer has begun. It says the same
    /// as a problem before that.
    Error {
        status: u16,
        code: String,
        detail: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
}

impl Event {
    /// The last line for a stream of this many samples of 16 kHz.
    pub fn done(heard: u64, spoken: u64) -> Self {
        Self::Done { duration_ms: milliseconds(heard), speech_ms: milliseconds(spoken) }
    }

    /// The event and the end of its line.
    ///
    /// # Errors
    /// None for what is in an event; JSON's writer does not know that.
    pub fn line(&self) -> Result<Vec<u8>, Problem> {
        let mut line = serde_json::to_vec(self)
            .map_err(|error| Problem::internal(format!("an event cannot be written as JSON: {error}")))?;
        line.push(b'\n');
        Ok(line)
    }
}

impl From<Edge> for Event {
    fn from(edge: Edge) -> Self {
        match edge {
            Edge::Start(sample) => Self::Start { at_ms: milliseconds(sample) },
            Edge::End(sample) => Self::End { at_ms: milliseconds(sample) },
        }
    }
}

impl From<Problem> for Event {
    fn from(problem: Problem) -> Self {
        let Problem { status, code, detail, field } = problem;
        Self::Error { status, code, detail, field }
    }
}

/// Whole ones.
fn milliseconds(samples: u64) -> u64 {
    samples / u64::from(MODEL_RATE / 1000)
}
