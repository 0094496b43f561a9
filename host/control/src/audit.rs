//! The record of changes, and the hashes of it that are kept outside of the metastore.
//!
//! Whoever can write to the metastore could change a record and every hash after it. So the last hash of each
//! tenant is appended to a file as well, which can be on another disk, or one that can only be appended to; and each
//! line is signed, so that who can write to both still cannot forge what the host has said.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use modelet_store::{
    Anchor, AuditKey, ChainBreak, ChainHead, Heads, PublicKey, Signed, Store, StoreError, Verified,
    read_anchors,
};
use modelet_types::{Code, Problem, TenantName};

use crate::Control;

/// How often last hashes are written to the file.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// How the record of changes is kept.
pub struct AuditConfig {
    /// Where the last hashes of changes are kept outside of the store.
    pub heads_file: PathBuf,
    /// What signs them.
    pub key: AuditKey,
    /// Other keys whose signatures count.
    pub trusted_keys: Vec<PublicKey>,
    /// How long changes are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// Whether the key was made at this start, so that there is nothing yet that it has signed.
    pub is_key_new: bool,
}

impl AuditConfig {
    /// The keys whose signatures count.
    pub(crate) fn trusted(&self) -> Vec<PublicKey> {
        [&[self.key.public()], &*self.trusted_keys].concat()
    }
}

/// What came of looking at the changes of a tenant.
#[derive(Debug)]
pub struct Verification {
    /// Whether they are as they were recorded.
    pub outcome: Result<Verified, ChainBreak>,
    /// What of them is signed.
    pub signed: Option<Signed>,
    /// Lines of the file of hashes that hosts before keys wrote.
    pub unsigned_heads: usize,
}

/// What this host has read in the file of hashes or written to it: it says so even if the file is gone meanwhile.
#[derive(Default)]
pub(crate) struct Remembered {
    heads: HashMap<TenantName, ChainHead>,
    checkpoints: HashMap<TenantName, u64>,
    /// Whether the file had nothing when it was first read, although the key is older: it may be another one, such
    /// as that on a disk that is not mounted.
    is_lost: bool,
}

impl Remembered {
    fn add(&mut self, anchor: &Anchor) {
        let head = self.heads.entry(anchor.tenant.clone()).or_insert(anchor.change());
        if head.id < anchor.id {
            *head = anchor.change();
        }
        if anchor.checkpoint {
            let checkpoint = self.checkpoints.entry(anchor.tenant.clone()).or_default();
            *checkpoint = anchor.id.max(*checkpoint);
        }
    }
}

impl Control {
    /// What the signatures of this host are checked with.
    pub fn audit_public_key(&self) -> PublicKey {
        self.config.audit.key.public()
    }

    /// Looks whether the changes of a tenant are those that were recorded, and contain what the file of
    /// hashes and `remembered` say. If `pinned` names keys, theirs are the only signatures that count, and there has
    /// to be one.
    ///
    /// # Errors
    /// If the store fails, or the file cannot be read.
    pub async fn verify_changes(
        &self,
        tenant: &TenantName,
        remembered: &[ChainHead],
        pinned: &[PublicKey],
    ) -> Result<Verification, Problem> {
        if !pinned.is_empty() {
            // Changes of the last minute may be the tenant's first.
            self.write_heads().await;
        }
        // One at a time: each reads the whole file.
        let _turn = self.verifying.lock().await;
        let trusted = if pinned.is_empty() { self.config.audit.trusted() } else { pinned.to_vec() };
        let unsound = |broken| Verification { outcome: Err(broken), signed: None, unsigned_heads: 0 };
        let heads = match self.heads(tenant, &trusted).await? {
            Ok(heads) => heads,
            Err(broken) => return Ok(unsound(broken)),
        };
        let known = [&*heads.known, remembered].concat();
        let mut outcome = self.store().verify_changes(tenant, &known, &trusted).await?;
        if !pinned.is_empty() && heads.signed.is_none() && outcome.is_ok() {
            let reason = "nothing is signed with the key that was given".into();
            outcome = Err(ChainBreak { id: 1, reason });
        }
        Ok(Verification { outcome, signed: heads.signed, unsigned_heads: heads.unsigned })
    }

