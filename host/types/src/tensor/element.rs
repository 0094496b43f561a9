//! What the elements of tensors are.

use std::fmt;

use bytemuck::{AnyBitPattern, NoUninit};
use serde::{Deserialize, Serialize};

/// What one element is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum ElementType {
    Boolean,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    Bf16,
    F32,
    F64,
    /// UTF-8 text of any length.
    Text,
}

impl ElementType {
    /// The name in manifests, answers and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Text => "text",
        }
    }

    /// Bytes of one element; `None` for text.
    pub const fn size_bytes(self) -> Option<usize> {
        Some(match self {
            Self::Boolean | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Text => return None,
        })
    }

    /// A whole number as the bytes of one element; `None` if the type does not have it.
    pub fn le_bytes(self, value: i64) -> Option<Vec<u8>> {
        macro_rules! integer {
            ($rust:ty) => {
                <$rust>::try_from(value).ok()?.to_le_bytes().to_vec()
            };
        }
        Some(match self {
            Self::Boolean => u8::try_from(value).ok().filter(|value| *value <= 1)?.to_le_bytes().to_vec(),
            Self::U8 => integer!(u8),
            Self::U16 => integer!(u16),
            Self::U32 => integer!(u32),
            Self::U64 => integer!(u64),
            Self::I8 => integer!(i8),
            Self::I16 => integer!(i16),
            Self::I32 => integer!(i32),
            Self::I64 => integer!(i64),
            Self::F16 => half::f16::from_f64(value as f64).to_le_bytes().to_vec(),
            Self::Bf16 => half::bf16::from_f64(value as f64).to_le_bytes().to_vec(),
            Self::F32 => (value as f32).to_le_bytes().to_vec(),
            Self::F64 => (value as f64).to_le_bytes().to_vec(),
            Self::Text => return None,
        })
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A Rust type whose values are the elements of a tensor.
pub trait Element: NoUninit + AnyBitPattern + Send + Sync + 'static {
    /// The element type that it stands for.
    const TYPE: ElementType;
}

macro_rules! elements {
    ($($rust:ty => $variant:ident,)+) => {
        $(impl Element for $rust {
            const TYPE: ElementType = ElementType::$variant;
        })+
    };
}

elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    half::f16 => F16, half::bf16 => Bf16, f32 => F32, f64 => F64,
}
