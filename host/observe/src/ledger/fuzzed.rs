//! See `crate::fuzzing`, which cannot see the codec.

use std::fs::File;
use std::io::Write as _;

use rustix::fs::{MemfdFlags, memfd_create};

use super::codec::{self, Entry};
use super::frame::{self, Found, FrameReader};

/// Reads `bytes` as frames: every byte is accounted for, and every frame is found again alone.
pub(crate) fn check_segment(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let mut frames = FrameReader::new(file(bytes), 0, length);
    let mut end = 0;
    let mut was_damage = false;
    loop {
        let begin = end;
        match frames.next().expect("memory can be read") {
            None => break,
            Some(Found::Payload(payload)) => {
                let payload = payload.to_vec();
                end = frames.offset();
                was_damage = false;
                assert_eq!(end - begin, (frame::HEAD_BYTES + payload.len()) as u64);
                let again = frame::encode(|out| out.extend_from_slice(&payload));
                assert_eq!(again[..], bytes[begin as usize..end as usize]);
                check_entry(&payload);
            }
            Some(Found::Damage(count)) => {
                end = frames.offset();
                assert!(count > 0 && !was_damage, "damage that is none, or is not told at once");
                was_damage = true;
                assert_eq!(end - begin, count);
            }
        }
    }
    assert_eq!(end, length);
}

/// Reads `bytes` as an entry, which is then written and read as the same one.
pub(crate) fn check_entry(bytes: &[u8]) {
    let Some(entry) = codec::decode(bytes) else { return };
    let frame = frame::encode(|out| match &entry {
        Entry::Record(record) => codec::put_record(out, record),
        Entry::Opened(opened) => codec::put_opened(out, opened, false),
        Entry::StillOpen(opened) => codec::put_opened(out, opened, true),
    });
    assert_eq!(codec::decode(&frame[frame::HEAD_BYTES..]), Some(entry));
    // What this host writes, it must find as a frame.
    let mut frames = FrameReader::new(file(&frame), 0, frame.len() as u64);
    assert!(
        matches!(frames.next(), Ok(Some(Found::Payload(payload))) if payload == &frame[frame::HEAD_BYTES..])
    );
}

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("segment", MemfdFlags::CLOEXEC).expect("memory can be a file"));
    file.write_all(bytes).expect("memory can be written");
    file
}