    /// What the file of hashes, and this host's memory of it, say of a tenant.
    pub(crate) async fn heads(
        &self,
        tenant: &TenantName,
        trusted: &[PublicKey],
    ) -> Result<Result<Heads, ChainBreak>, Problem> {
        let mut all = self.remembered.lock().await;
        if all.is_none() {
            // Whoever takes the file away from now on is too late.
            *all = Some(self.remember().await?);
        }
        let remembered = all.as_ref().and_then(|all| all.heads.get(tenant).copied());
        drop(all);
        let lines = self.lines().await.map_err(|error| {
            tracing::error!(%error, "cannot read the hashes of changes");
            Problem::new(Code::Internal, "the host cannot read its file of hashes; its log has the reason")
        })?;
        let made = self.config.audit.key.made();
        Ok(Heads::of(tenant, &lines, trusted, made).map(|mut heads| {
            heads.known.extend(remembered);
            heads
        }))
    }

    /// The lines of the file of hashes, with their numbers.
    async fn lines(&self) -> io::Result<Vec<(usize, Anchor)>> {
        let file = self.config.audit.heads_file.clone();
        tokio::task::spawn_blocking(move || read_anchors(&file)).await.map_err(io::Error::other).flatten()
    }

    /// Writes the last hash of each tenant to the file, again and again. Never returns.
    pub async fn write_heads_forever(&self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(WRITE_EVERY);
        loop {
            interval.tick().await;
            self.write_heads().await;
        }
    }

    /// Writes the last hash of each tenant that has changed since it was last written to the file, and checkpoints
    /// that it does not have. Says whether the file has them all now, and had those of before when it was first read.
    pub async fn write_heads(&self) -> bool {
        let written = async {
            // One at a time, so that none is written twice.
            let mut remembered = self.remembered.lock().await;
            let known = match remembered.take() {
                Some(known) => known,
                None => self.remember().await?,
            };
            let known = remembered.insert(known);
            let news = news(self.store(), &self.config.audit, known).await?;
            let is_lost = known.is_lost;
            if news.is_empty() {
                return Ok(!is_lost);
            }
            let (file, lines) = (self.config.audit.heads_file.clone(), news.clone());
            let written = tokio::task::spawn_blocking(move || append(&file, &lines)).await;
            written.map_err(io::Error::other).flatten().map_err(failed)?;
            news.iter().for_each(|anchor| known.add(anchor));
            Ok::<_, Problem>(!is_lost)
        };
        written.await.unwrap_or_else(|problem| {
            tracing::error!(%problem, "cannot keep the hashes of changes outside of the metastore");
            false
        })
    }

    /// Reads what the file says, as far as it is signed.
    async fn remember(&self) -> Result<Remembered, Problem> {
        let lines = self.lines().await.map_err(failed)?;
        let trusted = self.config.audit.trusted();
        let mut remembered = Remembered::default();
        let (believed, others): (Vec<_>, Vec<_>) =
            lines.iter().map(|(_, anchor)| anchor).partition(|anchor| anchor.is_signed_by(&trusted));
        believed.into_iter().for_each(|anchor| remembered.add(anchor));
        if lines.is_empty() && !self.config.audit.is_key_new {
            remembered.is_lost = true;
            tracing::warn!(
                file = %self.config.audit.heads_file.display(),
                "the file of hashes is empty, and this host has signed before: if it was not moved away, put it back"
            );
        }
        let distrusted = others.iter().filter(|anchor| anchor.signature.is_some()).count();
        if distrusted > 0 {
            tracing::error!(
                lines = distrusted,
                public_key = %self.audit_public_key(),
                "lines of the file of hashes are not signed with this host's key: if its file was lost or changed, \
                 put it back, or list the public key of before in audit.trusted_keys"
            );
        }
        Ok(remembered)
    }
}

