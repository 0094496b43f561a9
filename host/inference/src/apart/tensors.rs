//! Tensors in a message or in shared memory: what each is, then the elements of all.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | how many |
//! | 1, 1, 8 for each dimension | of each: its element type, how many dimensions, and those |
//! | 8, 8 | of each: where its elements begin, and how many bytes they take |
//!
//! Elements begin at multiples of 64, so that they are aligned for every type. Texts are one after another,
//! each after its length in 4 bytes.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use modelet_types::tensor::{MAX_RANK, Shape, element_count};
use modelet_types::{ElementType, Tensor};

use super::wire::{Broken, Reader};

const ALIGNMENT: usize = 64;

/// Tensors that are to be sent, with what stands before them.
pub struct Packed<'a> {
    head: Vec<u8>,
    parts: Vec<(usize, Cow<'a, [u8]>)>,
    length: usize,
}

impl<'a> Packed<'a> {
    /// Packs `tensors` after `prefix`, which is the message's own.
    pub fn new(prefix: &[u8], tensors: &'a [Tensor]) -> Self {
        let fields: usize = tensors.iter().map(|tensor| 18 + 8 * tensor.shape().len()).sum();
        let mut head = Vec::with_capacity(prefix.len() + 4 + fields);
        head.extend_from_slice(prefix);
        head.extend((tensors.len() as u32).to_le_bytes());
        let mut length = head.len() + fields;
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let shape = tensor.shape();
            // A tensor has no more dimensions than `MAX_RANK`.
            head.extend([type_code(tensor.element_type()), shape.len() as u8]);
            shape.iter().for_each(|&dim| head.extend((dim as u64).to_le_bytes()));
            let elements = match tensor.as_bytes() {
                Some(bytes) => Cow::Borrowed(bytes),
                None => Cow::Owned(pack_texts(tensor.as_texts().unwrap_or_default())),
            };
            let begin = length.next_multiple_of(ALIGNMENT);
            length = begin + elements.len();
            head.extend((begin as u64).to_le_bytes());
            head.extend((elements.len() as u64).to_le_bytes());
            parts.push((begin, elements));
        }
        Self { head, parts, length }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.length
    }

    /// All of it, for a message.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length);
        bytes.extend_from_slice(&self.head);
        for (begin, elements) in &self.parts {
            bytes.resize(*begin, 0);
            bytes.extend_from_slice(elements);
        }
        bytes
    }

    /// Writes all of it to shared memory.
    pub fn write_to(&self, memory: &File) -> io::Result<()> {
        memory.write_all_at(&self.head, 0)?;
        self.parts.iter().try_for_each(|(begin, elements)| memory.write_all_at(elements, *begin as u64))
    }
}

