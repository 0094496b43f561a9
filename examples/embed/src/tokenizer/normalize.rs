//! What the tokenizer does to characters before it looks for words: BERT's normaliser, uncased.
//!
//! Owns the order of the steps and the ranges of ideographs. Knows nothing of words or ids.

use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;

/// Drops control characters, sets ideographs apart, strips accents and lowers case, as the text is
/// read.
pub fn normalize(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter(|&character| !is_dropped(character))
        .flat_map(set_ideograph_apart)
        .nfd()
        .filter(|character| !character.is_mark_nonspacing())
        .flat_map(char::to_lowercase)
}

fn is_dropped(character: char) -> bool {
    let is_white = matches!(character, '\t' | '\n' | '\r');
    character == '\u{fffd}' || (character.is_other() && !is_white)
}

/// Languages written in ideographs put no spaces between words, so each ideograph is one.
fn set_ideograph_apart(character: char) -> impl Iterator<Item = char> {
    let space = is_ideograph(character).then_some(' ');
    space.into_iter().chain([character]).chain(space)
}

/// The blocks that BERT's vocabulary was made with. Kana and Hangul are not among them. The bounds
/// are those of the reference, of which one (`2B920`) differs from the block's (`2B820`).
fn is_ideograph(character: char) -> bool {
    matches!(
        character,
        '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_accents_and_case() {
        assert_eq!(normalize("Ünïcode ÅNGSTRÖM").collect::<String>(), "unicode angstrom");
    }

    #[test]
    fn sets_ideographs_apart_but_not_kana() {
        assert_eq!(normalize("東京タワー").collect::<String>(), " 東  京 タワー");
    }

    #[test]
    fn keeps_white_space_and_drops_other_controls() {
        assert_eq!(normalize("a\tb\0c\u{200d}d\u{fffd}e").collect::<String>(), "a\tbcde");
    }
}
