//! Text to token ids, exactly as the model's own tokenizer does it.
//!
//! This is BERT's uncased WordPiece (<https://arxiv.org/abs/1810.04805>) with the settings in the
//! package's `tokenizer.json`, cut at the length that sentence-transformers uses for this model. The
//! reference is the `tokenizers` library; `model/record.py` records its ids and the tests compare.
//! Work stops at the cut, so that a very long text costs no more than a long one. Knows nothing of
//! batches and tensors.

mod normalize;
mod vocabulary;

use normalize::normalize;
use unicode_categories::UnicodeCategories;
use vocabulary::Vocabulary;

/// The most tokens a text becomes, with the two that enclose it.
pub const MAX_TOKENS: usize = 256;
/// A word of more characters than this is unknown as a whole.
const MAX_WORD_CHARS: usize = 100;

const UNKNOWN: u32 = 100;
const START: u32 = 101;
const END: u32 = 102;
/// Written in a text, these stand for themselves; they are found before anything is normalised.
const SPECIAL: [(&str, u32); 5] =
    [("[PAD]", 0), ("[UNK]", UNKNOWN), ("[CLS]", START), ("[SEP]", END), ("[MASK]", 103)];

/// The ids of a text: start, at most 254 word pieces, end.
pub fn encode(text: &str) -> Vec<u32> {
    let mut encoder = Encoder { vocabulary: Vocabulary::embedded(), ids: vec![START] };
    let mut rest = text;
    while !encoder.is_full() {
        let Some((at, special, id)) = next_special(rest) else {
            encoder.push_text(rest);
            break;
        };
        encoder.push_text(&rest[..at]);
        encoder.ids.push(id);
        rest = &rest[at + special.len()..];
    }
    let mut ids = encoder.ids;
    ids.truncate(MAX_TOKENS - 1);
    ids.push(END);
    ids
}

fn next_special(text: &str) -> Option<(usize, &'static str, u32)> {
    // A text without a bracket, which is nearly every text, is searched once and not five times.
    text.match_indices('[').find_map(|(at, _)| {
        let found = SPECIAL.iter().find(|(special, _)| text[at..].starts_with(special));
        found.map(|&(special, id)| (at, special, id))
    })
}

struct Encoder {
    vocabulary: Vocabulary,
    ids: Vec<u32>,
}

impl Encoder {
    fn is_full(&self) -> bool {
        self.ids.len() >= MAX_TOKENS - 1
    }

    /// Appends the ids of a text without special tokens, word by word.
    fn push_text(&mut self, text: &str) {
        let mut word = String::new();
        for character in normalize(text) {
            if self.is_full() {
                return;
            }
            if character.is_whitespace() {
                self.push_word(&word);
                word.clear();
            } else if character.is_ascii_punctuation() || character.is_punctuation() {
                self.push_word(&word);
                word.clear();
                self.push_word(character.encode_utf8(&mut [0; 4]));
            } else {
                word.push(character);
            }
        }
        self.push_word(&word);
    }

    /// Appends the longest pieces of a word from its left, or one unknown token if any of it is in
    /// no piece.
    fn push_word(&mut self, word: &str) {
        let before = self.ids.len();
        let mut rest = if word.chars().count() > MAX_WORD_CHARS { None } else { Some(word) };
        while let Some(text) = rest.filter(|text| !text.is_empty()) {
            let is_start = text.len() == word.len();
            rest = self.vocabulary.longest_piece(text, is_start).map(|(length, id)| {
                self.ids.push(id);
                &text[length..]
            });
        }
        if rest.is_none() {
            self.ids.truncate(before);
            self.ids.push(UNKNOWN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_stops_at_the_cut() {
        let ids = encode(&"word ".repeat(1_000));
        assert_eq!(ids.len(), MAX_TOKENS);
        assert_eq!((ids[0], ids[MAX_TOKENS - 1]), (START, END));
    }

    #[test]
    fn an_empty_text_is_start_and_end() {
        assert_eq!(encode(""), [START, END]);
        assert_eq!(encode(" \n\t\u{a0}"), [START, END]);
    }

    #[test]
    fn special_tokens_in_a_text_stand_for_themselves() {
        assert_eq!(encode("[MASK][SEP]"), [START, 103, END, END]);
        assert_ne!(encode("[mask]"), [START, 103, END]);
    }

    #[test]
    fn a_word_of_more_than_100_characters_is_unknown() {
        assert_eq!(encode(&"é".repeat(101)), [START, UNKNOWN, END]);
        assert_ne!(encode(&"é".repeat(100)), [START, UNKNOWN, END]);
    }
}
