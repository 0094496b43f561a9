//! Traps before and after the model has run.

use modelet_sdk::{Handler, Inputs, Outputs, Problem, Tensor};

pub(crate) struct TrapBefore;

impl Handler for TrapBefore {
    const MODEL: &'static str = "digits";
    type Request = ();
    type Response = String;

    fn preprocess(&mut self, (): ()) -> Result<Inputs, Problem> {
        panic!("trap in preprocess");
    }

    fn postprocess(self, _: Outputs) -> Result<String, Problem> {
        Ok("the model ran".into())
    }
}

#[derive(Default)]
pub(crate) struct TrapAfter;

impl Handler for TrapAfter {
    const MODEL: &'static str = "digits";
    type Request = ();
    type Response = String;

    fn preprocess(&mut self, (): ()) -> Result<Inputs, Problem> {
        Ok(Inputs::from([("input", Tensor::new([1, 64], [0.5_f32; 64])?)]))
    }

    fn postprocess(self, outputs: Outputs) -> Result<String, Problem> {
        let probabilities = outputs.into_one()?.to_vec::<f32>()?;
        panic!("trap in postprocess, after {} probabilities", probabilities.len());
    }
}
