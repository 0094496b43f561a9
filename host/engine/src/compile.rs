//! From the bytes that a tenant uploaded to code that this host can run, with every reason why not.
//!
//! Happens at deploy, never on the path of a request.

use modelet_types::{Code as ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use wasmparser::Parser;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use crate::Engine;
use crate::bindings::function::exports::modelet::handler::handler::Body;
use crate::bindings::function::modelet::handler::types as wit;
use crate::engine::{MAX_MEMORIES, MAX_TABLES};
use crate::host::Host;

pub(crate) const HANDLER: &str = "modelet:handler/handler@0.1.0";
const BLOCKING_HANDLER: &str = "modelet:handler/blocking-handler@0.1.0";

/// Which contract a component fulfils.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerKind {
    /// It exports `modelet:handler/handler`.
    Handler,
    /// It exports `modelet:handler/blocking-handler`.
    BlockingHandler,
}

/// A component that this host can run.
pub struct Compiled {
    /// Which contract it fulfils.
    pub kind: HandlerKind,
    /// Machine code in wasmtime's own format, for this engine only.
    pub code: Vec<u8>,
}

impl Engine {
    /// Compiles `wasm` and checks that it can be linked. Takes seconds for a large component, so
    /// it is not for an asynchronous thread.
    ///
    /// # Errors
    /// `InvalidComponent`, with what is wrong and how to mend it.
    pub fn compile(&self, wasm: &[u8]) -> Result<Compiled, Problem> {
        if !wasm.starts_with(b"\0asm") {
            return Err(invalid("the file is not WebAssembly: its first bytes are not `\\0asm`"));
        }
        if !Parser::is_component(wasm) {
            return Err(invalid(
                "the file is a WebAssembly module, not a component: build it for `wasm32-wasip2`, as `modelet build` does",
            ));
        }
        let component = Component::new(&self.0.wasmtime, wasm)
            .map_err(|error| invalid(format!("the component is not valid: {}", one_line(&error))))?;
        check_size(&component)?;
        let kind = self.kind_of(&component)?;
        let linked = self.0.linker.instantiate_pre(&component).map_err(|error| {
            invalid(format!(
                "the component imports what this host does not offer: {}; a handler may import wasi 0.2, \
                 wasi:config, wasi:logging and modelet:inference",
                one_line(&error)
            ))
        })?;
        check_type(kind, &linked).map_err(|error| {
            invalid(format!(
                "the type of the component's handler is not that of the contract in wit/: {}",
                one_line(&error)
            ))
        })?;
        let code = component
            .serialize()
            .map_err(|error| Problem::new(ErrorCode::Internal, format!("cannot keep the code: {error:#}")))?;
        Ok(Compiled { kind, code })
    }

    fn kind_of(&self, component: &Component) -> Result<HandlerKind, Problem> {
        let component_type = component.component_type();
        let exports: Vec<&str> = component_type.exports(&self.0.wasmtime).map(|(name, _)| name).collect();
        match (exports.contains(&HANDLER), exports.contains(&BLOCKING_HANDLER)) {
            (true, false) => Ok(HandlerKind::Handler),
            (false, true) => Ok(HandlerKind::BlockingHandler),
            (true, true) => Err(invalid(format!(
                "the component exports both `{HANDLER}` and `{BLOCKING_HANDLER}`: export one"
            ))),
            (false, false) => {
                let found =
                    if exports.is_empty() { "nothing".into() } else { format!("`{}`", exports.join("`, `")) };
                Err(invalid(format!(
                    "the component exports neither `{HANDLER}` nor `{BLOCKING_HANDLER}`, but {found}: \
                     write the handler with the guest SDK or against wit/"
                )))
            }
        }
    }
}

/// Checks that the handler can be called: wasmtime itself looks at an export's type only when an
/// instance is there, which would be with the first request.
fn check_type(kind: HandlerKind, linked: &InstancePre<Host>) -> wasmtime::Result<()> {
    let (component, instance_type) = (linked.component(), linked.instance_type());
    let interface = match kind {
        HandlerKind::Handler => HANDLER,
        HandlerKind::BlockingHandler => BLOCKING_HANDLER,
    };
    let handle = component
        .get_export_index(None, interface)
        .and_then(|interface| component.get_export(Some(&interface), "handle"));
    let Some((ComponentItem::ComponentFunc(handle), _)) = handle else {
        return Err(wasmtime::Error::msg(format!("`{interface}` has no function `handle`")));
    };
    match kind {
        HandlerKind::Handler => handle
            .typecheck::<(wit::Request, Body), (Result<(wit::Response, Body), wit::Problem>,)>(
                &instance_type,
            ),
        HandlerKind::BlockingHandler => handle
            .typecheck::<(&wit::Request, &[u8]), (Result<(wit::Response, Vec<u8>), wit::Problem>,)>(
                &instance_type,
            ),
    }
}

fn check_size(component: &Component) -> Result<(), Problem> {
    let Some(required) = component.resources_required() else {
        return Err(invalid("the component imports modules or instances, which this host does not offer"));
    };
    let parts = [
        ("linear memories", required.num_memories, MAX_MEMORIES),
        ("tables", required.num_tables, MAX_TABLES),
    ];
    match parts.into_iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, limit)) => {
            Err(invalid(format!("the component has {count} {what}; at most {limit} are possible")))
        }
        None => Ok(()),
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidComponent, detail).at("component")
}

/// wasmtime's chain of causes in one line.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
