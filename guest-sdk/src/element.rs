//! What the elements of a tensor can be: the types of the contract and the Rust types for them.

use std::fmt;

use crate::error::Error;
use crate::host;

/// Calls a macro with every element type, so that the list stands once.
macro_rules! with_element_types {
    ($callback:ident) => {
        $callback! { Boolean U8 U16 U32 U64 I8 I16 I32 I64 F16 Bf16 F32 F64 Text }
    };
}
#[cfg(target_family = "wasm")]
pub(crate) use with_element_types;

/// What one element of a tensor is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    /// The name in manifests, recordings and messages.
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
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The elements of a tensor in row-major order, for code that takes any type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of `ElementType`")]
pub enum Elements {
    Boolean(Vec<bool>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    /// IEEE 754 binary16, as bits.
    F16(Vec<u16>),
    /// bfloat16 (the upper half of a binary32), as bits.
    Bf16(Vec<u16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Text(Vec<String>),
}

/// Elements on their way to the host, which copies them.
#[derive(Clone, Copy)]
pub(crate) enum ElementsRef<'a> {
    Boolean(&'a [bool]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    F16(&'a [u16]),
    Bf16(&'a [u16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Text(&'a [&'a str]),
}

macro_rules! shared_methods {
    ($($variant:ident)+) => {
        impl Elements {
            /// What every element is.
            pub fn element_type(&self) -> ElementType {
                match self {
                    $(Self::$variant(_) => ElementType::$variant,)+
                }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(elements) => elements.len(),)+
                }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}
with_element_types!(shared_methods);

mod sealed {
    /// Keeps [`super::Element`] to the types of the contract.
    pub trait Sealed {}
}

/// A Rust type whose values are the elements of a tensor: `bool`, the integers, `f32`, `f64`,
/// `String`, and with the feature `half` its `f16` and `bf16`.
pub trait Element: Clone + sealed::Sealed + 'static {
    /// The element type that it stands for.
    const TYPE: ElementType;

    #[doc(hidden)]
    fn create(shape: &[u64], elements: &[Self]) -> Result<host::Tensor, Error>;

    #[doc(hidden)]
    fn take(elements: Elements) -> Option<Vec<Self>>;
}

macro_rules! elements {
    ($($rust:ty => $variant:ident,)+) => {
        $(
            impl sealed::Sealed for $rust {}

            impl Element for $rust {
                const TYPE: ElementType = ElementType::$variant;

                fn create(shape: &[u64], elements: &[Self]) -> Result<host::Tensor, Error> {
                    host::Tensor::create(shape, ElementsRef::$variant(elements))
                }

                fn take(elements: Elements) -> Option<Vec<Self>> {
                    match elements {
                        Elements::$variant(elements) => Some(elements),
                        _ => None,
                    }
                }
            }
        )+
    };
}

elements! {
    bool => Boolean,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    f32 => F32, f64 => F64,
}

impl sealed::Sealed for String {}

impl Element for String {
    const TYPE: ElementType = ElementType::Text;

    fn create(shape: &[u64], elements: &[Self]) -> Result<host::Tensor, Error> {
        let texts: Vec<&str> = elements.iter().map(String::as_str).collect();
        host::Tensor::create(shape, ElementsRef::Text(&texts))
    }

    fn take(elements: Elements) -> Option<Vec<Self>> {
        match elements {
            Elements::Text(texts) => Some(texts),
            _ => None,
        }
    }
}

#[cfg(feature = "half")]
mod half_floats {
    use half::slice::HalfFloatSliceExt;
    use half::vec::HalfBitsVecExt;

    use super::{Element, ElementType, Elements, ElementsRef, Error, host, sealed};

    macro_rules! half_floats {
        ($($rust:ty => $variant:ident,)+) => {
            $(
                impl sealed::Sealed for $rust {}

                impl Element for $rust {
                    const TYPE: ElementType = ElementType::$variant;

                    fn create(shape: &[u64], elements: &[Self]) -> Result<host::Tensor, Error> {
                        host::Tensor::create(shape, ElementsRef::$variant(elements.reinterpret_cast()))
                    }

                    fn take(elements: Elements) -> Option<Vec<Self>> {
                        match elements {
                            Elements::$variant(bits) => Some(bits.reinterpret_into()),
                            _ => None,
                        }
                    }
                }
            )+
        };
    }

    half_floats! {
        half::f16 => F16,
        half::bf16 => Bf16,
    }
}