fn pack_texts(texts: &[Box<str>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum());
    for text in texts {
        // No text of a request or a model is 4 GiB long; were one, its length would not fit what follows,
        // and be refused there.
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// Takes tensors out of `all`, of which `reader` has read what stands before them. Their elements stay
/// where they are if they make up half of it; what is small does not keep the rest in memory.
pub fn unpack(all: &Bytes, mut reader: Reader<'_>) -> Result<Vec<Tensor>, Broken> {
    let count = reader.u32()? as usize;
    // Each takes some bytes, so a number alone makes nothing large.
    let mut tensors = Vec::with_capacity(count.min(reader.0.len() / 18));
    let mut left = all.len();
    for _ in 0..count {
        let element_type = element_type(reader.u8()?)?;
        let rank = usize::from(reader.u8()?);
        if rank > MAX_RANK {
            return Err(Broken("a tensor has too many dimensions"));
        }
        let shape = (0..rank).map(|_| size(reader.u64()?)).collect::<Result<Shape, _>>()?;
        let (begin, length) = (size(reader.u64()?)?, size(reader.u64()?)?);
        let end = begin.checked_add(length).filter(|end| *end <= all.len());
        let range = begin..end.ok_or(Broken("a tensor is not within the message"))?;
        // Many that are the same bytes would be more than what came.
        left = left.checked_sub(length).ok_or(Broken("tensors overlap"))?;
        let elements =
            if length >= all.len() / 2 { all.slice(range) } else { Bytes::copy_from_slice(&all[range]) };
        let tensor = match element_type {
            ElementType::Text => Tensor::from_texts(&shape, texts(&shape, &elements)?),
            _ => Tensor::from_le_bytes(&shape, element_type, elements),
        };
        tensors.push(tensor.map_err(|_| Broken("a tensor's elements are not as many as its shape says"))?);
    }
    Ok(tensors)
}

fn texts(shape: &[usize], bytes: &[u8]) -> Result<Vec<Box<str>>, Broken> {
    let count = element_count(shape).map_err(|_| Broken("a tensor's shape is too large"))?;
    let mut reader = Reader(bytes);
    let mut texts = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let length = reader.u32()? as usize;
        let (text, rest) = reader.0.split_at_checked(length).ok_or(Broken("a text is cut off"))?;
        texts.push(str::from_utf8(text).map_err(|_| Broken("a text is none"))?.into());
        reader = Reader(rest);
    }
    if reader.0.is_empty() { Ok(texts) } else { Err(Broken("there are more texts than the shape says")) }
}

fn size(value: u64) -> Result<usize, Broken> {
    usize::try_from(value).map_err(|_| Broken("a size is too large"))
}

const TYPES: [ElementType; 14] = [
    ElementType::Boolean,
    ElementType::U8,
    ElementType::U16,
    ElementType::U32,
    ElementType::U64,
    ElementType::I8,
    ElementType::I16,
    ElementType::I32,
    ElementType::I64,
    ElementType::F16,
    ElementType::Bf16,
    ElementType::F32,
    ElementType::F64,
    ElementType::Text,
];

/// The place of a type in [`TYPES`].
const fn type_code(element_type: ElementType) -> u8 {
    match element_type {
        ElementType::Boolean => 0,
        ElementType::U8 => 1,
        ElementType::U16 => 2,
        ElementType::U32 => 3,
        ElementType::U64 => 4,
        ElementType::I8 => 5,
        ElementType::I16 => 6,
        ElementType::I32 => 7,
        ElementType::I64 => 8,
        ElementType::F16 => 9,
        ElementType::Bf16 => 10,
        ElementType::F32 => 11,
        ElementType::F64 => 12,
        ElementType::Text => 13,
    }
}

fn element_type(code: u8) -> Result<ElementType, Broken> {
    TYPES.get(usize::from(code)).copied().ok_or(Broken("a tensor's element type has no meaning"))
}

/// Takes tensors out of `bytes`, and panics if they take more memory than they may, or are others once they
/// are packed again.
#[cfg(any(test, fuzzing))]
pub(super) fn check(bytes: &[u8]) {
    let Ok(tensors) = unpack(&Bytes::copy_from_slice(bytes), Reader(bytes)) else { return };
    // A text takes 4 bytes there beside its own, and a handle here.
    let most = bytes.len() * size_of::<Box<str>>() / 4;
    assert!(tensors.iter().map(Tensor::byte_len).sum::<usize>() <= most);
    let packed = Packed::new(b"", &tensors).to_vec();
    let again = unpack(&Bytes::from(packed.clone()), Reader(&packed)).expect("it was packed here");
    for (tensor, again) in tensors.iter().zip(&again) {
        assert_eq!((tensor.shape(), tensor.element_type()), (again.shape(), again.element_type()));
        assert_eq!((tensor.as_bytes(), tensor.as_texts()), (again.as_bytes(), again.as_texts()));
    }
    assert_eq!(tensors.len(), again.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(bytes: &[u8]) -> Result<Vec<Tensor>, Broken> {
        unpack(&Bytes::copy_from_slice(bytes), Reader(bytes))
    }

    fn samples() -> Vec<Tensor> {
        let texts = ["", "Grüße"].map(Into::into).to_vec();
        vec![
            Tensor::from_vec(&[2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]).unwrap(),
            Tensor::from_bools(&[3], &[true, false, true]).unwrap(),
            Tensor::from_texts(&[2], texts).unwrap(),
            Tensor::from_vec(&[], vec![-7_i64]).unwrap(),
            Tensor::from_vec::<f64>(&[0, 5], vec![]).unwrap(),
        ]
    }

    #[test]
    fn tensors_arrive_as_they_were() {
        let tensors = samples();
        let packed = Packed::new(b"", &tensors);
        let bytes = packed.to_vec();
        assert_eq!(bytes.len(), packed.len());
        let file = tempfile::tempfile().unwrap();
        file.set_len(packed.len() as u64).unwrap();
        packed.write_to(&file).unwrap();
        let mut written = vec![0; bytes.len()];
        file.read_exact_at(&mut written, 0).unwrap();
        assert_eq!(written, bytes);
        let got = unpacked(&bytes).unwrap();
        for (got, sent) in got.iter().zip(&tensors) {
            assert_eq!((got.shape(), got.element_type()), (sent.shape(), sent.element_type()));
            assert_eq!((got.as_bytes(), got.as_texts()), (sent.as_bytes(), sent.as_texts()));
        }
        assert_eq!(got.len(), tensors.len());
    }

    #[test]
    fn every_code_is_that_of_its_type() {
        for (code, known) in TYPES.into_iter().enumerate() {
            assert_eq!(usize::from(type_code(known)), code);
        }
    }

    #[test]
    fn what_is_small_does_not_keep_what_is_large() {
        let tensors = [
            Tensor::from_vec(&[4], vec![1_u8; 4]).unwrap(),
            Tensor::from_vec(&[10_000], vec![1_u8; 10_000]).unwrap(),
        ];
        let all = Bytes::from(Packed::new(b"", &tensors).to_vec());
        let got = unpack(&all, Reader(&all)).unwrap();
        let within = |tensor: &Tensor| all.as_ptr_range().contains(&tensor.as_bytes().unwrap().as_ptr());
        assert!(!within(&got[0]) && within(&got[1]));
    }

    #[test]
    fn lies_are_refused() {
        let whole = Packed::new(b"", &samples()).to_vec();
        for end in 0..whole.len() {
            assert!(unpacked(&whole[..end]).is_err(), "{end}");
        }
        let with = |at: usize, bytes: &[u8]| {
            let mut lie = whole.clone();
            lie[at..at + bytes.len()].copy_from_slice(bytes);
            unpacked(&lie).map(|_| ())
        };
        assert!(with(0, &u32::MAX.to_le_bytes()).is_err(), "more than there are");
        assert!(with(4, &[14]).is_err(), "a type that there is not");
        assert!(with(4, &[13]).is_err(), "numbers as texts");
        assert!(with(5, &[17]).is_err(), "more dimensions than a tensor has");
        assert!(with(6, &u64::MAX.to_le_bytes()).is_err(), "a dimension that nobody can count");
        assert!(with(6, &3_u64.to_le_bytes()).is_err(), "a shape of more elements");
        assert!(with(22, &u64::MAX.to_le_bytes()).is_err(), "elements that begin outside");
        assert!(with(22, &(whole.len() as u64).to_le_bytes()).is_err(), "elements that end outside");
        assert!(with(30, &(u64::MAX - 64).to_le_bytes()).is_err(), "more bytes than can be counted");
        assert!(with(30, &15_u64.to_le_bytes()).is_err(), "half an element");
        let one = [Tensor::from_vec(&[100], vec![0_u8; 100]).unwrap()];
        let mut twice = Packed::new(b"", &one).to_vec();
        twice[0] = 2;
        twice.copy_within(4..30, 30);
        assert_eq!(unpacked(&twice).err(), Some(Broken("tensors overlap")));
    }
}
