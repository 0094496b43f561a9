//! Runs of ONNX Runtime through its C API.
//!
//! `ort::Session::run` takes the session exclusively, which would serialise a model's callers. ONNX
//! Runtime itself allows several threads in `Run` of one session, since its kernels keep no state
//! (onnxruntime.ai, "High level design", key design decisions; microsoft/onnxruntime#114, #22967).
//! The authors of `ort` doubt that for some execution providers; here there is the CPU one only.
//! Going to the C API also saves looking up names, and an allocator for every output.
#![expect(unsafe_code, reason = "the C API")]

use std::ffi::{CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use modelet_types::tensor::{Element, Shape, element_count};
use modelet_types::{ElementType, Tensor, TensorInfo};
use ort::AsPointer;
use ort::memory::{Allocator, MemoryInfo};
use ort::session::{RunOptions, Session};
use ort::sys::{ONNXTensorElementDataType as OnnxType, OrtStatusPtr, OrtValue};
use smallvec::SmallVec;

use super::super::{BackendRun, BackendSession};
use super::{failed, first_line};
use crate::cpu_time::{self, Charge, SharedMeter};
use crate::{Control, InferenceError};

/// Four inputs or outputs fit without an allocation.
type Few<T> = SmallVec<[T; 4]>;

/// A model in ONNX Runtime.
pub struct OnnxSession {
    pub session: Session,
    /// In the order of the signature, as C strings so that no run has to make them.
    pub input_names: Vec<CString>,
    pub output_names: Vec<CString>,
    pub outputs: Vec<TensorInfo>,
    /// Where our tensors are: plain memory.
    pub memory: MemoryInfo<'static>,
    /// Set if runs use threads other than the caller's.
    pub meter: Option<Arc<SharedMeter>>,
    /// Bytes of the prepared form that it was loaded from and reads from, if it was.
    pub prepared_bytes: Option<u64>,
}

impl BackendSession for OnnxSession {
    fn run(
        &self,
        inputs: &[Tensor],
        outputs: &[usize],
        control: &Control,
    ) -> Result<BackendRun, InferenceError> {
        control.check()?;
        let begin = cpu_time::of_this_thread();
        let charge = self.meter.as_ref().map(SharedMeter::begin);
        // Nobody asks while it goes on what a run has used that keeps the one who would.
        let measured = control.is_watched().then(|| {
            let (here, others) = (cpu_time::since(begin), charge.as_ref().map(Charge::reader));
            control
                .cost()
                .measure(move || here() + others.as_ref().map_or_else(Default::default, |others| others()))
        });
        let values = self.invoke(inputs, outputs, control).inspect_err(|_| {
            if measured.is_none() {
                control.cost().add(cpu_time::of_this_thread() - begin);
            }
        })?;
        let tensors = values
            .iter()
            .zip(outputs)
            .map(|(value, &output)| value.to_tensor(&self.outputs[output]))
            .collect::<Result<_, _>>()?;
        let others = charge.as_ref().map_or_else(Default::default, |charge| charge.so_far());
        let cpu_time = cpu_time::of_this_thread() - begin + others;
        measured.into_iter().for_each(|measured| measured.end(cpu_time));
        Ok(BackendRun { outputs: tensors, cpu_time })
    }

    fn runs_on_caller(&self) -> bool {
        self.meter.is_none()
    }

    fn keeps_file(&self) -> bool {
        false
    }

    fn prepared_bytes(&self) -> Option<u64> {
        self.prepared_bytes
    }
}

impl OnnxSession {
    fn invoke(
        &self,
        inputs: &[Tensor],
        outputs: &[usize],
        control: &Control,
    ) -> Result<Few<OwnedValue>, InferenceError> {
        let inputs = inputs.iter().map(|tensor| self.view(tensor)).collect::<Result<Few<_>, _>>()?;
        let input_pointers: Few<*const OrtValue> =
            inputs.iter().map(|value| value.0.as_ptr().cast_const()).collect();
        let input_names: Few<*const c_char> = self.input_names.iter().map(|name| name.as_ptr()).collect();
        let output_names: Few<*const c_char> =
            outputs.iter().map(|&output| self.output_names[output].as_ptr()).collect();
        let mut results: Few<*mut OrtValue> = SmallVec::from_elem(ptr::null_mut(), outputs.len());

        // Nobody could stop a run that blocks the one who would, so such runs do without.
        let options = if control.is_watched() {
            Some(Arc::new(RunOptions::new().map_err(|e| failed(first_line(&e)))?))
        } else {
            None
        };
        let _hook = match &options {
            Some(options) => {
                let options = Arc::clone(options);
                // Fails only if the run has ended, when there is nothing to stop.
                Some(control.on_stop(Arc::new(move || _ = options.terminate()))?)
            }
            None => None,
        };
        // SAFETY: the session, the names, the values and the options live until the call returns;
        // each count is the length of its array; `results` has room for one value per name, all
        // null, so that ONNX Runtime allocates them. The session is used by several threads at
        // once, which `Run` allows (module doc); inputs are only read by it.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.as_ref().map_or(ptr::null(), |options| options.ptr()),
                input_names.as_ptr(),
                input_pointers.as_ptr(),
                input_pointers.len(),
                output_names.as_ptr(),
                output_names.len(),
                results.as_mut_ptr(),
            )
        };
        // Owned before the status is looked at, so that an error leaks nothing.
        let results: Few<Option<OwnedValue>> =
            results.into_iter().map(|value| NonNull::new(value).map(OwnedValue)).collect();
        if let Err(error) = check(status) {
            // A run that was told to stop reports that as a failure of its own.
            control.check()?;
            return Err(error);
        }
        results.into_iter().map(|value| value.ok_or_else(|| failed("an output was not computed"))).collect()
    }

    /// `tensor` as a value of ONNX Runtime, valid for as long as `tensor` is.
    fn view(&self, tensor: &Tensor) -> Result<OwnedValue, InferenceError> {
        let shape = tensor
            .shape()
            .iter()
            .map(|&dim| i64::try_from(dim).map_err(|_| failed("a dimension is too large")))
            .collect::<Result<Few<i64>, _>>()?;
        let mut value = ptr::null_mut();
        let Some(bytes) = tensor.as_bytes() else {
            return text_value(tensor, &shape);
        };
        // SAFETY: `bytes` are the elements of a tensor: aligned for their type, as many as the shape
        // says, and alive for as long as the value, which the caller drops first. ONNX Runtime asks
        // for a mutable pointer, but does not write to the inputs of a run.
        let status = unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                self.memory.ptr(),
                bytes.as_ptr().cast_mut().cast::<c_void>(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                onnx_type(tensor.element_type()),
                &raw mut value,
            )
        };
        check(status)?;
        OwnedValue::new(value)
    }
}

