//! Attacks through tensors and models.
#![expect(unsafe_code, reason = "one of them calls the import by hand")]

use modelet_sdk::{Model, Problem, Query, Tensor};

use crate::Amount;

/// Holds tensors of one MiB each until the host refuses.
pub(crate) async fn hold_large_tensors(Query(mib): Query<Amount>) -> Result<String, Problem> {
    let elements = vec![0_u8; 1 << 20];
    let mut held = Vec::new();
    for _ in 0..mib.n {
        held.push(Tensor::new([1 << 20], &elements)?);
    }
    Ok(format!("held {} MiB", held.len()))
}

pub(crate) async fn hold_many_tensors(Query(count): Query<Amount>) -> Result<String, Problem> {
    let mut held = Vec::new();
    for _ in 0..count.n {
        held.push(Tensor::new([1], [0_u8])?);
    }
    Ok(format!("held {}", held.len()))
}

pub(crate) async fn fewer_elements_than_the_shape() -> Result<String, Problem> {
    let tensor = Tensor::new([1, 64], [1.0_f32; 3])?;
    Ok(format!("made a tensor of shape {:?}", tensor.shape()))
}

/// 2⁶⁴ elements, which is 0 for who multiplies without looking.
pub(crate) async fn shape_that_overflows() -> Result<String, Problem> {
    let tensor = Tensor::new([1 << 16; 4], [0_f32; 0])?;
    Ok(format!("made a tensor of shape {:?}", tensor.shape()))
}

/// Calls the import by hand, since no binding would send this: a list that begins in memory and
/// ends far outside of it.
pub(crate) async fn elements_outside_of_memory() -> Result<String, Problem> {
    Ok(create_from_outside_of_memory())
}

#[inline(never)]
fn create_from_outside_of_memory() -> String {
    #[link(wasm_import_module = "modelet:inference/tensors@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[static]tensor.create"]
        fn create(
            shape: *const u64,
            shape_len: usize,
            elements_case: i32,
            elements: *const u8,
            elements_len: usize,
            result: *mut u32,
        );
    }
    const U8_CASE: i32 = 1;
    let shape = [0x7fff_0000_u64];
    let mut result = [0_u32; 4];
    // SAFETY: the host must refuse the list before it writes `result`, which is large enough for
    // what it writes if it does not.
    unsafe { create(shape.as_ptr(), 1, U8_CASE, std::ptr::dangling(), 0x7fff_0000, result.as_mut_ptr()) };
    format!("the host read outside of memory: {result:?}")
}

pub(crate) async fn shape_that_the_model_does_not_take() -> Result<String, Problem> {
    infer("input", &Tensor::new([1, 63], [0.0_f32; 63])?).await
}

pub(crate) async fn input_that_the_model_does_not_have() -> Result<String, Problem> {
    infer("secret", &Tensor::new([1, 64], [0.0_f32; 64])?).await
}

async fn infer(name: &str, tensor: &Tensor) -> Result<String, Problem> {
    let outputs = Model::load("digits").await?.infer([(name, tensor)]).await?;
    Ok(format!("the model answered with {:?}", outputs.into_one()?.shape()))
}

/// The neighbour's revision has a model of this name; this one has not.
pub(crate) async fn model_of_somebody_else() -> Result<String, Problem> {
    let model = Model::load("secret").await?;
    Ok(format!("has loaded {}", model.name()))
}
