//! What of the store's errors a client may know: the code, the input at fault, and the text.

use std::io;
use std::time::Duration;

use modelet_types::quota::{Holder, Reached};
use modelet_types::{Code, Problem};

use super::StoreError;

impl StoreError {
    /// What a caller's program can tell.
    pub fn code(&self) -> Code {
        match self {
            Self::NoAnswer(_) | Self::MetastoreTaken { .. } => Code::StorageUnavailable,
            Self::Io { .. }
            | Self::Database(_)
            | Self::Unreachable { .. }
            | Self::MetastoreRefuses { .. }
            | Self::NoMetastore { .. }
            | Self::MayNotCreateTables { .. }
            | Self::UnfitMetastore { .. }
            | Self::OtherMetastore { .. }
            | Self::OlderMetastore { .. }
            | Self::NothingToCopy { .. }
            | Self::TargetNotEmpty { .. }
            | Self::OtherSealingKey(_)
            | Self::InvalidMetastoreUrl { .. }
            | Self::NewerMetastore { .. }
            | Self::Migrate { .. }
            | Self::InUse(_)
            | Self::Version { .. }
            | Self::BucketUrl(_)
            | Self::BucketRefused { .. }
            | Self::BucketInUse { .. }
            | Self::ArtifactsElsewhere { .. }
            | Self::ArtifactsMissing { .. }
            | Self::ArtifactsStay
            | Self::FolderNotEmpty(_)
            | Self::Damaged { .. } => Code::Internal,
            Self::Bucket { .. } | Self::RemovalUnderWay(_) => Code::StorageUnavailable,
            Self::Fetch(error) => error.code(),
            Self::ShuttingDown => Code::ShuttingDown,
            Self::NoTenant(_)
            | Self::NoKey(_)
            | Self::NoFunction(_)
            | Self::NoRevision(..)
            | Self::NoArtifact { .. }
            | Self::NotPending(..)
            | Self::BlobLost(_)
            | Self::BlobDamaged { .. }
            | Self::NoSecret(..) => Code::NotFound,
            Self::InvalidText { .. } => Code::InvalidInput,
            Self::SecretNotSet { .. } => Code::InvalidManifest,
            Self::QuotaExceeded { .. } => Code::QuotaExceeded,
            Self::TenantNameTaken { .. }
            | Self::TenantHasFunctions { .. }
            | Self::KeyEnded(_)
            | Self::TooManyKeys { .. }
            | Self::RevisionActive(..)
            | Self::NeedsApproval(_)
            | Self::SecretUnreadable(..)
            | Self::RevisionLacksSecret { .. }
            | Self::SecretInUse { .. }
            | Self::TooManySecrets { .. }
            | Self::NothingToRollBack(_)
            | Self::UploadBusy(_)
            | Self::WrongOffset { .. }
            | Self::Repeated { .. } => Code::Conflict,
            Self::SamePerson { .. } | Self::UnknownPerson { .. } => Code::PermissionDenied,
            Self::Changed { .. } => Code::PreconditionFailed,
            Self::KeyOfAnotherRequest => Code::IdempotencyKeyReused,
            Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::TooLarge { .. } | Self::TooManyBytes(_) => Code::RequestTooLarge,
            Self::Interrupted(source) if source.kind() == io::ErrorKind::TimedOut => Code::RequestTimeout,
            Self::Interrupted(_) => Code::Cancelled,
        }
    }

    /// The input at fault, as the API names it.
    fn field(&self) -> Option<&str> {
        match self {
            Self::NoArtifact { field, .. } | Self::SecretNotSet { field, .. } => Some(field),
            Self::NoSecret(..) => Some("secret"),
            Self::NoTenant(_) | Self::TenantNameTaken { .. } | Self::TenantHasFunctions { .. } => {
                Some("tenant")
            }
            Self::InvalidText { field } => Some(field),
            Self::NoKey(_) | Self::KeyEnded(_) => Some("key"),
            Self::NoFunction(_) => Some("function"),
            Self::NoRevision(..) => Some("revision"),
            Self::NotPending(..) => Some("activation"),
            Self::WrongOffset { .. } => Some("upload-offset"),
            Self::Changed { .. } => Some("if-match"),
            Self::Repeated { .. } | Self::KeyOfAnotherRequest => Some("idempotency-key"),
            Self::TooLarge { .. } | Self::TooManyBytes(_) => Some("upload-length"),
            _ => None,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = error.code();
        if code == Code::Internal {
            // Logged here and nowhere else, since the reason goes no further: it names paths and
            // tables, which are no client's.
            tracing::error!(error = &error as &dyn std::error::Error, "store failed");
            return Self::new(code, "the host could not read or write its data");
        }
        if code == Code::StorageUnavailable && !matches!(error, StoreError::RemovalUnderWay(_)) {
            tracing::error!(error = &error as &dyn std::error::Error, "storage is unavailable");
            return Self::new(
                code,
                "the host cannot reach its metastore or its artifacts now: try again later",
            );
        }
        let problem = match error {
            // Nothing frees it by itself but the collection of what is not used, which takes a day.
            StoreError::QuotaExceeded { quota, limit } => {
                let reached = Reached {
                    holder: Holder::Tenant,
                    quota,
                    limit,
                    window: None,
                    retry_after: Duration::from_secs(24 * 3_600),
                };
                Self { reached: Some(reached), ..Self::new(code, error.to_string()) }
            }
            _ => Self::new(code, error.to_string()),
        };
        match error.field() {
            Some(field) => problem.at(field),
            None => problem,
        }
    }
}