/// Text is copied: ONNX Runtime keeps strings of its own.
fn text_value(tensor: &Tensor, shape: &[i64]) -> Result<OwnedValue, InferenceError> {
    let allocator = Allocator::default();
    let mut value = ptr::null_mut();
    // SAFETY: the allocator is the process-wide default one, and `shape` has the length given.
    check(unsafe {
        (ort::api().CreateTensorAsOrtValue)(
            allocator.ptr().cast_mut(),
            shape.as_ptr(),
            shape.len(),
            OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
            &raw mut value,
        )
    })?;
    let value = OwnedValue::new(value)?;
    // One by one, with their lengths: as C strings they would end at a NUL.
    for (index, text) in tensor.as_texts().unwrap_or_default().iter().enumerate() {
        let mut buffer = ptr::null_mut();
        // SAFETY: the value is a tensor of strings that is alive, and there is a place for the pointer.
        check(unsafe {
            (ort::api().GetResizedStringTensorElementBuffer)(
                value.0.as_ptr(),
                index,
                text.len(),
                &raw mut buffer,
            )
        })?;
        if !text.is_empty() {
            let buffer = NonNull::new(buffer).ok_or_else(|| failed("a text got no memory"))?;
            // SAFETY: ONNX Runtime gave room for `text.len()` bytes of its own memory at `buffer`.
            unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.as_ptr().cast::<u8>(), text.len()) };
        }
    }
    Ok(value)
}

/// A value that is released when dropped.
struct OwnedValue(NonNull<OrtValue>);

impl OwnedValue {
    fn new(value: *mut OrtValue) -> Result<Self, InferenceError> {
        NonNull::new(value).map(Self).ok_or_else(|| failed("a value was not made"))
    }

