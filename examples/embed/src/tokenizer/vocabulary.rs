//! The model's 30,522 word pieces, as finite state maps that `build.rs` wrote.
//!
//! One map holds the pieces that begin a word and one those that continue it (without their `##`).
//! Both are read in place: opening them costs nothing, whatever their size. Knows nothing of text.

use fst::Map;
use fst::raw::Output;

static STARTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/starts.fst"));
static CONTINUATIONS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/continuations.fst"));

/// The word pieces and their ids.
pub struct Vocabulary {
    starts: Map<&'static [u8]>,
    continuations: Map<&'static [u8]>,
}

impl Vocabulary {
    /// The vocabulary inside the component.
    pub fn embedded() -> Self {
        let open = |bytes| Map::new(bytes).expect("build.rs wrote it with the same library");
        Self { starts: open(STARTS), continuations: open(CONTINUATIONS) }
    }

    /// The longest piece that `text` begins with: its length in bytes, and its id.
    pub fn longest_piece(&self, text: &str, is_start: bool) -> Option<(usize, u32)> {
        let map = if is_start { self.starts.as_fst() } else { self.continuations.as_fst() };
        let mut node = map.root();
        let mut output = Output::zero();
        let mut longest = None;
        for (read, byte) in (1..).zip(text.bytes()) {
            let Some(index) = node.find_input(byte) else { break };
            let transition = node.transition(index);
            output = output.cat(transition.out);
            node = map.node(transition.addr);
            if node.is_final() {
                let id = output.cat(node.final_output()).value();
                longest = Some((read, u32::try_from(id).expect("ids are line numbers of the vocabulary")));
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_longest_piece() {
        let vocabulary = Vocabulary::embedded();
        let (length, _) = vocabulary.longest_piece("unaffordable", true).unwrap();
        let (shorter, _) = vocabulary.longest_piece("un", true).unwrap();
        assert!(length >= shorter && length < "unaffordable".len());
    }

    #[test]
    fn tells_starts_from_continuations() {
        let vocabulary = Vocabulary::embedded();
        assert_eq!(vocabulary.longest_piece("[CLS]", true), Some((5, 101)));
        assert_eq!(vocabulary.longest_piece("the", true), Some((3, 1996)));
        assert_eq!(vocabulary.longest_piece("ing", false), Some((3, 2075)));
        assert_ne!(vocabulary.longest_piece("ing", true), vocabulary.longest_piece("ing", false));
    }
}
