//! Elements as JSON: numbers, truth values or texts in row-major order, flat or nested.

use std::fmt;

use half::{bf16, f16};
use modelet_types::tensor::{Element, element_count};
use modelet_types::{ElementType, Tensor};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};
use serde_json::value::RawValue;

/// A tensor of `shape` whose elements `json` lists.
///
/// # Errors
/// If they are not as many as the shape needs, nested otherwise than it says, or no elements of the type.
pub(super) fn read(shape: &[usize], element_type: ElementType, json: &RawValue) -> Result<Tensor, String> {
    fn list<T: FromJson>(shape: &[usize], json: &RawValue) -> Result<Vec<T>, String> {
        let count = element_count(shape).map_err(|error| error.to_string())?;
        let mut elements = Vec::with_capacity(count.min(json.get().len()));
        let level = Level { shape, count, depth: 0, elements: &mut elements };
        let mut json = serde_json::Deserializer::from_str(json.get());
        level.deserialize(&mut json).map_err(|error| without_place(&error))?;
        Ok(elements)
    }
    macro_rules! tensor {
        ($rust:ty) => {
            Tensor::from_vec(shape, list::<$rust>(shape, json)?)
        };
    }
    let tensor = match element_type {
        ElementType::Boolean => Tensor::from_bools(shape, &list::<bool>(shape, json)?),
        ElementType::U8 => tensor!(u8),
        ElementType::U16 => tensor!(u16),
        ElementType::U32 => tensor!(u32),
        ElementType::U64 => tensor!(u64),
        ElementType::I8 => tensor!(i8),
        ElementType::I16 => tensor!(i16),
        ElementType::I32 => tensor!(i32),
        ElementType::I64 => tensor!(i64),
        ElementType::F16 => tensor!(f16),
        ElementType::Bf16 => tensor!(bf16),
        ElementType::F32 => tensor!(f32),
        ElementType::F64 => tensor!(f64),
        ElementType::Text => Tensor::from_texts(shape, list::<Box<str>>(shape, json)?),
    };
    tensor.map_err(|error| error.to_string())
}

/// The place would be that inside of `data`, of which the caller knows nothing.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// A list at some depth of the nesting.
struct Level<'l, T> {
    shape: &'l [usize],
    /// Elements of the whole tensor.
    count: usize,
    depth: usize,
    elements: &'l mut Vec<T>,
}

impl<'de, T: FromJson> DeserializeSeed<'de> for Level<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: FromJson> Visitor<'de> for Level<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { shape, count, depth, elements } = self;
        let (mut entries, mut are_lists) = (0, false);
        while let Some(is_list) = list.next_element_seed(Entry { shape, count, depth, elements })? {
            if entries > 0 && is_list != are_lists {
                return Err(A::Error::custom("lists and elements stand side by side"));
            }
            entries += 1;
            are_lists = is_list;
        }
        // A flat list is counted as a whole.
        if depth == 0 && !are_lists {
            return Ok(());
        }
        let is_innermost = depth + 1 == shape.len() || (entries == 0 && count == 0);
        if shape.get(depth) != Some(&entries) || (!are_lists && !is_innermost) {
            return Err(A::Error::custom(format!(
                "the lists are nested otherwise than shape {shape:?} says: one at depth {depth} has \
                 {entries} entries"
            )));
        }
        Ok(())
    }
}

/// What stands in a list: an element, or another list. Tells which.
struct Entry<'l, T> {
    shape: &'l [usize],
    count: usize,
    depth: usize,
    elements: &'l mut Vec<T>,
}

impl<T: FromJson> Entry<'_, T> {
    fn push<E: Error>(self, element: Option<T>, unexpected: impl fmt::Display) -> Result<bool, E> {
        if self.elements.len() == self.count {
            return Err(E::custom(format!(
                "shape {:?} has {} elements, but more were given",
                self.shape, self.count
            )));
        }
        let element = element.ok_or_else(|| E::custom(format!("{unexpected} is no {}", T::NAME)))?;
        self.elements.push(element);
        Ok(false)
    }
}

impl<'de, T: FromJson> DeserializeSeed<'de> for Entry<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: FromJson> Visitor<'de> for Entry<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", T::NAME)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        self.push(T::of_bool(value), value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        self.push(T::of_u64(value), value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        self.push(T::of_i64(value), value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        self.push(T::of_f64(value), value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
        let shown: String = value.chars().take(40).collect();
        self.push(T::of_text(value), format_args!("\"{shown}\""))
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        self.push(None, "null")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<bool, A::Error> {
        let Self { shape, count, depth, elements } = self;
        Level { shape, count, depth: depth + 1, elements }.visit_seq(list)?;
        Ok(true)
    }
}

