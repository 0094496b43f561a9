//! What answers requests: a [`Handler`] around one model, or an `async fn` over extractors.

use std::future::Future;

use crate::extract::FromRequest;
use crate::model::{Inputs, Model, Outputs};
use crate::problem::Problem;
use crate::request::Request;
use crate::response::{IntoResponse, Response};

/// Pre- and post-processing around one named model.
///
/// One value answers one request: it is made by [`Default`], so what `preprocess` learns and
/// `postprocess` needs is kept in `self`.
///
/// ```
/// use modelet_sdk::{Handler, Inputs, Json, Outputs, Problem, Tensor};
///
/// #[derive(Default)]
/// struct Iris;
///
/// #[modelet_sdk::handler(model = "iris")]
/// impl Handler for Iris {
///     type Request = Json<[f32; 4]>;
///     type Response = Json<Vec<f32>>;
///
///     fn preprocess(&mut self, Json(features): Self::Request) -> Result<Inputs, Problem> {
///         Ok(Inputs::from([("features", Tensor::new([1, 4], features)?)]))
///     }
///
///     fn postprocess(self, outputs: Outputs) -> Result<Self::Response, Problem> {
///         Ok(Json(outputs.into_one()?.to_vec()?))
///     }
/// }
/// ```
///
/// A handler that runs several models, or streams its answer, is an `async fn` instead; see
/// [`macro@crate::handler`].
pub trait Handler: Sized {
    /// The model's name in the manifest. The attribute sets it.
    const MODEL: &'static str;
    /// The outputs to compute, in order; empty for all. The attribute sets it.
    const OUTPUTS: &'static [&'static str] = &[];

    /// What is read from the request: an extractor, or a tuple of them.
    type Request: FromRequest;
    /// What is answered.
    type Response: IntoResponse;

    /// Makes the model's inputs.
    ///
    /// # Errors
    /// A problem, if the request is not valid. The model is not run then.
    fn preprocess(&mut self, request: Self::Request) -> Result<Inputs, Problem>;

    /// Makes the answer of the model's outputs.
    ///
    /// # Errors
    /// A problem, if there is no answer.
    fn postprocess(self, outputs: Outputs) -> Result<Self::Response, Problem>;
}

/// Whatever can answer a request: a [`Handler`], or a function whose arguments are extractors.
///
/// `Args` only tells the kinds apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer requests",
    note = "it must be a `Handler`, or an `async fn` of at most 6 arguments that are all `FromRequest` \
            and whose result is `IntoResponse`"
)]
pub trait Call<Args> {
    /// Answers one.
    fn call(self, request: Request) -> impl Future<Output = Result<Response, Problem>>;
}

/// Calls another handler with this request, such as to route by path. See [`Request`].
///
/// # Errors
/// The problem that it answers.
pub async fn call<Args>(handler: impl Call<Args>, request: Request) -> Result<Response, Problem> {
    handler.call(request).await
}

/// Marks [`Handler`]s among all that can be called.
pub struct AroundModel;

impl<H: Handler> Call<AroundModel> for H {
    async fn call(mut self, mut request: Request) -> Result<Response, Problem> {
        let extracted = H::Request::from_request(&mut request).await?;
        let inputs = self.preprocess(extracted)?;
        let model = Model::load(H::MODEL).await?;
        let outputs = model.infer_outputs(inputs.iter(), H::OUTPUTS).await?;
        // The host gets their memory back before the answer is made.
        drop(inputs);
        self.postprocess(outputs)?.into_response()
    }
}

macro_rules! functions {
    ($(($($extractor:ident)*))+) => {
        $(
            impl<Function, Answering, Answer, $($extractor),*> Call<($($extractor,)*)> for Function
            where
                Function: FnOnce($($extractor),*) -> Answering,
                Answering: Future<Output = Answer>,
                Answer: IntoResponse,
                $($extractor: FromRequest,)*
            {
                async fn call(self, mut _request: Request) -> Result<Response, Problem> {
                    self($($extractor::from_request(&mut _request).await?),*).await.into_response()
                }
            }
        )+
    };
}
functions! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }
