//! From the bytes that a tenant uploaded to code that a host can run, with every reason why not.
//!
//! Happens in a process of its own (`apart/worker.rs`), never in a host: wasmtime promises nothing
//! about what hostile input does to its compiler. A [`Compiler`] can be made only by a process that is
//! confined.

use modelet_confinement::Confined;
use modelet_types::manifest::RequestBody;
use modelet_types::{Code as ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use wasmparser::Parser;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker, Resource};
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use crate::bindings::function::exports::modelet::handler::handler::Body;
use crate::bindings::function::modelet::handler::types as wit;
use crate::engine::{MAX_MEMORIES, MAX_TABLES, linker, without_pool};
use crate::host::{HeldTensors, Host};

const HANDLER: &str = "modelet:handler/handler@0.1.0";
const TRANSFORM: &str = "modelet:handler/transform@0.1.0";
const BLOCKING_HANDLER: &str = "modelet:handler/blocking-handler@0.1.0";
/// Without its last number: all releases of WASI 0.2 are compatible with each other.
const WASI_HTTP: &str = "wasi:http/incoming-handler@0.2.";

/// Which contract of HTTP a component fulfils.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerKind {
    /// It exports `modelet:handler/handler`.
    Handler,
    /// It exports `modelet:handler/blocking-handler`.
    BlockingHandler,
    /// It exports `wasi:http/incoming-handler@0.2`.
    WasiHttp,
}

impl HandlerKind {
    /// Every kind.
    const ALL: [Self; 3] = [Self::Handler, Self::BlockingHandler, Self::WasiHttp];

    fn is_exported_as(self, name: &str) -> bool {
        match self {
            Self::Handler => name == HANDLER,
            Self::BlockingHandler => name == BLOCKING_HANDLER,
            Self::WasiHttp => name.starts_with(WASI_HTTP),
        }
    }

    /// Whether it can take a request's body as it arrives.
    pub fn takes_streams(self) -> bool {
        match self {
            Self::Handler | Self::WasiHttp => true,
            Self::BlockingHandler => false,
        }
    }

    /// How a request's body reaches the handler if its manifest does not say.
    pub fn default_request_body(self) -> RequestBody {
        match self {
            Self::Handler | Self::BlockingHandler => RequestBody::Bytes,
            // In that interface a body is a stream.
            Self::WasiHttp => RequestBody::Stream,
        }
    }
}

/// What a component exports that a host calls: a contract of HTTP, that of tensors, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contracts {
    /// That of HTTP, if it has one.
    pub http: Option<HandlerKind>,
    /// Whether it exports `modelet:handler/transform`: it takes and gives tensors, which its manifest declares.
    pub tensors: bool,
}

impl Contracts {
    /// Finds out what `component` is.
    pub(crate) fn of(wasmtime: &wasmtime::Engine, component: &Component) -> Result<Self, Problem> {
        let component_type = component.component_type();
        let exports: Vec<&str> = component_type.exports(wasmtime).map(|(name, _)| name).collect();
        let is_there = |kind: &HandlerKind| exports.iter().any(|name| kind.is_exported_as(name));
        let found: Vec<HandlerKind> = HandlerKind::ALL.into_iter().filter(is_there).collect();
        let tensors = exports.contains(&TRANSFORM);
        match found[..] {
            [kind] => Ok(Self { http: Some(kind), tensors }),
            [] if tensors => Ok(Self { http: None, tensors }),
            [] => {
                let found =
                    if exports.is_empty() { "nothing".into() } else { format!("`{}`", exports.join("`, `")) };
                Err(invalid(format!(
                    "the component exports none of `{HANDLER}`, `{BLOCKING_HANDLER}`, `{TRANSFORM}` and \
                     `{WASI_HTTP}x`, but {found}: write the handler with the guest SDK, against wit/, or with \
                     an SDK for wasi:http"
                )))
            }
            _ => Err(invalid(format!(
                "the component exports more than one of `{HANDLER}`, `{BLOCKING_HANDLER}` and \
                 `{WASI_HTTP}x`: export one"
            ))),
        }
    }
}

/// Compiles components. It has no instances and no pool for them, but compiles as every [`Engine`] of
/// this program does, and for it.
///
/// [`Engine`]: crate::Engine
pub(crate) struct Compiler {
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
}

impl Compiler {
    /// A compiler in a process that is confined.
    ///
    /// # Errors
    /// If wasmtime cannot run on this machine.
    pub(crate) fn new(_: &Confined) -> wasmtime::Result<Self> {
        Self::make()
    }

