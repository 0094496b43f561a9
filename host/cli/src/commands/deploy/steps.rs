//! What a deploy does, one step after another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use modelet_types::Digest;

use super::Arguments;
use crate::client::Client;
use crate::client::answers::{DeployEvent, Revision};
use crate::client::artifacts::{Uploaded, digest_of};
use crate::client::lines::Lines;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::output::{Output, bytes};
use crate::progress::{Progress, Step};
use crate::project::Project;

/// A file that the revision is made of.
struct Artifact {
    label: String,
    path: PathBuf,
    digest: Digest,
    size: u64,
}

/// Deploys, and returns the revision as the host tells it and as it is read.
///
/// # Errors
/// If the manifest or a file is wrong or missing, the project does not build, or the host cannot be
/// reached or refuses.
pub async fn deploy(
    arguments: &Arguments,
    client: &Client,
    output: Output,
) -> anyhow::Result<(serde_json::Value, Revision)> {
    let manifest = Manifest::read(&arguments.path, &arguments.set)?;
    let progress = Progress::new(output);
    let handler = match component(arguments, &manifest, output)? {
        Some(path) => Some(artifact("handler".into(), path).await?),
        None => None,
    };
    let models = models(&manifest).await?;
    let names = manifest.entries.models.keys().cloned();
    let digests: BTreeMap<_, _> = names.zip(models.iter().map(|model| model.digest)).collect();
    // Before the uploads, so that a mistake does not cost their time.
    let spec = manifest.to_spec(handler.as_ref().map(|handler| handler.digest), &digests)?;
    for artifact in handler.iter().chain(&models) {
        upload(artifact, client, &progress).await?;
    }
    let function = arguments.name.as_ref().unwrap_or(&manifest.entries.name);
    let created = async {
        let events = client.create_revision(function.as_str(), &spec, !arguments.no_activate).await?;
        follow(events, &progress).await
    };
    let raw = created.await.map_err(|error| with_place(error, &manifest))?;
    let revision = serde_path_to_error::deserialize(&raw)
        .map_err(|error| Error::Protocol(format!("the host's revision is not understood: {error}")))?;
    Ok((raw, revision))
}

/// The component's file: what the project builds, or what the manifest names. None if the function is a
/// model alone.
fn component(arguments: &Arguments, manifest: &Manifest, output: Output) -> anyhow::Result<Option<PathBuf>> {
    let Some(component) = &manifest.entries.component else { return Ok(None) };
    if !arguments.no_build
        && let Some(project) = Project::find(&arguments.path)
    {
        // Cargo knows where its target folder is; the manifest's path is for other builds.
        let component = project.build()?;
        output.note(format!("component {} ({})", component.path.display(), bytes(component.bytes)));
        return Ok(Some(component.path));
    }
    let path = manifest.resolve(component);
    present(manifest, "component", path, "build it with `modelet build`").map(Some)
}

/// `path`, if there is a file.
fn present(manifest: &Manifest, field: &str, path: PathBuf, fix: &str) -> anyhow::Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(manifest.at(field, format!("there is no file `{}`: {fix}", path.display())).into())
}

/// The models in the order of their names.
async fn models(manifest: &Manifest) -> anyhow::Result<Vec<Artifact>> {
    let mut artifacts = Vec::new();
    for (name, entry) in &manifest.entries.models {
        let field = format!("models.{name}.file");
        let path =
            present(manifest, &field, manifest.resolve(&entry.file), "put it there, or correct the path")?;
        artifacts.push(artifact(format!("model {name}"), path).await?);
    }
    Ok(artifacts)
}

async fn artifact(label: String, path: PathBuf) -> anyhow::Result<Artifact> {
    let (digest, size) = digest_of(Path::new(&path)).await?;
    Ok(Artifact { label, path, digest, size })
}

async fn upload(artifact: &Artifact, client: &Client, progress: &Progress) -> anyhow::Result<()> {
    let Artifact { label, path, digest, size } = artifact;
    let step = progress.transfer(&format!("uploading {label}"), *size);
    let uploaded = client.upload(path, *digest, *size, step.position()).await?;
    step.done(match uploaded {
        Uploaded::AlreadyThere => format!("{label}: the host has it ({})", bytes(*size)),
        Uploaded::From(0) => format!("{label}: uploaded {}", bytes(*size)),
        Uploaded::From(offset) => {
            format!("{label}: uploaded {}, the host had the rest", bytes(size - offset))
        }
    });
    Ok(())
}

/// Shows what the host does until the revision is there.
async fn follow(mut events: Lines<DeployEvent>, progress: &Progress) -> Result<serde_json::Value, Error> {
    let mut step: Option<Step> = None;
    let done = |step: &mut Option<Step>, result: String| {
        if let Some(step) = step.take() {
            step.done(result);
        }
    };
    while let Some(event) = events.next().await? {
        match event {
            DeployEvent::Compiling => step = Some(progress.spin("compiling the handler")),
            DeployEvent::Compiled { duration_ms } => {
                done(&mut step, format!("handler: compiled in {duration_ms:.0} ms"));
            }
            DeployEvent::CheckingModel { model } => {
                step = Some(progress.spin(&format!("checking model {model}")))
            }
            DeployEvent::CheckedModel { model, backend, reason, duration_ms } => {
                let on = match reason {
                    // "rten, which gives the golden outputs"
                    Some(reason) if reason.starts_with(&backend) => reason,
                    Some(reason) => format!("{backend}: {reason}"),
                    None => backend,
                };
                done(&mut step, format!("model {model}: runs on {on}; checked in {duration_ms:.0} ms"));
            }
            DeployEvent::Done { revision } => return Ok(revision),
            DeployEvent::Failed { problem } => return Err(problem.into_error()),
            DeployEvent::Stored | DeployEvent::Activated | DeployEvent::Unknown => {}
        }
    }
    // The revision may be there all the same; the next deploy of the same files is quick.
    Err(Error::Protocol(
        "the host broke off the deploy: `modelet revisions` shows whether it got through".into(),
    ))
}

/// Adds the line of modelet.toml to what the host says about a field.
fn with_place(error: Error, manifest: &Manifest) -> Error {
    match error {
        Error::Host(mut problem) => {
            problem.place = problem.field.as_deref().and_then(|field| manifest.place_of(field));
            Error::Host(problem)
        }
        other => other,
    }
}
