//! Secrets that a handler writes to its own log, masked there.
//!
//! Best effort, for mistakes and not against malice: a value is found where it stands as it is, in one
//! line. One that is cut in two, encoded or spelled backwards is not.

use std::borrow::Cow;

use modelet_types::Secrets;

/// What stands in place of a value.
const MASK: &str = "[secret]";

/// Shorter values, and shorter lines of longer ones, would be found in words that have nothing to do with
/// them.
const MIN_BYTES: usize = 6;

/// `text` without the values of `secrets`, and without the lines of those that have several. Takes time in
/// proportion to the text for each of them, of which a revision has few.
pub(crate) fn masked<'t>(text: &'t str, secrets: &Secrets) -> Cow<'t, str> {
    let mut shown = Cow::Borrowed(text);
    // Whole values first: what is found of one of their lines would break them up.
    for value in secrets.values() {
        mask(&mut shown, value.expose());
    }
    for value in secrets.values().filter(|value| value.expose().contains('\n')) {
        value.expose().lines().for_each(|line| mask(&mut shown, line.trim()));
    }
    shown
}

fn mask(shown: &mut Cow<'_, str>, value: &str) {
    if value.len() >= MIN_BYTES && shown.contains(value) {
        *shown = Cow::Owned(shown.replace(value, MASK));
    }
}

#[cfg(test)]
mod tests {
    use modelet_types::SecretValue;

    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let secret = |(index, value): (usize, &&str)| {
            let name = format!("s{index}").parse().unwrap();
            (name, SecretValue::new((*value).to_owned().into()).unwrap())
        };
        values.iter().enumerate().map(secret).collect()
    }

    #[test]
    fn values_are_masked_wherever_they_stand() {
        let secrets = secrets(&["hunter2", "correct horse"]);
        let masked = |text| masked(text, &secrets);
        assert_eq!(
            masked("key=hunter2, again hunter2; correct horse!"),
            "key=[secret], again [secret]; [secret]!"
        );
        assert!(matches!(masked("nothing of it"), Cow::Borrowed("nothing of it")));
    }

    #[test]
    fn lines_of_a_value_are_masked_one_by_one() {
        let secrets = secrets(&["-----BEGIN KEY-----\nMIIEvQIBADANBg\nabc\n"]);
        assert_eq!(masked("> MIIEvQIBADANBg", &secrets), "> [secret]");
        assert_eq!(masked("abc", &secrets), "abc", "too short to tell from a word");
    }

    #[test]
    fn short_values_are_left() {
        assert_eq!(masked("a yes or a no", &secrets(&["yes"])), "a yes or a no");
    }
}
