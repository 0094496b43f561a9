//! Elements as bytes: little-endian and packed; of texts, each with its length before it (u32).

use bytes::{Buf, BufMut, Bytes};
use modelet_types::tensor::element_count;
use modelet_types::{Code, ElementType, Limits, Problem, Tensor};

/// A tensor of `shape` whose elements `bytes` are.
///
/// # Errors
/// If they are not as many as the shape needs, or not UTF-8 where they are texts.
pub(super) fn read(shape: &[usize], element_type: ElementType, bytes: Bytes) -> Result<Tensor, String> {
    let tensor = match element_type {
        ElementType::Text => {
            let count = element_count(shape).map_err(|error| error.to_string())?;
            Tensor::from_texts(shape, read_texts(bytes, count)?)
        }
        _ => Tensor::from_le_bytes(shape, element_type, bytes),
    };
    tensor.map_err(|error| error.to_string())
}

fn read_texts(mut bytes: Bytes, count: usize) -> Result<Vec<Box<str>>, String> {
    // Each has at least its length.
    let mut texts = Vec::with_capacity(count.min(bytes.len() / size_of::<u32>()));
    while bytes.has_remaining() {
        if texts.len() == count {
            return Err(format!("{} bytes follow its {count} elements", bytes.len()));
        }
        let cut = || format!("element {} is cut off", texts.len());
        let length = bytes.try_get_u32_le().map_err(|_| cut())? as usize;
        if length > bytes.len() {
            return Err(cut());
        }
        let text = std::str::from_utf8(&bytes[..length])
            .map_err(|_| format!("element {} is not UTF-8, which texts are on this host", texts.len()))?;
        texts.push(text.into());
        bytes.advance(length);
    }
    Ok(texts)
}

/// Refuses a response whose tensors alone would be more than `limits` allow, before any is written.
///
/// # Errors
/// `ResponseTooLarge`.
pub(super) fn check_size<'t>(
    tensors: impl Iterator<Item = &'t Tensor>,
    limits: &Limits,
) -> Result<(), Problem> {
    let size = |tensor: &Tensor| match (tensor.as_bytes(), tensor.as_texts()) {
        (Some(bytes), _) => bytes.len(),
        (None, texts) => texts.unwrap_or_default().iter().map(|text| size_of::<u32>() + text.len()).sum(),
    };
    let (bytes, limit) = (tensors.map(size).sum::<usize>(), limits.response_body_bytes);
    if bytes as u64 <= limit {
        return Ok(());
    }
    let detail =
        format!("the outputs have {bytes} bytes, over the limit of {limit} (limits.response_body_bytes)");
    Err(Problem::new(Code::ResponseTooLarge, detail))
}

/// Adds a tensor's elements to `body`, and says how many bytes they are.
pub(super) fn write(tensor: &Tensor, body: &mut Vec<u8>) -> usize {
    let before = body.len();
    match (tensor.as_bytes(), tensor.as_texts()) {
        // Of the hosts that there are, all are little-endian; `Tensor::from_le_bytes` sees to it.
        (Some(bytes), _) => body.extend_from_slice(bytes),
        (None, texts) => {
            for text in texts.unwrap_or_default() {
                body.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
                body.extend_from_slice(text.as_bytes());
            }
        }
    }
    body.len() - before
}
