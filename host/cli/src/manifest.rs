//! `modelet.toml`: what an author writes. It names files; the host's manifest names digests.
//!
//! Owns reading it, and finding the line of an entry that the host refuses. Sends nothing.

pub mod locate;
pub mod setting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use modelet_types::id::MAX_NAME_BYTES;
use modelet_types::manifest::{
    BackendChoice, Batching, Ceiling, Concurrency, DeclaredSignature, Device, Golden, KeyValue, ModelSpec,
    RequestBody, ResponseCache, Reuse, Scale,
};
use modelet_types::outbound::OutboundRule;
use modelet_types::{Digest, FunctionName, ModelName, Problem, RevisionSpec, SecretName, StatedLimits};
use serde::Deserialize;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use setting::Setting;

/// The file's name in a project's folder.
pub const FILE_NAME: &str = "modelet.toml";

/// What the model of a function without a handler is called, if nobody names it.
const MODEL_ALONE: &str = "model";

/// The entries of `modelet.toml`. Paths are relative to the folder that it stands in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// The function to deploy to.
    pub name: FunctionName,
    /// The handler, as it is when built; none if the function is its one model.
    pub component: Option<PathBuf>,
    signature: Option<DeclaredSignature>,
    /// The models by the names that the handler loads.
    #[serde(default)]
    pub models: BTreeMap<ModelName, ModelEntry>,
    #[serde(default)]
    limits: StatedLimits,
    #[serde(default)]
    scale: Scale,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    reuse: Reuse,
    #[serde(default)]
    concurrency: Concurrency,
    request_body: Option<RequestBody>,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    outbound: Vec<OutboundRule>,
    key_value: Option<KeyValue>,
    #[serde(default)]
    secrets: Vec<SecretName>,
}

/// One model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The model file.
    pub file: PathBuf,
    #[serde(default)]
    backend: BackendChoice,
    #[serde(default)]
    device: Device,
    #[serde(default = "one")]
    threads: u32,
    batching: Option<Batching>,
    response_cache: Option<ResponseCache>,
    #[serde(default)]
    warm_up: bool,
    #[serde(default)]
    golden: Vec<Golden>,
    /// A JSON list of more golden answers, for those too long to read in a manifest.
    golden_file: Option<PathBuf>,
}

const fn one() -> u32 {
    1
}

/// A manifest with the text that it was read from.
#[derive(Debug)]
pub struct Manifest {
    /// What it says.
    pub entries: Entries,
    path: PathBuf,
    text: String,
    settings: Vec<Setting>,
}

