//! What the API's description says of the texts in the vocabulary: a client can check what it sends.

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::id::MAX_NAME_BYTES;
use crate::outbound::OutboundRule;
use crate::{Digest, FunctionName, InvocationId, KeyId, ModelName, RevisionNumber, SecretName, TenantName};

/// A name, as [`crate::InvalidName`] says it.
pub const NAME_PATTERN: &str = "^[a-z]([a-z0-9-]*[a-z0-9])?$";

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

macro_rules! schemas {
    ($($type:ty => $schema:expr;)+) => {$(
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $type {}
    )+};
}

fn name(description: &str) -> ObjectBuilder {
    text(description).pattern(Some(NAME_PATTERN)).max_length(Some(MAX_NAME_BYTES))
}

schemas! {
    TenantName => name("The name of a tenant.");
    FunctionName => name("The name of a function, unique within its tenant.");
    ModelName => name("What a handler calls one of its models.");
    SecretName => name("What a handler calls one of its function's secrets.");
    Digest => text("The SHA-256 of an artifact or of a change.").pattern(Some("^sha256:[0-9a-f]{64}$"));
    KeyId => text("The part of a key that may be shown.").pattern(Some("^[0-9a-f]{12}$"));
    InvocationId => text("One call of a function; ids sort by time.")
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    RevisionNumber => ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::UInt64)))
        .minimum(Some(0))
        .maximum(Some(usize::MAX))
        .description(Some("The number of a revision within its function; 1 is the first."));
    OutboundRule => text("`[METHOD,…] [scheme://]host[:port]`");
}
