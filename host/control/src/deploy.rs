//! From a manifest to a revision that answers calls.
//!
//! The order makes a failure harmless: everything that can be wrong is found out before the
//! revision exists, and code is on disk before the revision that needs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modelet_engine::{Contracts, HandlerKind};
use modelet_inference::CheckedModel;
use modelet_store::{Actor, Artifact, NewRevision, Precondition, Revision, StoreError};
use modelet_types::manifest::RequestBody;
use modelet_types::{
    Code, Digest, FunctionName, ModelName, Problem, RevisionNumber, RevisionSpec, TenantName,
};
use serde::Serialize;

use crate::control::to_the_end;
use crate::{Control, RevisionDetails};

/// A revision to be deployed.
pub struct Deploy {
    /// Who asks for it.
    pub actor: Actor,
    /// Whose function it becomes part of.
    pub tenant: TenantName,
    /// Which function; made if it is not there.
    pub function: FunctionName,
    /// The manifest.
    pub spec: RevisionSpec,
    /// Whether it takes all calls at once.
    pub activate: bool,
    /// What the function has to be before.
    pub precondition: Precondition,
}

/// How far a deploy has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DeployEvent {
    /// The component is being compiled.
    Compiling {
        /// Which.
        component: Digest,
    },
    /// The component can be run.
    Compiled {
        /// Which contract of HTTP it fulfils, if any: it may take tensors alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<HandlerKind>,
        /// How long that took; next to nothing if it had been compiled before.
        duration_ms: u64,
    },
    /// A model is being loaded, and its golden outputs are run.
    CheckingModel {
        /// Which.
        model: ModelName,
    },
    /// A model can be run.
    CheckedModel {
        /// Which.
        model: ModelName,
        /// What runs it.
        backend: &'static str,
        /// Why.
        reason: String,
        /// How long that took.
        duration_ms: u64,
    },
    /// The revision is stored.
    Stored {
        /// Its number.
        revision: RevisionNumber,
    },
    /// The revision takes all calls.
    Activated,
    /// It takes all calls once a second person has approved.
    Waiting {
        /// The id of the activation.
        activation: u64,
    },
}

/// A revision that was deployed.
#[derive(Debug)]
pub struct Deployed {
    /// The revision.
    pub revision: Revision,
    /// Whether it takes calls.
    pub is_active: bool,
    /// The activation that waits for a second person to give it calls.
    pub pending: Option<u64>,
}

/// Takes the events of a deploy. Must not block.
type Progress = Arc<dyn Fn(DeployEvent) + Send + Sync>;

impl Control {
    /// Deploys a revision and tells `progress` how far it has come; gives the one that the same request made
    /// before, if it did. Whoever drops the future before the revision is stored ends the deploy and what it
    /// started.
    ///
    /// # Errors
    /// For whatever is wrong with manifest, component or models, naming the entry.
    pub async fn deploy(&self, deploy: Deploy, progress: Progress) -> Result<Deployed, Problem> {
        let Deploy { actor, tenant, function, spec, activate, precondition } = deploy;
        match self.store().check_request(&tenant, &actor).await {
            Err(StoreError::Repeated { subject }) => {
                // It may have been stored by a request that could not publish it.
                self.republish(&tenant, &function).await?;
                return self.deployed_before(&tenant, &function, &subject).await;
            }
            checked => checked?,
        }
        let mut spec = self.checked(spec).await?;
        // Before anything is compiled; once more when the revision is stored.
        self.store().check_secrets(&tenant, &function, &spec.secrets).await?;
        let component = match spec.component {
            Some(digest) => Some(self.artifact(&tenant, digest, "component").await?),
            None => None,
        };
        let mut models = Vec::with_capacity(spec.models.len());
        for (name, model) in &spec.models {
            let artifact = self.artifact(&tenant, model.artifact, &format!("models.{name}.artifact")).await?;
            models.push((name.clone(), artifact));
        }
        let contracts = match &component {
            Some(component) => {
                let contracts = self.compile(component, &progress).await?;
                settle_request_body(&mut spec, contracts.http)?;
                check_signature(&spec, contracts.tensors)?;
                Some(contracts)
            }
            None => None,
        };
        let models = self.check_models(&tenant, &spec, models, &progress).await?;
        let component_bytes = component.map(|component| component.size_bytes);
        let kind = contracts.and_then(|contracts| contracts.http);
        let details = RevisionDetails { kind, component_bytes, models };
        let details = serde_json::to_value(details)
            .map_err(|error| Problem::new(Code::Internal, format!("cannot store the details: {error}")))?;

        let this = self.clone();
        to_the_end(async move {
            let new = NewRevision { spec, details, activate, precondition };
            let revision = match this.store().create_revision(&actor, &tenant, &function, new).await {
                // The same request came twice at a time, and the other was quicker.
                Err(StoreError::Repeated { subject }) => {
                    return this.deployed_before(&tenant, &function, &subject).await;
                }
                created => created?,
            };
            progress(DeployEvent::Stored { revision: revision.number });
            // Also if it takes no calls: that the function is there, and not active, is published too.
            this.preload_and_republish(&tenant, &function).await?;
            let deployed = this.deployed(&tenant, &function, revision).await?;
            let Deployed { revision, is_active, pending } = &deployed;
            if *is_active {
                progress(DeployEvent::Activated);
            }
            if let Some(activation) = *pending {
                progress(DeployEvent::Waiting { activation });
            }
            tracing::info!(%tenant, %function, revision = revision.number.0, active = is_active, "deployed");
            Ok(deployed)
        })
        .await
    }

