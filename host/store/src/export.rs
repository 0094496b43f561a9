//! Verifying a record of changes that somebody has exported, without the host that has it.

use std::io::BufRead;

use jiff::Timestamp;
use modelet_types::{Digest, TenantName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chain::{Follower, Link};
use crate::{Anchor, ChainBreak, Heads, Verified};

/// A change as the control API gives it. The states are kept to the letter, since that is what is hashed.
#[derive(Deserialize)]
struct Exported {
    id: u64,
    at: Timestamp,
    actor: String,
    origin: Option<String>,
    action: String,
    subject: String,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
    hash: Digest,
}

/// A file that is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[from] std::io::Error),
    /// A line is no change.
    #[error("line {line} is no change")]
    Line {
        /// Which, from 1.
        line: usize,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// Looks whether the lines of an export are all changes of a tenant as they were recorded, and as the signed heads
/// say. Blocks as the reader does.
///
/// # Errors
/// If it cannot be read, or is no export.
pub fn verify_export(
    export: impl BufRead,
    tenant: &TenantName,
    heads: &Heads,
) -> Result<Result<Verified, ChainBreak>, ExportError> {
    let mut changes = export.lines().enumerate().map(|(index, line)| {
        let read = |source| ExportError::Line { line: index + 1, source };
        serde_json::from_str::<Exported>(&line?).map_err(read)
    });
    let first = changes.next().transpose()?;
    let second = changes.next().transpose()?;
    // Where the export goes on behind the first change is where changes were forgotten, if that was signed.
    let forgotten = second.as_ref().map(|change| change.id.saturating_sub(1)).filter(|id| *id > 1);
    let checkpoint =
        forgotten.and_then(|id| heads.checkpoints.iter().find(|anchor| anchor.id == id)).cloned();
    let known = heads.known.iter().copied();
    let mut follower = match Follower::begin(tenant, checkpoint.as_ref().map(Anchor::change), known) {
        Ok(follower) => follower,
        Err(broken) => return Ok(Err(broken)),
    };
    for change in [first, second].into_iter().flatten().map(Ok).chain(changes) {
        let change = change?;
        if let Err(broken) = follower.next(&change.link(), Some(&change.hash.to_hex())) {
            return Ok(Err(broken));
        }
    }
    Ok(follower.end(0).map(|last| Verified { last, checkpoint }))
}

impl Exported {
    fn link(&self) -> Link<'_> {
        Link {
            // One that does not fit has a hash that is not right.
            id: i64::try_from(self.id).unwrap_or_default(),
            at: self.at.as_microsecond(),
            actor: &self.actor,
            origin: self.origin.as_deref(),
            action: &self.action,
            subject: &self.subject,
            before: self.before.as_deref().map(RawValue::get),
            after: self.after.as_deref().map(RawValue::get),
        }
    }
}