impl Manifest {
    /// Reads `modelet.toml` in `folder`, and puts `settings` over it. Instead of a folder it may be a model
    /// file, which then is a function alone, under its own name.
    ///
    /// # Errors
    /// With file, line and the allowed values, if it is not a manifest.
    pub fn read(folder: &Path, settings: &[Setting]) -> anyhow::Result<Self> {
        if folder.is_file() {
            return Ok(Self::of_model(folder, settings)?);
        }
        let path = folder.join(FILE_NAME);
        if !path.is_file() {
            return Err(Error::FileNotFound { what: "the manifest".into(), path }.into());
        }
        let text = Diagnostic::read_text(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?
            .map_err(Error::from)?;
        let mut entries = Self::parse(&path, &text).map_err(Error::from)?;
        if !settings.is_empty() {
            entries = changed(&text, settings).map_err(Error::Usage)?;
        }
        Ok(Self { entries, path, text, settings: settings.to_vec() })
    }

    /// The manifest of a model file, as if somebody had written it.
    fn of_model(file: &Path, settings: &[Setting]) -> Result<Self, Error> {
        if !file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            let detail = format!(
                "`{}` is neither a folder with {FILE_NAME} nor a model in a file that ends in `.onnx`",
                file.display()
            );
            return Err(Error::Usage(detail));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let mut table = toml::Table::new();
        table.insert("name".into(), function_name(file).into());
        let model = toml::Table::from_iter([("file".to_owned(), name.into_owned().into())]);
        table
            .insert("models".into(), toml::Table::from_iter([(MODEL_ALONE.to_owned(), model.into())]).into());
        let entries = with_settings(table, settings).map_err(Error::Usage)?;
        Ok(Self { entries, path: file.to_owned(), text: String::new(), settings: settings.to_vec() })
    }

    fn parse(path: &Path, text: &str) -> Result<Entries, Box<Diagnostic>> {
        toml::from_str(text).map_err(|error| Box::new(Diagnostic::of_toml(path, text, &error)))
    }

    /// A path of the manifest, from the folder that the manifest stands in.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The host's manifest, given the digests of the component and of each model's file.
    ///
    /// # Errors
    /// For the first entry that no host would accept, with its line; or if a golden file cannot be
    /// read.
    pub fn to_spec(
        &self,
        component: Option<Digest>,
        models: &BTreeMap<ModelName, Digest>,
    ) -> anyhow::Result<RevisionSpec> {
        let entries = &self.entries;
        let model = |(name, entry): (&ModelName, &ModelEntry)| {
            let artifact = *models.get(name).with_context(|| format!("model `{name}` was not uploaded"))?;
            let mut golden = entry.golden.clone();
            if let Some(file) = &entry.golden_file {
                golden.extend(self.golden_file(name, file)?);
            }
            let spec = ModelSpec {
                artifact,
                backend: entry.backend,
                device: entry.device,
                threads: entry.threads,
                batching: entry.batching.clone(),
                response_cache: entry.response_cache.clone(),
                golden,
                warm_up: entry.warm_up,
            };
            Ok((name.clone(), spec))
        };
        let spec = RevisionSpec {
            component,
            models: entries.models.iter().map(model).collect::<anyhow::Result<_>>()?,
            limits: entries.limits.clone(),
            scale: entries.scale.clone(),
            public: entries.public,
            reuse: entries.reuse.clone(),
            concurrency: entries.concurrency.clone(),
            signature: entries.signature.clone(),
            request_body: entries.request_body,
            config: entries.config.clone(),
            outbound: entries.outbound.clone(),
            key_value: entries.key_value.clone(),
            secrets: entries.secrets.clone(),
        };
        // The host has ceilings of its own, which may be lower; what is over these no host takes.
        spec.check(&Ceiling::HIGHEST).map_err(|problem| self.refused(&problem))?;
        Ok(spec)
    }

    /// Reads a list of golden answers beside the manifest.
    fn golden_file(&self, model: &ModelName, file: &Path) -> anyhow::Result<Vec<Golden>> {
        let path = self.resolve(file);
        let field = format!("models.{model}.golden_file");
        let text = Diagnostic::read_text(&path)
            .map_err(|error| self.at(&field, format!("cannot read `{}`: {error}", path.display())))?
            .map_err(Error::from)?;
        let wrong = |field: Option<String>, error: &serde_json::Error| {
            let offset = offset_of(&text, error.line(), error.column());
            let message = error.to_string();
            // serde_json appends the place, which is shown better.
            let message = message.split(" at line ").next().unwrap_or_default();
            let mut diagnostic = Diagnostic::new(&path, &text, offset..offset + 1, message);
            diagnostic.help = crate::diagnostic::did_you_mean(message);
            diagnostic.field = field;
            Error::from(Box::new(diagnostic))
        };
        let mut json = serde_json::Deserializer::from_str(&text);
        let golden = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| wrong(Some(error.path().to_string()), error.inner()))?;
        json.end().map_err(|error| wrong(None, &error))?;
        Ok(golden)
    }

    /// The mistake that `problem` names, on the line where the author wrote it.
    fn refused(&self, problem: &Problem) -> Error {
        self.at(problem.field.as_deref().unwrap_or_default(), problem.detail.to_string())
    }

    /// A mistake in the entry at `field`, a path in the host's manifest.
    pub fn at(&self, field: &str, message: impl Into<String>) -> Error {
        if self.settings.iter().any(|setting| setting.path == field) {
            return Error::Invalid(format!("--set {field}: {}", message.into()));
        }
        if self.text.is_empty() {
            return Error::Invalid(format!("{}: {field}: {}", self.path.display(), message.into()));
        }
        let span = locate::span_of(&self.text, field).unwrap_or(0..0);
        Box::new(Diagnostic::new(&self.path, &self.text, span, message).of_field(field)).into()
    }

    /// The place of `field` in the file, if the author wrote it or something that holds it.
    pub fn place_of(&self, field: &str) -> Option<Diagnostic> {
        if self.settings.iter().any(|setting| setting.path == field) {
            return None;
        }
        let span = locate::span_of(&self.text, field)?;
        Some(Diagnostic::new(&self.path, &self.text, span, String::new()).of_field(field))
    }
}

/// The entries of a manifest with `settings` put over them.
fn changed(text: &str, settings: &[Setting]) -> Result<Entries, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    with_settings(table, settings)
}

fn with_settings(mut table: toml::Table, settings: &[Setting]) -> Result<Entries, String> {
    for setting in settings {
        setting.apply(&mut table).map_err(|error| format!("--set {}: {error}", setting.path))?;
    }
    // The manifest itself was valid, so what is wrong came with a setting.
    serde_path_to_error::deserialize(table)
        .map_err(|error| format!("--set: {}: {}", error.path(), error.inner().message()))
}

/// A function's name from that of a model file: with what a name may have, and nothing else.
fn function_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let fitting = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = stem.chars().map(fitting).collect();
    let name = name.trim_matches('-');
    let prefix = if name.starts_with(|c: char| c.is_ascii_lowercase()) { "" } else { "model-" };
    let name: String = format!("{prefix}{name}").chars().take(MAX_NAME_BYTES).collect();
    name.trim_end_matches('-').to_owned()
}

/// The byte at a line and column, both from 1, as serde_json counts them.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column.saturating_sub(1)
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