    /// A copy of the elements, as the output that `info` declares.
    fn to_tensor(&self, info: &TensorInfo) -> Result<Tensor, InferenceError> {
        let mut is_tensor = 0;
        // SAFETY: the value is alive, and there is a place for what is written.
        check(unsafe { (ort::api().IsTensor)(self.0.as_ptr(), &raw mut is_tensor) })?;
        if is_tensor == 0 {
            return Err(failed(format!("output `{}` is not a tensor", info.name)));
        }
        // An integer, since a later library may know element types that the enumeration lacks.
        let mut onnx = 0_i32;
        let (mut dims, mut rank) = (ptr::null(), 0);
        // SAFETY: as above, and the value is a tensor. The shape belongs to the value.
        check(unsafe {
            (ort::api().GetTensorElementTypeAndShapeDataReference)(
                self.0.as_ptr(),
                (&raw mut onnx).cast::<OnnxType>(),
                &raw mut dims,
                &raw mut rank,
            )
        })?;
        if onnx != onnx_type(info.element_type) as i32 {
            return Err(failed(format!("output `{}` is not of type {}", info.name, info.element_type)));
        }
        let dims: &[i64] = if rank == 0 {
            &[]
        } else {
            // SAFETY: ONNX Runtime gave `rank` dimensions at `dims`, which live as long as the value.
            unsafe { std::slice::from_raw_parts(dims, rank) }
        };
        let shape = dims
            .iter()
            .map(|&dim| usize::try_from(dim).map_err(|_| failed("a dimension is negative")))
            .collect::<Result<Shape, _>>()?;
        let count = element_count(&shape).map_err(|e| failed(e.to_string()))?;
        match info.element_type {
            ElementType::Boolean => {
                let flags: Vec<bool> = self.copy::<u8>(count)?.into_iter().map(|flag| flag != 0).collect();
                Tensor::from_bools(&shape, &flags)
            }
            ElementType::Text => Tensor::from_texts(&shape, self.texts(count, &info.name)?),
            ElementType::U8 => Tensor::from_vec(&shape, self.copy::<u8>(count)?),
            ElementType::U16 => Tensor::from_vec(&shape, self.copy::<u16>(count)?),
            ElementType::U32 => Tensor::from_vec(&shape, self.copy::<u32>(count)?),
            ElementType::U64 => Tensor::from_vec(&shape, self.copy::<u64>(count)?),
            ElementType::I8 => Tensor::from_vec(&shape, self.copy::<i8>(count)?),
            ElementType::I16 => Tensor::from_vec(&shape, self.copy::<i16>(count)?),
            ElementType::I32 => Tensor::from_vec(&shape, self.copy::<i32>(count)?),
            ElementType::I64 => Tensor::from_vec(&shape, self.copy::<i64>(count)?),
            ElementType::F16 => Tensor::from_vec(&shape, self.copy::<half::f16>(count)?),
            ElementType::Bf16 => Tensor::from_vec(&shape, self.copy::<half::bf16>(count)?),
            ElementType::F32 => Tensor::from_vec(&shape, self.copy::<f32>(count)?),
            ElementType::F64 => Tensor::from_vec(&shape, self.copy::<f64>(count)?),
        }
        .map_err(|e| failed(e.to_string()))
    }

    /// A copy of `count` elements, whose type was compared with the tensor's.
    fn copy<T: Element>(&self, count: usize) -> Result<Vec<T>, InferenceError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut data = ptr::null_mut();
        // SAFETY: the value is a tensor that is alive, and there is a place for the pointer.
        check(unsafe { (ort::api().GetTensorMutableData)(self.0.as_ptr(), &raw mut data) })?;
        // SAFETY: a tensor's data holds one element for each place of its shape, in memory that is
        // aligned for the type; `T` is that type, of which any bits are a value.
        let elements = unsafe { std::slice::from_raw_parts(data.cast::<T>(), count) };
        Ok(elements.to_vec())
    }

    /// A copy of `count` texts, of the output called `name`.
    fn texts(&self, count: usize, name: &str) -> Result<Vec<Box<str>>, InferenceError> {
        let mut length = 0;
        // SAFETY: the value is a tensor of strings that is alive, and there is a place for the length.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.0.as_ptr(), &raw mut length) })?;
        let (mut bytes, mut offsets) = (vec![0_u8; length], vec![0_usize; count]);
        // SAFETY: the two buffers have the lengths that are given with them.
        check(unsafe {
            (ort::api().GetStringTensorContent)(
                self.0.as_ptr(),
                bytes.as_mut_ptr().cast::<c_void>(),
                bytes.len(),
                offsets.as_mut_ptr(),
                offsets.len(),
            )
        })?;
        let ends = offsets.iter().skip(1).copied().chain([length]);
        offsets
            .iter()
            .zip(ends)
            .map(|(&begin, end)| {
                let text = bytes.get(begin..end).ok_or_else(|| failed("texts of an impossible length"))?;
                // A model's own bytes, which need not be text.
                std::str::from_utf8(text)
                    .map(Into::into)
                    .map_err(|_| failed(format!("output `{name}` has a text that is not UTF-8")))
            })
            .collect()
    }
}

impl Drop for OwnedValue {
    fn drop(&mut self) {
        // SAFETY: the value is owned, so this is its only release.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

fn check(status: OrtStatusPtr) -> Result<(), InferenceError> {
    // SAFETY: a status just returned by the C API, which nobody else releases.
    unsafe { ort::Error::result_from_status(status) }.map_err(|e| failed(first_line(&e)))
}

fn onnx_type(element_type: ElementType) -> OnnxType {
    match element_type {
        ElementType::Boolean => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        ElementType::U8 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        ElementType::U16 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        ElementType::U32 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        ElementType::U64 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        ElementType::I8 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        ElementType::I16 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        ElementType::I32 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        ElementType::I64 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        ElementType::F16 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        ElementType::Bf16 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        ElementType::F32 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        ElementType::F64 => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        ElementType::Text => OnnxType::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    }
}