/// What the file does not have yet, signed.
async fn news(store: &Store, config: &AuditConfig, known: &Remembered) -> Result<Vec<Anchor>, StoreError> {
    let checkpoints = store.checkpoints(&config.trusted()).await?;
    let (mut heads, at) = (Vec::new(), Timestamp::now());
    for (tenant, head) in store.chain_heads().await? {
        if let Some(known) = known.heads.get(&tenant) {
            if known.id == head.id {
                continue;
            }
            let is_in = |anchor: &Anchor| known.id < anchor.id || *known == anchor.change();
            let is_forgotten = |anchor: &Anchor| anchor.tenant == tenant && known.id > 1 && is_in(anchor);
            // What was signed once must not be signed otherwise: whoever has forged what it tells of would get the
            // host's word for it.
            if !checkpoints.iter().any(is_forgotten) && !store.has_change(&tenant, *known).await? {
                tracing::error!(
                    %tenant,
                    change = known.id,
                    "a change is not the one that was signed, so that its tenant's record is not signed any more; see \
                     `modelet audit verify`"
                );
                continue;
            }
        }
        heads.push(Anchor::head(&config.key, at, &tenant, head));
    }
    let is_new = |anchor: &Anchor| known.checkpoints.get(&anchor.tenant).is_none_or(|id| *id < anchor.id);
    Ok(checkpoints.into_iter().filter(is_new).chain(heads).collect())
}

fn failed(error: io::Error) -> Problem {
    Problem::new(Code::Internal, format!("the file of hashes: {error}"))
}

fn append(file: &Path, anchors: &[Anchor]) -> io::Result<()> {
    let mut text = Vec::new();
    if is_torn(file)? {
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

/// Whether a killed host has not written the last line to its end.
fn is_torn(file: &Path) -> io::Result<bool> {
    let mut opened = match fs::File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if opened.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    opened.seek(SeekFrom::End(-1))?;
    opened.read_exact(&mut last)?;
    Ok(last != [b'\n'])
}

#[cfg(test)]
mod tests {
    use modelet_store::{Actor, Precondition, StoreConfig, TenantSetting};
    use modelet_types::{Digest, Trust};

    use super::*;

    #[tokio::test]
    async fn a_head_that_became_the_checkpoint_goes_on_being_signed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::embedded(folder.path().join("data"))).await.unwrap();
        let tenant = TenantName::default_tenant();
        for trust in [Trust::Untrusted, Trust::Trusted, Trust::Untrusted] {
            let setting = TenantSetting::Trust(trust);
            store.set_tenant(&Actor::LOCAL, &tenant, setting, &Precondition::NONE).await.unwrap();
        }
        let (key, _) = AuditKey::read_or_make(&folder.path().join("audit.key")).unwrap();
        let third = store.changes(&tenant, 2, 1).await.unwrap().remove(0);
        let known = ChainHead { id: third.id, hash: third.hash };
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let forgotten = store.forget_changes(&key, &tenant, later, &[known], &[key.public()]).await.unwrap();
        assert_eq!(forgotten.unwrap().unwrap().checkpoint.change(), known);

        let heads = HashMap::from([(tenant.clone(), known)]);
        let remembered = Remembered { heads, ..Remembered::default() };
        let config = AuditConfig {
            heads_file: folder.path().join("heads.jsonl"),
            key,
            trusted_keys: Vec::new(),
            retention: None,
            is_key_new: false,
        };
        let news = news(&store, &config, &remembered).await.unwrap();
        let told: Vec<_> = news.iter().map(|anchor| (anchor.id, anchor.checkpoint)).collect();
        assert_eq!(told, [(3, true), (5, false)]);
    }

    #[test]
    fn a_torn_line_costs_nothing_but_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("heads.jsonl"), folder.path().join("audit.key"));
        let (key, _) = AuditKey::read_or_make(&key).unwrap();
        assert!(read_anchors(&file).unwrap().is_empty());
        let anchor = |tenant: &str, id| {
            let head = ChainHead { id, hash: Digest::of(tenant.as_bytes()) };
            Anchor::head(&key, Timestamp::now(), &tenant.parse().unwrap(), head)
        };
        append(&file, &[anchor("acme", 1), anchor("globex", 7)]).unwrap();
        let mut opened = OpenOptions::new().append(true).open(&file).unwrap();
        // Half of a line, which may end within a character.
        opened.write_all(b"{\"at\":\"20\xc3").unwrap();
        append(&file, &[anchor("acme", 2)]).unwrap();
        let lines = read_anchors(&file).unwrap();
        let told: Vec<_> =
            lines.iter().map(|(line, anchor)| (*line, anchor.tenant.as_str(), anchor.id)).collect();
        assert_eq!(told, [(1, "acme", 1), (2, "globex", 7), (4, "acme", 2)]);
        let mut remembered = Remembered::default();
        lines.iter().rev().for_each(|(_, anchor)| remembered.add(anchor));
        assert_eq!(remembered.heads["acme"].id, 2);
    }
}