    /// What has become of a revision: nothing, if the function is gone meanwhile.
    async fn deployed(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        revision: Revision,
    ) -> Result<Deployed, Problem> {
        let function = self.store().function(tenant, function).await?;
        let is_active = function.as_ref().is_some_and(|function| function.traffic.names(revision.number));
        let pending = function.and_then(|function| function.pending);
        let pending = pending.filter(|pending| pending.traffic.names(revision.number));
        Ok(Deployed { revision, is_active, pending: pending.map(|pending| pending.id) })
    }

    /// The revision that the same request made before.
    async fn deployed_before(
        &self,
        tenant: &TenantName,
        function: &FunctionName,
        subject: &str,
    ) -> Result<Deployed, Problem> {
        let number = subject.rsplit('/').next().and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| {
            Problem::new(Code::Conflict, format!("this request was done before, and made `{subject}`"))
        })?;
        let revision = self.store().revision(tenant, function, number).await?;
        let revision = revision.ok_or_else(|| StoreError::NoRevision(function.clone(), number))?;
        self.deployed(tenant, function, revision).await
    }

    /// The manifest, if nothing is wrong with it, with every limit in numbers. On a thread of its
    /// own, since golden outputs may be megabytes.
    async fn checked(&self, mut spec: RevisionSpec) -> Result<RevisionSpec, Problem> {
        let ceiling = self.config.ceiling.clone();
        let check = move || {
            spec.check(&ceiling)?;
            spec.settle_limits(&ceiling);
            Ok(spec)
        };
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| Problem::new(Code::Internal, format!("checking the manifest failed: {error}")))?
    }

    async fn compile(&self, component: &Artifact, progress: &Progress) -> Result<Contracts, Problem> {
        let began = Instant::now();
        progress(DeployEvent::Compiling { component: component.digest });
        let contracts = self.ensure_code(component).await?;
        progress(DeployEvent::Compiled { kind: contracts.http, duration_ms: millis(began.elapsed()) });
        Ok(contracts)
    }

    /// Compiles a component unless its code is there already, and says what it is. Whoever drops the
    /// future ends the compilation.
    pub(crate) async fn ensure_code(&self, component: &Artifact) -> Result<Contracts, Problem> {
        let turn = self.compiling.clone().acquire_owned().await;
        let turn = turn.expect("the semaphore of compilations is never closed");
        let (engine, digest) = (self.config.engine.clone(), component.digest);
        let known = tokio::task::spawn_blocking(move || engine.contracts_of(&digest)).await;
        let known =
            known.map_err(|error| Problem::new(Code::Internal, format!("compiling failed: {error}")))?;
        if let Some(contracts) = known? {
            return Ok(contracts);
        }
        let began = Instant::now();
        let file = self.store().hold(component).await?;
        let contracts = self.config.engine.compile(&component.digest, file.path(), turn).await?;
        self.config.metrics.host().compilation.observe(began.elapsed());
        Ok(contracts)
    }

    async fn check_models(
        &self,
        tenant: &TenantName,
        spec: &RevisionSpec,
        artifacts: Vec<(ModelName, Artifact)>,
        progress: &Progress,
    ) -> Result<BTreeMap<ModelName, CheckedModel>, Problem> {
        let mut checked = BTreeMap::new();
        for (name, artifact) in artifacts {
            let began = Instant::now();
            progress(DeployEvent::CheckingModel { model: name.clone() });
            let field = format!("models.{name}");
            let file = self.store().hold(&artifact).await?;
            let model = self.config.inference.check(tenant, file.path(), &spec.models[&name], &field).await?;
            progress(DeployEvent::CheckedModel {
                model: name.clone(),
                backend: model.backend.as_str(),
                reason: model.reason.clone(),
                duration_ms: millis(began.elapsed()),
            });
            checked.insert(name, model);
        }
        Ok(checked)
    }
}

/// States how the handler gets the request's body, if the manifest does not.
fn settle_request_body(spec: &mut RevisionSpec, kind: Option<HandlerKind>) -> Result<(), Problem> {
    let default = kind.map_or(RequestBody::Bytes, HandlerKind::default_request_body);
    let request_body = *spec.request_body.get_or_insert(default);
    if request_body == RequestBody::Stream && !kind.is_some_and(HandlerKind::takes_streams) {
        let detail = "this kind of handler takes its request as `bytes`: say so, or export \
                      `modelet:handler/handler`";
        return Err(Problem::new(Code::InvalidManifest, detail).at("request_body"));
    }
    Ok(())
}

/// Checks that a handler in tensors, and no other, says what they are.
fn check_signature(spec: &RevisionSpec, takes_tensors: bool) -> Result<(), Problem> {
    let detail = match (takes_tensors, &spec.signature) {
        (true, None) => {
            "the handler takes and gives tensors (it exports `modelet:handler/transform`): say which, in \
             `signature.inputs` and `signature.outputs`"
        }
        (true, Some(_)) | (false, None) => return Ok(()),
        (false, Some(_)) => {
            "the handler takes HTTP requests and no tensors: leave `signature` out, or export \
             `modelet:handler/transform`"
        }
    };
    Err(Problem::new(Code::InvalidManifest, detail).at("signature"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
