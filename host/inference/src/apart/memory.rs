//! Shared memory for tensors that do not fit into a message: made by the host, and kept with a lane.
//!
//! The host only ever writes it and copies from it, and the process maps what the host has written. So
//! whatever a process does to it, what the host has checked is what it uses: it has a copy. That takes less
//! time than sealing memory that the process has written, for which the kernel waits until no processor has
//! its pages in hand (20 ms for 10 MB, on two cores that had other things to do). The one seal that it has
//! is against being made shorter. A process cannot make such memory itself, which no limit of its own would
//! count; and memory that is kept saves finding and clearing its pages for each run.
#![expect(unsafe_code, reason = "mapping is unsafe: whoever changes the memory changes the bytes")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use memmap2::MmapOptions;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::tensors::Packed;

/// What a lane keeps at most from one call to the next.
const KEPT_BYTES: u64 = 16 << 20;

/// Memory of one lane.
pub struct Memory {
    file: File,
    bytes: u64,
}

impl Memory {
    fn new() -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("modelet-tensors", flags)?);
        fcntl_add_seals(&file, SealFlags::SHRINK)?;
        Ok(Self { file, bytes: 0 })
    }

    /// The memory in `kept`, made if there is none, with room for so many bytes.
    pub fn of(kept: &mut Option<Self>, bytes: u64) -> io::Result<&Self> {
        let memory = match kept.take() {
            Some(memory) => memory,
            None => Self::new()?,
        };
        let memory = kept.insert(memory);
        if memory.bytes < bytes {
            memory.file.set_len(bytes)?;
            memory.bytes = bytes;
        }
        Ok(memory)
    }

    /// Writes `packed` to its beginning.
    pub fn write(&self, packed: &Packed<'_>) -> io::Result<()> {
        packed.write_to(&self.file)
    }

    /// A copy of its first bytes.
    pub fn copy(&self, bytes: usize) -> io::Result<Bytes> {
        let mut copy = vec![0; bytes];
        self.file.read_exact_at(&mut copy, 0)?;
        Ok(copy.into())
    }

    /// Whether it is too large to be kept.
    pub fn is_large(&self) -> bool {
        self.bytes > KEPT_BYTES
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The first bytes of memory that the host has sent, in the process that it was sent to. They stay as they are
/// until that answers.
pub fn sent(memory: &File, bytes: usize) -> io::Result<Bytes> {
    // Private, since a confined process cannot have it otherwise.
    // SAFETY: the host, which this process has to believe, has made it so long and against being made shorter,
    // and writes nothing before the answer. Nothing here writes before the mapping is gone.
    let map = unsafe { MmapOptions::new().len(bytes).populate().map_copy_read_only(memory) }?;
    Ok(Bytes::from_owner(map))
}

#[cfg(test)]
mod tests {
    use modelet_types::Tensor;

    use super::super::tensors::unpack;
    use super::super::wire::Reader;
    use super::*;

    #[test]
    fn what_is_written_is_what_is_sent_and_what_is_copied() {
        let mut kept = None;
        // The second has fewer bytes, and an end at which nothing is written.
        for values in [vec![1_u8; 1000], vec![2, 3], vec![]] {
            let tensors = [Tensor::from_vec(&[values.len()], values.clone()).unwrap()];
            let packed = Packed::new(b"", &tensors);
            let memory = Memory::of(&mut kept, packed.len() as u64).unwrap();
            memory.write(&packed).unwrap();
            let there = File::from(memory.as_fd().try_clone_to_owned().unwrap());
            for bytes in [sent(&there, packed.len()).unwrap(), memory.copy(packed.len()).unwrap()] {
                let got = unpack(&bytes, Reader(&bytes)).unwrap();
                assert_eq!(got[0].as_slice::<u8>().unwrap(), values);
            }
        }
    }

    #[test]
    fn nobody_makes_it_shorter_and_a_copy_stays() {
        let mut kept = None;
        let memory = Memory::of(&mut kept, 5).unwrap();
        let there = File::from(memory.as_fd().try_clone_to_owned().unwrap());
        assert!(there.set_len(4).is_err());
        there.write_all_at(b"12345", 0).unwrap();
        let copy = memory.copy(5).unwrap();
        there.write_all_at(b"xxxxx", 0).unwrap();
        assert_eq!(&copy[..], b"12345");
        assert!(memory.copy(6).is_err(), "more than there is");
        assert!(!Memory::of(&mut kept, KEPT_BYTES).unwrap().is_large());
        assert!(Memory::of(&mut kept, KEPT_BYTES + 1).unwrap().is_large());
    }
}