    /// A compiler in a process that is not confined: one that fuzzes has files to write, and is no host.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unconfined() -> wasmtime::Result<Self> {
        Self::make()
    }

    fn make() -> wasmtime::Result<Self> {
        let wasmtime = without_pool()?;
        let linker = linker(&wasmtime)?;
        Ok(Self { wasmtime, linker })
    }

    /// Compiles `wasm` and checks that it can be linked. Gives the code in wasmtime's own format.
    ///
    /// # Errors
    /// `InvalidComponent`, with what is wrong and how to mend it; [`OutOfMemory`](Failed::OutOfMemory).
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, Failed> {
        if !wasm.starts_with(b"\0asm") {
            return Err(invalid("the file is not WebAssembly: its first bytes are not `\\0asm`").into());
        }
        if !Parser::is_component(wasm) {
            return Err(invalid(
                "the file is a WebAssembly module, not a component: build it for `wasm32-wasip2`, as `modelet build` does",
            )
            .into());
        }
        #[expect(clippy::disallowed_methods, reason = "this is where components are compiled")]
        let component = Component::new(&self.wasmtime, wasm)
            .map_err(|error| Failed::with("the component is not valid", &error, ""))?;
        check_size(&component)?;
        let contracts = Contracts::of(&self.wasmtime, &component)?;
        let linked = self.linker.instantiate_pre(&component).map_err(|error| {
            let offered = "; a handler may import wasi 0.2 without sockets, wasi:http 0.2, wasi:config, \
                           wasi:keyvalue (0.2.0-draft2 and 0.2.0-draft), wasi:logging and \
                           modelet:inference";
            Failed::with("the component imports what this host does not offer", &error, offered)
        })?;
        check_types(contracts, &linked).map_err(|error| {
            let what = "the type of the component's handler is not that of the contract in wit/";
            Failed::with(what, &error, "")
        })?;
        component.serialize().map_err(|error| {
            if ran_out_of_memory(&error) {
                return Failed::OutOfMemory;
            }
            Problem::new(ErrorCode::Internal, format!("cannot keep the code: {error:#}")).into()
        })
    }
}

/// Why there is no code.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The component is at fault.
    Problem(Problem),
    /// The memory that the process may use did not suffice, and wasmtime said so.
    OutOfMemory,
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Failed {
    fn with(what: &str, error: &wasmtime::Error, help: &str) -> Self {
        if ran_out_of_memory(error) {
            return Self::OutOfMemory;
        }
        invalid(format!("{what}: {}{help}", one_line(error))).into()
    }
}

/// Whether `error` is one of the few with which wasmtime reports that; anything else that cannot
/// allocate ends the process.
fn ran_out_of_memory(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<wasmtime::error::OutOfMemory>().is_some()
        || error.chain().any(|cause| {
            let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            let errno = cause.downcast_ref::<rustix::io::Errno>();
            kind == Some(std::io::ErrorKind::OutOfMemory) || errno == Some(&rustix::io::Errno::NOMEM)
        })
}

/// Checks that the handler can be called: wasmtime itself looks at an export's type only when an
/// instance is there, which would be with the first request.
fn check_types(contracts: Contracts, linked: &InstancePre<Host>) -> wasmtime::Result<()> {
    let instance_type = linked.instance_type();
    if let Some(kind) = contracts.http {
        let handle = function(linked, |name| kind.is_exported_as(name), "handle")?;
        match kind {
            HandlerKind::Handler => handle
                .typecheck::<(wit::Request, Body), (Result<(wit::Response, Body), wit::Problem>,)>(
                    &instance_type,
                )?,
            HandlerKind::BlockingHandler => handle
                .typecheck::<(&wit::Request, &[u8]), (Result<(wit::Response, Vec<u8>), wit::Problem>,)>(
                    &instance_type,
                )?,
            HandlerKind::WasiHttp => handle
                .typecheck::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
                    &instance_type,
                )?,
        }
    }
    if contracts.tensors {
        function(linked, |name| name == TRANSFORM, "infer")?
            .typecheck::<(wit::Invocation, HeldTensors, Vec<String>), (Result<HeldTensors, wit::Problem>,)>(
                &instance_type,
            )?;
    }
    Ok(())
}

/// The type of the function `name` of the interface that is exported under a name like that.
fn function(
    linked: &InstancePre<Host>,
    is_interface: impl Fn(&str) -> bool,
    name: &str,
) -> wasmtime::Result<ComponentFunc> {
    let component = linked.component();
    let component_type = component.component_type();
    let interface = component_type
        .exports(component.engine())
        .map(|(name, _)| name)
        .find(|name| is_interface(name))
        .expect("what the component is was found by this export");
    let function = component
        .get_export_index(None, interface)
        .and_then(|interface| component.get_export(Some(&interface), name));
    match function {
        Some((ComponentItem::ComponentFunc(function), _)) => Ok(function),
        _ => Err(wasmtime::Error::msg(format!("`{interface}` has no function `{name}`"))),
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
