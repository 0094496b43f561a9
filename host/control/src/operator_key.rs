//! The key with which whoever runs a host begins: in a file of the data folder, which only they can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use modelet_store::Actor;
use modelet_types::{ApiKeyText, Code, Problem, Role, TenantName};

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
            expires_at: None,
        };
        let made = self.create_key(&Actor::host("start"), &TenantName::default_tenant(), spec).await?;
        write(file, &made.text).map_err(|error| {
            Problem::new(
                Code::Internal,
                format!("cannot write the operator's key to {}: {error}", file.display()),
            )
        })?;
        tracing::info!(key = %made.key.id, file = %file.display(), "made a key for the operator");
        Ok(())
    }

    fn is_operators(&self, file: &Path) -> bool {
        let text = fs::read_to_string(file).map(zeroize::Zeroizing::new).ok();
        let identity = text.and_then(|text| self.authenticator().authenticate(text.trim()));
        identity.is_some_and(|identity| identity.role == Role::Operator)
    }
}

/// Renamed into place, so that a host killed here leaves no half of a key.
fn write(file: &Path, key: &ApiKeyText) -> io::Result<()> {
    let new = file.with_extension("new");
    let options = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).clone();
    let mut opened: File = options.open(&new)?;
    writeln!(opened, "{}", key.expose())?;
    opened.sync_all()?;
    fs::rename(&new, file)
}
