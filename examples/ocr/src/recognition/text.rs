//! From the likeliest character of each place to the text of a line.

use modelet_sdk::Problem;

/// The characters that the model knows by name, in the order of its classes.
static ALPHABET: &[char] = &include!(concat!(env!("OUT_DIR"), "/alphabet.rs"));
/// The class of a place where no character is.
const BLANK: i64 = 0;

/// A line that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub text: String,
    /// The mean of the characters' probabilities; 0 of an empty text.
    pub score: f32,
}

/// The text of one row: a character that goes on over several places stands once, and blanks are left
/// out (connectionist temporal classification; Graves et al., 2006).
///
/// # Errors
/// If a class is beyond the alphabet.
pub fn decode(classes: &[i64], scores: &[f32]) -> Result<Reading, Problem> {
    let mut text = String::new();
    let (mut sum, mut count) = (0.0_f64, 0_u32);
    let mut before = BLANK;
    for (&class, &score) in classes.iter().zip(scores) {
        if class != before && class != BLANK {
            text.push(character(class)?);
            sum += f64::from(score);
            count += 1;
        }
        before = class;
    }
    Ok(Reading { text, score: (sum / f64::from(count.max(1))) as f32 })
}

/// After the blank come the alphabet and, last, the space.
fn character(class: i64) -> Result<char, Problem> {
    let index = usize::try_from(class - 1).ok();
    match index.map(|index| (index, ALPHABET.get(index))) {
        Some((_, Some(&character))) => Ok(character),
        Some((index, None)) if index == ALPHABET.len() => Ok(' '),
        _ => Err(Problem::internal(format!("the recognition model gave class {class}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(character: char) -> i64 {
        let index = ALPHABET.iter().position(|&known| known == character).unwrap();
        index as i64 + 1
    }

    #[test]
    fn repeats_are_one_character_and_blanks_are_none() {
        let (a, b) = (class('a'), class('b'));
        let reading = decode(&[0, a, a, 0, a, b, b, 0], &[0.9, 0.5, 0.9, 0.9, 0.7, 0.9, 0.1, 0.9]).unwrap();
        assert_eq!(reading.text, "aab");
        assert!((reading.score - 0.7).abs() < 1e-6);
    }

    #[test]
    fn the_last_class_is_the_space() {
        let space = ALPHABET.len() as i64 + 1;
        assert_eq!(decode(&[class('a'), space, class('世')], &[1.0; 3]).unwrap().text, "a 世");
        assert_eq!(decode(&[space + 1], &[1.0]).unwrap_err().status, 500);
        assert_eq!(decode(&[-1], &[1.0]).unwrap_err().status, 500);
    }

    #[test]
    fn nothing_read_is_nothing_sure() {
        assert_eq!(decode(&[0, 0], &[1.0; 2]).unwrap(), Reading::default());
    }
}
