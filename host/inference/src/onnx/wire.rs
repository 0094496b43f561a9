//! The wire format of protocol buffers (protobuf.dev, "Encoding"), as far as ONNX files use it.
//!
//! Safe on hostile bytes: every length is checked against what is there, nesting is bounded, and
//! nothing is allocated.

/// The deepest nesting of messages; protocol buffers' own default limit.
const MAX_DEPTH: u32 = 100;

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Malformed(pub &'static str);

/// An encoded message.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    depth: u32,
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number, a truth value or an enumeration.
    Varint(u64),
    /// Text, bytes, a nested message or packed numbers.
    Bytes(&'a [u8]),
    /// A number of fixed size; no field that is read here has one.
    Fixed,
}

impl<'a> Message<'a> {
    /// The outermost message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, depth: 0 }
    }

    /// The message in a field of this one.
    pub fn nested(&self, bytes: &'a [u8]) -> Result<Self, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed("it is nested too deeply"));
        }
        Ok(Self { bytes, depth: self.depth + 1 })
    }

    /// Its encoded length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The fields with their numbers, in the order of the file. Ends after the first error.
    pub fn fields(&self) -> impl Iterator<Item = Result<(u32, Value<'a>), Malformed>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let field = take_field(&mut rest);
            if field.is_err() {
                rest = &[];
            }
            Some(field)
        })
    }
}

/// The numbers of a packed field.
pub fn packed_varints(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = take_varint(&mut bytes);
        if number.is_err() {
            bytes = &[];
        }
        Some(number)
    })
}

/// A field's bytes as text.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8"))
}

/// A name from the file, short and without control characters, for a message.
pub fn quote(name: &str) -> String {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("`{shown}`")
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Malformed> {
    let tag = u32::try_from(take_varint(rest)?).map_err(|_| Malformed("a field number is too large"))?;
    let value = match tag & 7 {
        0 => Value::Varint(take_varint(rest)?),
        1 => take(rest, 8).map(|_| Value::Fixed)?,
        2 => {
            let length = take_varint(rest)?;
            let length = usize::try_from(length).map_err(|_| TOO_SHORT)?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed)?,
        // 3 and 4 are groups, which ONNX has never used.
        _ => return Err(Malformed("a field has an unknown wire type")),
    };
    match tag >> 3 {
        0 => Err(Malformed("a field has the number 0")),
        number => Ok((number, value)),
    }
}

const TOO_SHORT: Malformed = Malformed("it ends in the middle of a field");

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    rest.split_off(..length).ok_or(TOO_SHORT)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = *rest.split_off_first().ok_or(TOO_SHORT)?;
        // The tenth byte has room for one bit; protocol buffers drop the others, and so does this.
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed("a number is longer than 10 bytes"))
}
