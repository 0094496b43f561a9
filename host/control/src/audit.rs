//! The record of changes, and the hashes of it that are kept outside of the metastore.
//!
//! Whoever can write to the metastore could change a record and every hash after it. So the last hash of each
//! tenant is appended to a file as well, which can be on another disk, or one that can only be appended to.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use modelet_store::{ChainBreak, ChainHead};
use modelet_types::{Code, Digest, Problem, TenantName};
use serde::{Deserialize, Serialize};

use crate::Control;

/// How often last hashes are written to the file.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Anchor {
    at: Timestamp,
    tenant: TenantName,
    id: u64,
    hash: Digest,
}

/// What the file says last of each tenant.
#[derive(Default)]
pub(crate) struct Anchors(HashMap<TenantName, u64>);

impl Control {
    /// Looks whether the changes of a tenant are those that were recorded, and contain what the file of
    /// hashes and `remembered` say.
    ///
    /// # Errors
    /// If the store fails, or the file cannot be read.
    pub async fn verify_changes(
        &self,
        tenant: &TenantName,
        remembered: &[ChainHead],
    ) -> Result<Result<ChainHead, ChainBreak>, Problem> {
        let file = self.config.audit_heads_file.clone();
        let wanted = tenant.clone();
        let read = tokio::task::spawn_blocking(move || read(&file, Some(&wanted))).await;
        let anchors = read.map_err(io::Error::other).flatten().map_err(|error| {
            tracing::error!(%error, "cannot read the hashes of changes");
            Problem::new(Code::Internal, "the host cannot read its file of hashes; its log has the reason")
        })?;
        let heads = anchors.into_iter().map(|anchor| ChainHead { id: anchor.id, hash: anchor.hash });
        let heads: Vec<_> = heads.chain(remembered.iter().copied()).collect();
        Ok(self.store().verify_changes(tenant, &heads).await?)
    }

    /// Writes the last hash of each tenant to the file, again and again. Never returns.
    pub async fn write_heads_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(WRITE_EVERY);
        loop {
            interval.tick().await;
            self.write_heads().await;
        }
    }

    /// Writes the last hash of each tenant that has changed since it was last written to the file.
    pub async fn write_heads(&self) {
        let written = async {
            // One at a time, so that none is written twice.
            let mut anchors = self.anchors.lock().await;
            let file = self.config.audit_heads_file.clone();
            let known = match anchors.take() {
                Some(known) => known,
                None => tokio::task::spawn_blocking(move || last_of_each(&file))
                    .await
                    .map_err(io::Error::other)
                    .flatten()
                    .map_err(failed)?,
            };
            let known = anchors.insert(known);
            let at = Timestamp::now();
            let heads = self.store().chain_heads().await?.into_iter();
            let news = heads.filter(|(tenant, head)| known.0.get(tenant) != Some(&head.id));
            let news: Vec<_> =
                news.map(|(tenant, head)| Anchor { at, tenant, id: head.id, hash: head.hash }).collect();
            if news.is_empty() {
                return Ok(());
            }
            let told: Vec<_> = news.iter().map(|anchor| (anchor.tenant.clone(), anchor.id)).collect();
            let file = self.config.audit_heads_file.clone();
            let written = tokio::task::spawn_blocking(move || append(&file, &news)).await;
            written.map_err(io::Error::other).flatten().map_err(failed)?;
            known.0.extend(told);
            Ok::<_, Problem>(())
        };
        if let Err(problem) = written.await {
            tracing::error!(%problem, "cannot keep the hashes of changes outside of the metastore");
        }
    }
}

fn failed(error: io::Error) -> Problem {
    Problem::new(Code::Internal, format!("the file of hashes: {error}"))
}

fn last_of_each(file: &Path) -> io::Result<Anchors> {
    let anchors = read(file, None)?;
    Ok(Anchors(anchors.into_iter().map(|anchor| (anchor.tenant, anchor.id)).collect()))
}

/// The lines of a tenant, or of all. A line that a killed host has not written to its end is left out.
fn read(file: &Path, tenant: Option<&TenantName>) -> io::Result<Vec<Anchor>> {
    let opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut anchors = Vec::new();
    for line in io::BufReader::new(opened).lines() {
        match serde_json::from_str::<Anchor>(&line?) {
            Ok(anchor) if tenant.is_none_or(|tenant| *tenant == anchor.tenant) => anchors.push(anchor),
            _ => {}
        }
    }
    Ok(anchors)
}

fn append(file: &PathBuf, anchors: &[Anchor]) -> io::Result<()> {
    let mut text = Vec::new();
    let is_torn = fs::read(file).is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
    if is_torn {
        text.push(b'\n');
    }
    for anchor in anchors {
        serde_json::to_writer(&mut text, anchor)?;
        text.push(b'\n');
    }
    let mut opened = OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    opened.write_all(&text)?;
    opened.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_costs_nothing_but_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("heads.jsonl");
        assert!(read(&file, None).unwrap().is_empty());
        let anchor = |tenant: &str, id| Anchor {
            at: Timestamp::now(),
            tenant: tenant.parse().unwrap(),
            id,
            hash: Digest::of(tenant.as_bytes()),
        };
        append(&file, &[anchor("acme", 1), anchor("globex", 7)]).unwrap();
        let mut opened = OpenOptions::new().append(true).open(&file).unwrap();
        opened.write_all(b"{\"at\":\"20").unwrap();
        append(&file, &[anchor("acme", 2)]).unwrap();
        assert_eq!(last_of_each(&file).unwrap().0.len(), 2);
        let acme = read(&file, Some(&"acme".parse().unwrap())).unwrap();
        assert_eq!(acme.iter().map(|anchor| anchor.id).collect::<Vec<_>>(), [1, 2]);
    }
}
