//! Models in the form that loads fastest: the graph as ONNX Runtime has optimised it, and beside it the
//! weights as its kernels want them, which are mapped.
//!
//! Only models that are loaded in the host's process are prepared, which are those of trusted tenants: what a
//! form says is computed as it stands there, and a worker process can neither write nor open one.
//! A form is never needed. Where there is none, or none that does as the model does, the model itself is
//! loaded, and a form made for the next time.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use modelet_types::Digest;

use self::folder::{Folder, Form};
use self::maker::Maker;
use super::library::Library;
use super::options;
use crate::ModelFile;
use crate::load::guarded;

pub mod folder;
mod key;
mod maker;

/// How much larger than its model a form may be. It has the weights twice where a kernel wants them in
/// another order; what grows beyond that has computed in advance what is better computed.
const MAX_GROWTH: u64 = 3;

/// What a form may take however small its model is.
const SMALL_FORM_BYTES: u64 = 1 << 20;

/// The prepared models of this host, and the thread that makes those that loads ask for.
pub struct PreparedModels {
    forms: Arc<Forms>,
    maker: Maker,
}

impl PreparedModels {
    /// Opens the folder for models of at least `from_bytes`, and removes what another library or processor
    /// needs. `None` if this machine does not
    /// say which processor it has, since the forms of one are not those of another.
    ///
    /// # Errors
    /// If the folder cannot be used, or no thread started.
    pub fn open(dir: &Path, from_bytes: u64, library: &Library) -> io::Result<Option<Self>> {
        let Some(key) = key::of_this_machine(&library.version) else {
            tracing::warn!("models are not prepared: the system does not say which processor it has");
            return Ok(None);
        };
        let folder = Folder::open(dir, &key)?;
        let forms = Arc::new(Forms { folder, library: library.clone(), from_bytes });
        let maker = Maker::start(Arc::clone(&forms))?;
        Ok(Some(Self { forms, maker }))
    }

    /// The form of a model, if there is one; otherwise one is made in the background, if it is worth it.
    pub fn find_or_want(&self, model: &Digest, file: &Arc<ModelFile>) -> Option<Form> {
        let form = self.forms.folder.find(model);
        if form.is_none() && self.forms.is_worth_it(model, file) {
            self.maker.want(model, file);
        }
        form
    }

    /// Makes the form of a model unless it is there or not worth it. Says whether there is one. Takes about as
    /// long as two loads.
    pub fn make(&self, model: &Digest, file: &ModelFile) -> bool {
        self.forms.make(model, file)
    }

    /// Forgets a form that cannot be loaded though it is whole, and makes no other until the next start.
    pub fn give_up(&self, model: &Digest) {
        self.forms.folder.give_up(model);
        self.forms.remove(model);
    }

    /// Forgets a form that does not do as its model does, and makes no other of it with this library.
    pub fn refuse(&self, model: &Digest) {
        if let Err(error) = self.forms.folder.refuse(model) {
            tracing::error!(%model, %error, "cannot write down that a model is not to be prepared");
        }
        self.forms.remove(model);
    }

    /// The models of which anything is kept. Reads the folder.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn models(&self) -> io::Result<BTreeSet<Digest>> {
        self.forms.folder.models()
    }

    /// Removes what is kept of a model. Sessions that use it go on.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn remove(&self, model: &Digest) -> io::Result<()> {
        self.forms.folder.remove_all_of(model)
    }
}

/// What the maker and those who load share.
struct Forms {
    folder: Folder,
    library: Library,
    from_bytes: u64,
}

impl Forms {
    fn is_worth_it(&self, model: &Digest, file: &ModelFile) -> bool {
        file.len() as u64 >= self.from_bytes && !self.folder.is_refused(model)
    }

    fn make(&self, model: &Digest, file: &ModelFile) -> bool {
        if !self.is_worth_it(model, file) {
            return false;
        }
        if self.folder.find(model).is_some() {
            return true;
        }
        if !self.folder.has_room_for((file.len() as u64).saturating_mul(MAX_GROWTH)) {
            tracing::warn!(%model, "the disk is too full to prepare a model, which is loaded as it is");
            return false;
        }
        let began = Instant::now();
        let made = guarded(|| Ok(self.try_to_make(model, file)));
        match made.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(bytes) => {
                let duration_ms = began.elapsed().as_millis();
                tracing::info!(%model, bytes, %duration_ms, "model prepared");
                true
            }
            Err(reason) => {
                tracing::warn!(%model, reason, "a model cannot be prepared, and is loaded as it is");
                self.folder.give_up(model);
                false
            }
        }
    }

    /// Gives the bytes of the form.
    fn try_to_make(&self, model: &Digest, file: &ModelFile) -> Result<u64, String> {
        let draft = self.folder.draft().map_err(|error| error.to_string())?;
        // The session has done its work once it is there.
        options::preparing(&self.library.environment, draft.path())
            .and_then(|mut builder| builder.commit_from_memory(file))
            .map(drop)
            .map_err(|error| super::first_line(&error))?;
        let bytes = folder::bytes_of(draft.path()).map_err(|error| error.to_string())?;
        if bytes > (file.len() as u64).saturating_mul(MAX_GROWTH).saturating_add(SMALL_FORM_BYTES) {
            return Err(format!("its form would take {bytes} bytes, and the model takes {}", file.len()));
        }
        self.folder.keep(model, draft).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn remove(&self, model: &Digest) {
        if let Err(error) = self.folder.remove(model) {
            tracing::error!(%model, %error, "cannot remove a prepared model");
        }
    }
}
