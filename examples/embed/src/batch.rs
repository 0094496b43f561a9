//! Which texts run together, and the tensors they make: rows padded to the longest of a batch.
//!
//! Knows token ids and nothing of text.

use modelet_sdk::{Error, Inputs, Tensor};

/// The most texts of a batch. At 256 tokens, attention over them takes 50 MB in the backend.
const MAX_ROWS: usize = 16;
/// What fills a row behind its text; the mask hides it from the model.
const PADDING: i64 = 0;

/// Texts that run together.
pub struct Batch<'a> {
    texts: Vec<usize>,
    rows: Vec<&'a [u32]>,
}

/// Puts texts of similar length together, as little padding as can be, and says where each came from.
pub fn plan(encoded: &[Vec<u32>]) -> Vec<Batch<'_>> {
    let mut order: Vec<usize> = (0..encoded.len()).collect();
    order.sort_by_key(|&text| encoded[text].len());
    order
        .chunks(MAX_ROWS)
        .map(|texts| Batch {
            texts: texts.to_vec(),
            rows: texts.iter().map(|&text| encoded[text].as_slice()).collect(),
        })
        .collect()
}

impl Batch<'_> {
    /// The places that its rows have in the request.
    pub fn texts(&self) -> &[usize] {
        &self.texts
    }

    /// `input_ids`, `attention_mask` and `token_type_ids`, each `[rows, longest row] i64`.
    ///
    /// # Errors
    /// If the host has no room for them.
    pub fn inputs(&self) -> Result<Inputs, Error> {
        let width = self.rows.iter().map(|row| row.len()).max().unwrap_or_default();
        let shape = [self.rows.len(), width];
        let mut ids = Vec::with_capacity(shape[0] * width);
        let mut mask = Vec::with_capacity(shape[0] * width);
        for row in &self.rows {
            let padding = width - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(PADDING, padding));
            mask.extend(std::iter::repeat_n(1_i64, row.len()));
            mask.extend(std::iter::repeat_n(0_i64, padding));
        }
        // Every token is of the first sentence: there is no second one.
        let types = vec![0_i64; ids.len()];
        Ok(Inputs::new()
            .with("input_ids", Tensor::new(shape, ids)?)
            .with("attention_mask", Tensor::new(shape, mask)?)
            .with("token_type_ids", Tensor::new(shape, types)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_to_the_longest_and_masks_the_padding() {
        let encoded = [vec![101, 7, 8, 102], vec![101, 102]];
        let batches = plan(&encoded);
        let inputs = batches[0].inputs().unwrap();
        let values = |name: &str| inputs.get(name).unwrap().to_vec::<i64>().unwrap();
        assert_eq!(batches[0].texts(), [1, 0]);
        assert_eq!(values("input_ids"), [101, 102, 0, 0, 101, 7, 8, 102]);
        assert_eq!(values("attention_mask"), [1, 1, 0, 0, 1, 1, 1, 1]);
        assert_eq!(values("token_type_ids"), [0; 8]);
    }

    #[test]
    fn every_text_is_in_one_batch_of_bounded_size() {
        let encoded: Vec<Vec<u32>> = (0..40).map(|length| vec![1; 1 + length * 7 % 40]).collect();
        let batches = plan(&encoded);
        let mut texts: Vec<usize> = batches.iter().flat_map(|batch| batch.texts().to_vec()).collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..40).collect::<Vec<_>>());
        assert!(batches.iter().all(|batch| batch.texts().len() <= MAX_ROWS));
    }
}