/// What an element can be read from.
trait FromJson: Sized {
    /// What it is called in errors.
    const NAME: &'static str;

    fn of_bool(_: bool) -> Option<Self> {
        None
    }
    fn of_u64(_: u64) -> Option<Self> {
        None
    }
    fn of_i64(_: i64) -> Option<Self> {
        None
    }
    fn of_f64(_: f64) -> Option<Self> {
        None
    }
    fn of_text(_: &str) -> Option<Self> {
        None
    }
}

macro_rules! integers {
    ($($rust:ty => $name:literal,)+) => {
        $(impl FromJson for $rust {
            const NAME: &'static str = $name;

            fn of_u64(value: u64) -> Option<Self> {
                value.try_into().ok()
            }

            fn of_i64(value: i64) -> Option<Self> {
                value.try_into().ok()
            }

            /// Some clients write every number with a point. Larger ones may not be what was meant.
            fn of_f64(value: f64) -> Option<Self> {
                const EXACT: f64 = (1_u64 << 53) as f64;
                let is_whole = value.trunc() == value && value.abs() <= EXACT;
                if is_whole { (value as i64).try_into().ok() } else { None }
            }
        })+
    };
}

integers! {
    u8 => "UINT8", u16 => "UINT16", u32 => "UINT32", u64 => "UINT64",
    i8 => "INT8", i16 => "INT16", i32 => "INT32", i64 => "INT64",
}

macro_rules! floats {
    ($($rust:ty => $name:literal, $from:expr;)+) => {
        $(impl FromJson for $rust {
            const NAME: &'static str = $name;

            fn of_u64(value: u64) -> Option<Self> {
                Self::of_f64(value as f64)
            }

            fn of_i64(value: i64) -> Option<Self> {
                Self::of_f64(value as f64)
            }

            /// A number that is too large for the type would be an infinity, which nobody wrote.
            fn of_f64(value: f64) -> Option<Self> {
                let from: fn(f64) -> $rust = $from;
                let element = from(value);
                element.is_finite().then_some(element)
            }
        })+
    };
}

floats! {
    f16 => "FP16", f16::from_f64;
    bf16 => "BF16", bf16::from_f64;
    f32 => "FP32", |value| value as f32;
    f64 => "FP64", |value| value;
}

impl FromJson for bool {
    const NAME: &'static str = "BOOL";

    fn of_bool(value: bool) -> Option<Self> {
        Some(value)
    }

    fn of_u64(value: u64) -> Option<Self> {
        (value <= 1).then_some(value == 1)
    }
}

impl FromJson for Box<str> {
    const NAME: &'static str = "text";

    fn of_text(value: &str) -> Option<Self> {
        Some(value.into())
    }
}

/// The elements of a tensor as a flat list. Numbers that JSON does not have (NaN, infinities) become
/// `null`.
pub(super) struct Elements<'t>(pub &'t Tensor);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(tensor) = self;
        match tensor.element_type() {
            ElementType::Boolean => {
                let values = tensor.as_bools().unwrap_or_default();
                list(serializer, values.iter().map(|&value| value != 0))
            }
            ElementType::U8 => numbers::<S, u8>(tensor, serializer),
            ElementType::U16 => numbers::<S, u16>(tensor, serializer),
            ElementType::U32 => numbers::<S, u32>(tensor, serializer),
            ElementType::U64 => numbers::<S, u64>(tensor, serializer),
            ElementType::I8 => numbers::<S, i8>(tensor, serializer),
            ElementType::I16 => numbers::<S, i16>(tensor, serializer),
            ElementType::I32 => numbers::<S, i32>(tensor, serializer),
            ElementType::I64 => numbers::<S, i64>(tensor, serializer),
            ElementType::F16 => {
                let values = tensor.as_slice::<f16>().unwrap_or_default();
                list(serializer, values.iter().map(|value| value.to_f32()))
            }
            ElementType::Bf16 => {
                let values = tensor.as_slice::<bf16>().unwrap_or_default();
                list(serializer, values.iter().map(|value| value.to_f32()))
            }
            ElementType::F32 => numbers::<S, f32>(tensor, serializer),
            ElementType::F64 => numbers::<S, f64>(tensor, serializer),
            ElementType::Text => list(serializer, tensor.as_texts().unwrap_or_default().iter()),
        }
    }
}

fn numbers<S: Serializer, T: Element + Serialize>(tensor: &Tensor, serializer: S) -> Result<S::Ok, S::Error> {
    list(serializer, tensor.as_slice::<T>().unwrap_or_default().iter())
}

fn list<S: Serializer, T: Serialize>(
    serializer: S,
    elements: impl ExactSizeIterator<Item = T>,
) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(elements.len()))?;
    for element in elements {
        list.serialize_element(&element)?;
    }
    list.end()
}
