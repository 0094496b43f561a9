//! A worker process that answers what cannot be, written by hand after `src/apart/wire.rs` and `tensors.rs`.
//! What it does follows from the last digits of the memory that it may have.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::exit;

use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

fn main() {
    let memory_bytes =
        std::env::args().find_map(|argument| argument.strip_prefix("memory_bytes=")?.parse().ok());
    let lie: u64 = memory_bytes.map_or(0, |bytes: u64| bytes - (1 << 30));
    let host = std::io::stdin();
    let ready: &[u8] = if lie == 18 { b"MODELETX\x01\0\x03" } else { b"MODELETM\x01\0\x03" };
    send(&host, ready, None);
    loop {
        // Of what is said here, only lanes are of interest.
        let (note, along) = receive(&host);
        if note.is_empty() {
            return;
        }
        if let (1, Some(lane)) = (note[0], along) {
            std::thread::spawn(move || serve(lie, &lane));
        }
    }
}

fn serve(lie: u64, lane: &OwnedFd) {
    loop {
        let (request, _along) = receive(lane);
        match request.first() {
            Some(1) if lie == 17 => send(lane, &ran(&body(11, &[1], &7_f32.to_le_bytes())), None),
            Some(1) => send(lane, &[&[1][..], &0_u64.to_le_bytes()].concat(), None),
            Some(2) => answer(lie, lane),
            _ => return,
        }
    }
}

/// The answer to a run that asks for one output of type f32, which has the code 11.
fn answer(lie: u64, lane: &OwnedFd) {
    let seven = 7_f32.to_le_bytes();
    let truth = body(11, &[1], &seven);
    match lie {
        0 => send(lane, &ran(&truth), None),
        1 => send(lane, &[9, 9, 9], None),
        // Cut off in the middle.
        2 => send(lane, &ran(&truth[..truth.len() - 1]), None),
        // None, and two.
        3 => send(lane, &ran(&0_u32.to_le_bytes()), None),
        4 => send(
            lane,
            &ran(&[&2_u32.to_le_bytes()[..], &truth[4..30], &truth[4..30], &[0; 64]].concat()),
            None,
        ),
        // Another type, another shape, and a shape that nobody can count.
        5 => send(lane, &ran(&body(7, &[1], &seven)), None),
        6 => send(lane, &ran(&body(11, &[1 << 40], &seven)), None),
        7 => send(lane, &ran(&body(11, &[u64::MAX, u64::MAX], &seven)), None),
        // Longer than a message may be.
        8 => send(lane, &ran(&body(11, &[20_000], &[0; 80_000])), None),
        // Larger than all memory, and not written.
        9 => send(lane, &shared(1 << 50), None),
        10 => {
            send(lane, &shared(1 << 20), None);
            let (_fill, _memory) = receive(lane);
            send(lane, &[3], None);
        }
        // Written, and none.
        11 => {
            send(lane, &shared(4096), None);
            let (_fill, memory) = receive(lane);
            rustix::io::pwrite(memory.expect("the host sends memory"), &[0xff; 4096], 0)
                .expect("it is memory");
            send(lane, &[3], None);
        }
        // The truth, in memory that is written again with what cannot be, before each further answer.
        19 => {
            send(lane, &shared(4096), None);
            let (_fill, memory) = receive(lane);
            let memory = memory.expect("the host sends memory");
            #[expect(unsafe_code, reason = "a mapping that nobody reads")]
            // SAFETY: the kernel chooses the place, and nothing is read or written there.
            let mapped = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    4096,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED,
                    &memory,
                    0,
                )
            };
            mapped.expect("it is memory");
            rustix::io::pwrite(&memory, &truth, 0).expect("it can be written");
            assert!(rustix::fs::ftruncate(&memory, 1).is_err(), "it could be made shorter");
            send(lane, &[3], None);
            let (_run, _) = receive(lane);
            rustix::io::pwrite(&memory, &[0xff; 4096], 0).expect("it can be written");
            send(lane, &ran(&truth), None);
        }
        12 => exit(3),
        // What a load is answered with, what is not text, and a descriptor that nobody asked for.
        13 => send(lane, &[&[1][..], &0_u64.to_le_bytes()].concat(), None),
        14 => send(lane, &[4, 3, 0xff], None),
        15 => send(lane, &[2], Some(lane)),
        _ => std::thread::park(),
    }
}

/// That a run took an hour, and what it gave.
fn ran(body: &[u8]) -> Vec<u8> {
    [&[2][..], &3_600_000_000_000_u64.to_le_bytes(), &[0], body].concat()
}

fn shared(length: u64) -> Vec<u8> {
    [&[2][..], &0_u64.to_le_bytes(), &[1], &length.to_le_bytes()].concat()
}

/// One tensor.
fn body(element_type: u8, shape: &[u64], elements: &[u8]) -> Vec<u8> {
    let mut body = 1_u32.to_le_bytes().to_vec();
    body.extend([element_type, shape.len() as u8]);
    shape.iter().for_each(|dim| body.extend(dim.to_le_bytes()));
    body.extend(64_u64.to_le_bytes());
    body.extend((elements.len() as u64).to_le_bytes());
    body.resize(64, 0);
    body.extend(elements);
    body
}

fn send(socket: impl std::os::fd::AsFd, message: &[u8], along: Option<&OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let along = along.map(|along| [along.as_fd()]);
    if let Some(along) = &along {
        ancillary.push(SendAncillaryMessage::ScmRights(along));
    }
    // Fails once the host has had enough.
    if sendmsg(&socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL).is_err() {
        exit(0);
    }
}

fn receive(socket: impl std::os::fd::AsFd) -> (Vec<u8>, Option<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = vec![0; 128 << 10];
    let received = recvmsg(&socket, &mut [IoSliceMut::new(&mut buffer)], &mut ancillary, RecvFlags::empty());
    let length = received.map_or(0, |received| received.bytes);
    buffer.truncate(length);
    let along = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    (buffer, along)
}
