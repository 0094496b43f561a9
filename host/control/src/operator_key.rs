//! The key with which whoever runs a host begins: in a file of the data folder, which only they can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use modelet_store::Actor;
use modelet_types::{ApiKeyText, Code, Problem, Role, TenantName};

use crate::tenant::new_text;
use crate::{Control, KeySpec};

impl Control {
    /// Sees to it that the key in `file` is one of an operator of this host. One that is missing, has ended
    /// or was revoked is replaced: whoever may write to the data folder owns the host.
    ///
    /// # Errors
    /// If the store fails, or the file cannot be written.
    pub async fn ensure_operator_key(&self, file: &Path) -> Result<(), Problem> {
        if self.is_operators(file) {
            return Ok(());
        }
        let spec = KeySpec {
            role: Role::Operator,
            functions: None,
            description: "made at the host's start".into(),
            lifetime_s: None,
        };
        let failed = |error: io::Error| {
            let detail = format!("cannot write the operator's key to {}: {error}", file.display());
            Problem::new(Code::Internal, detail)
        };
        let (id, text) = new_text()?;
        // Before the key is one, so that there is none that nobody has.
        let new = write(file, &text).map_err(failed)?;
        let (actor, tenant) = (Actor::host("start"), TenantName::default_tenant());
        let made = self.create_key_with(&actor, &tenant, spec, id, text).await?;
        if let Err(error) = fs::rename(&new, file) {
            self.revoke_key(&actor, &tenant, id).await?;
            return Err(failed(error));
        }
        tracing::info!(key = %made.key.id, file = %file.display(), "made a key for the operator");
        Ok(())
    }

    fn is_operators(&self, file: &Path) -> bool {
        let text = fs::read_to_string(file).map(zeroize::Zeroizing::new).ok();
        let identity = text.and_then(|text| self.authenticator().authenticate(text.trim()));
        identity.is_some_and(|identity| identity.role == Role::Operator)
    }
}

/// Writes the key beside its place, from where it is renamed, so that a host killed here leaves no half of one.
fn write(file: &Path, key: &ApiKeyText) -> io::Result<PathBuf> {
    let new = file.with_extension("new");
    let options = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).clone();
    let mut opened: File = options.open(&new)?;
    writeln!(opened, "{}", key.expose())?;
    opened.sync_all()?;
    Ok(new)
}
