//! A handler's project: which language it is written in, and building and testing it with the tools
//! of that language. What these need is installed into the project's own folder, never elsewhere.

mod javascript;
mod python;
mod rust;
pub mod tool;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::error::Error;
use crate::manifest::{FILE_NAME, Manifest};

/// The languages that projects are built in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Built by cargo.
    #[default]
    Rust,
    /// Built by componentize-py, in a virtual environment.
    Python,
    /// Built by the project's own npm script.
    #[value(name = "js", alias = "javascript")]
    JavaScript,
}

impl Language {
    /// The file that a project in this language has in its folder.
    const fn mark(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::Python => "requirements.txt",
            Self::JavaScript => "package.json",
        }
    }

    /// The language of the project in `folder`. Python comes last: projects in the other languages
    /// often have a `requirements.txt` too, for the scripts that train their model.
    fn of(folder: &Path) -> Option<Self> {
        let order = [Self::Rust, Self::JavaScript, Self::Python];
        order.into_iter().find(|language| folder.join(language.mark()).is_file())
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
        })
    }
}

/// A folder with the source of a handler.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    language: Language,
}

/// A component that was built.
#[derive(Debug, Serialize)]
pub struct Component {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

impl Project {
    /// The project in `folder`, if there is the source of one.
    pub fn find(folder: &Path) -> Option<Self> {
        Language::of(folder).map(|language| Self { folder: folder.to_owned(), language })
    }

    /// The project in `folder`.
    ///
    /// # Errors
    /// If none of the files is there that a project has.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::find(folder).ok_or_else(|| Error::NoProject { folder: folder.to_owned() })
    }

    /// Builds the handler. What its tools print goes to standard error.
    ///
    /// # Errors
    /// If something is missing on the machine, or the project does not build or is not a handler's.
    pub fn build(&self) -> anyhow::Result<Component> {
        let path = match self.language {
            Language::Rust => rust::build(&self.folder)?,
            Language::Python => {
                let component = self.component()?;
                python::build(&self.folder, &component)?;
                self.made(&component)?
            }
            Language::JavaScript => {
                let component = self.component()?;
                javascript::build(&self.folder)?;
                self.made(&component)?
            }
        };
        let bytes = path.metadata().with_context(|| format!("cannot read `{}`", path.display()))?.len();
        Ok(Component { path, bytes })
    }

    /// Runs the handler's tests on this machine, with `arguments` for what runs them.
    ///
    /// # Errors
    /// If something is missing on the machine, or a test fails.
    pub fn test(&self, arguments: &[OsString]) -> anyhow::Result<()> {
        match self.language {
            Language::Rust => rust::test(&self.folder, arguments),
            Language::Python => python::test(&self.folder, arguments),
            Language::JavaScript => javascript::test(&self.folder, arguments),
        }
    }

    /// Where the manifest expects the component, from the project's folder.
    fn component(&self) -> anyhow::Result<PathBuf> {
        let component = Manifest::read(&self.folder, &[])?.entries.component;
        component.ok_or_else(|| {
            let detail = format!("{FILE_NAME} names no `component`: say where the build writes it");
            Error::Invalid(detail).into()
        })
    }

    /// The component's file, if it was made: a script may write to another place than the manifest says.
    fn made(&self, component: &Path) -> Result<PathBuf, Error> {
        let path = self.folder.join(component);
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::Invalid(format!(
            "the build made no file `{}`, which `component` in {FILE_NAME} names: write the component there",
            component.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tells_the_language_by_what_is_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Language::of(folder.path()), None);
        // Each comes before those that were there.
        for (file, language) in [
            ("requirements.txt", Language::Python),
            ("package.json", Language::JavaScript),
            ("Cargo.toml", Language::Rust),
        ] {
            fs::write(folder.path().join(file), "").unwrap();
            assert_eq!(Language::of(folder.path()), Some(language));
        }
    }
}
