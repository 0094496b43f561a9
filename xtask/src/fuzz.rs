//! `cargo xtask fuzz`: looks for bytes that a decoder does not stand. docs/fuzzing.md has the rest.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;

use crate::machine::{self, Need};
use crate::shell::{command, run as sh};
use crate::workspace;

/// An input that takes longer is a defect.
const MAX_SECONDS_EACH: u64 = 10;
/// A process that grows over this has been made to: none needs a quarter of it.
const MAX_MEMORY_MIB: u64 = 2048;

/// What to fuzz.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The targets, by their names in fuzz/fuzz_targets; all of them if none is named.
    targets: Vec<String>,
    /// For how long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Then add to the committed corpus whatever was found that reaches more than it does.
    #[arg(long)]
    keep: bool,
}

/// Runs the targets one after another, and ends at the first that finds something.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    machine::check(&[Need::CCompiler, Need::CxxCompiler, Need::CargoFuzz])?;
    let known = targets()?;
    let wrong = arguments.targets.iter().find(|target| !known.contains(target));
    if let Some(wrong) = wrong {
        anyhow::bail!("there is no target `{wrong}`, but {}", known.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    for target in chosen {
        fuzz(target, arguments)?;
    }
    Ok(())
}

/// What is found goes to a folder that is not committed, so that a run leaves no trace in the repository.
fn fuzz(target: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let (found, corpus) = (format!("fuzz/found/{target}"), format!("fuzz/corpus/{target}"));
    fs::create_dir_all(workspace::root().join(&found)).with_context(|| format!("cannot make {found}"))?;
    let mut options = vec![
        format!("-max_total_time={}", arguments.seconds),
        format!("-timeout={MAX_SECONDS_EACH}"),
        format!("-rss_limit_mb={MAX_MEMORY_MIB}"),
    ];
    let words = format!("fuzz/dictionaries/{target}.dict");
    if workspace::root().join(&words).is_file() {
        options.push(format!("-dict={words}"));
    }
    libfuzzer(target, [&found, &corpus], &options)?;
    if arguments.keep {
        // Files that are there already stay as they are, with the names that people gave them.
        libfuzzer(target, [&corpus, &found], &["-merge=1".to_owned()])?;
    }
    Ok(())
}

/// Runs a target in libFuzzer. Without a sanitizer: these need a nightly compiler, and what they look for
/// does not happen in safe code.
fn libfuzzer(target: &str, folders: [&String; 2], options: &[String]) -> anyhow::Result<()> {
    let mut cargo = command("cargo", ["fuzz", "run", "--sanitizer", "none", target]);
    cargo.args(folders).arg("--").args(options);
    // What other threads do is counted too, and would be something else each time.
    sh(cargo.env("RAYON_NUM_THREADS", "1"))
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut targets: Vec<String> = entries.flatten().filter_map(|entry| name(&entry.path())).collect();
    targets.sort();
    Ok(targets)
}
