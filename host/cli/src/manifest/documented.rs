//! What docs/manifest.md says, held against the code.

use std::collections::BTreeSet;
use std::fs;

use super::*;

/// The fields of the table that `header` begins, as a manifest with an unknown one is told them.
fn fields(header: &str, prefix: &str) -> BTreeSet<String> {
    let error = toml::from_str::<Entries>(&format!("{header}\nunknown = 1\n")).unwrap_err();
    let (_, allowed) = error.message().split_once("expected ").expect("it lists the allowed ones");
    // The names stand between backticks: every other piece.
    allowed.split('`').skip(1).step_by(2).map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn every_field_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/manifest.md");
    let text = fs::read_to_string(path).unwrap();
    let first = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let documented: BTreeSet<String> = text.lines().filter_map(first).collect();

    let model = "models.<name>.";
    let (batching, golden) = ("models.<name>.batching.", "models.<name>.golden.");
    let mut there = fields("", "");
    for (header, prefix) in [
        ("[limits]", "limits."),
        ("[scale]", "scale."),
        ("[reuse]", "reuse."),
        ("[concurrency]", "concurrency."),
        ("[key_value]", "key_value."),
        ("[models.m]", model),
        ("[models.m.batching]", batching),
        ("[models.m.response_cache]", "models.<name>.response_cache."),
        ("[[models.m.golden]]", golden),
    ] {
        there.extend(fields(header, prefix));
    }
    // The tables themselves are headings.
    for table in ["models", "limits", "scale", "reuse", "concurrency", "key_value"] {
        assert!(there.remove(table) && text.contains(&format!("\n## `[{table}")), "{table}");
    }
    assert_eq!(documented, there, "docs/manifest.md on the left, the code on the right");
}

#[test]
fn the_example_is_a_manifest() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    let text = fs::read_to_string(&path).unwrap();
    let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // What the example names is in every project that `modelet new` makes.
    let template =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk/templates/shared/modelet.toml");
    let entries = Manifest::parse(&path, example).unwrap();
    let digests = entries.models.keys().map(|name| (name.clone(), Digest::of(b"m"))).collect();
    let manifest = Manifest { entries, path: template, text: example.into(), settings: vec![] };
    let spec = manifest.to_spec(Some(Digest::of(b"c")), &digests).unwrap();
    assert_eq!(spec.models["iris"].golden.len(), 4);
}
