//! From the path of an entry in the host's manifest to the bytes of `modelet.toml` that it came from.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// One step of a path such as `models.digits.golden[0].outputs.p`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of `path`.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !key.is_empty() {
            steps.push(Step::Key(key));
        }
        let indices = rest.split(['[', ']']).filter_map(|index| index.parse().ok());
        steps.extend(indices.map(Step::Index));
    }
    steps
}

/// Where the entry stands, or the innermost one written that holds it; `None` if there is nothing
/// of it in the file.
pub fn span_of(text: &str, path: &str) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?;
    let mut steps = steps(path);
    // The one entry that has another name here: a file, not a digest.
    if let [Step::Key("models"), Step::Key(_), last @ Step::Key("artifact"), ..] = steps.as_mut_slice() {
        *last = Step::Key("file");
    }
    let (Step::Key(first), rest) = steps.split_first()? else { return None };
    let (key, value) = document.get_ref().iter().find(|(key, _)| key.get_ref() == first)?;
    Some(descend(value.get_ref(), value.span(), key.span(), rest))
}

/// Follows `steps` down from a value. `name` is the span of the key that leads to it.
fn descend(value: &DeValue<'_>, span: Range<usize>, name: Range<usize>, steps: &[Step<'_>]) -> Range<usize> {
    let Some((step, rest)) = steps.split_first() else {
        // A table or a list may be pages long: its name says enough.
        return if value.is_table() || value.is_array() { name } else { span };
    };
    match (step, value) {
        (Step::Key(wanted), DeValue::Table(table)) => {
            let found = |wanted: &str| table.iter().find(|(key, _)| key.get_ref() == wanted);
            let golden_file = || (*wanted == "golden").then(|| found("golden_file")).flatten();
            match found(wanted).or_else(golden_file) {
                Some((key, value)) if is_beyond(value.get_ref(), rest) => {
                    // Golden answers from the file follow those in the manifest.
                    golden_file().map_or(key.span(), |(_, file)| file.span())
                }
                Some((key, value)) => descend(value.get_ref(), value.span(), key.span(), rest),
                None => name,
            }
        }
        (Step::Index(index), DeValue::Array(array)) => match array.get(*index) {
            Some(element) => descend(
                element.get_ref(),
                element.span(),
                element_name(element.get_ref(), &name, element.span()),
                rest,
            ),
            None => name,
        },
        _ => span,
    }
}

/// Whether the next step is an index that the list does not have.
fn is_beyond(value: &DeValue<'_>, rest: &[Step<'_>]) -> bool {
    match (value, rest.first()) {
        (DeValue::Array(array), Some(Step::Index(index))) => array.get(*index).is_none(),
        _ => false,
    }
}

/// What stands for a list's element when something in it is not written: its first key, or the
/// element itself where that is short.
fn element_name(element: &DeValue<'_>, list: &Range<usize>, span: Range<usize>) -> Range<usize> {
    match element {
        DeValue::Table(table) => {
            table.iter().map(|(key, _)| key.span()).min_by_key(|span| span.start).unwrap_or(span)
        }
        DeValue::Array(_) => list.clone(),
        _ => span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"name = "digits"
component = "a.wasm"
[models.digits]
file = "m.onnx"
golden_file = "more.json"
[[models.digits.golden]]
inputs = { x = { shape = [1], f32 = [1] } }
outputs.p = { shape = [2], f32 = [1] }
[limits]
memory_bytes = 1
"#;

    fn found(path: &str) -> &'static str {
        span_of(TEXT, path).map_or("", |span| &TEXT[span])
    }

    #[test]
    fn finds_values_and_the_names_of_tables() {
        assert_eq!(found("limits.memory_bytes"), "1");
        assert_eq!(found("component"), "\"a.wasm\"");
        assert_eq!(found("models.digits"), "digits");
        assert_eq!(found("models.digits.golden[0].outputs.p"), "p");
        assert_eq!(found("models.digits.golden[0].inputs.x.shape[0]"), "1");
    }

    #[test]
    fn an_artifact_is_the_file() {
        assert_eq!(found("models.digits.artifact"), "\"m.onnx\"");
    }

    #[test]
    fn golden_answers_after_those_written_here_are_in_their_file() {
        assert_eq!(found("models.digits.golden[1].tolerance"), "\"more.json\"");
    }

    #[test]
    fn what_is_not_written_is_answered_with_what_holds_it() {
        assert_eq!(found("limits.handles"), "limits");
        assert_eq!(found("models.digits.golden[0].tolerance"), "inputs");
        assert_eq!(found("scale.idle"), "");
        assert_eq!(found(""), "");
    }
}
