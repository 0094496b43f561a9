//! Datagrams between the host and a process, and the descriptors that go along.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

/// Room for the longest message, and what the kernel counts beside it.
const BUFFER_BYTES: usize = 192 << 10;

/// Two ends of a socket that keeps messages apart, and says when the other end is gone.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_send_buffer_size(&one, BUFFER_BYTES)?;
    sockopt::set_socket_send_buffer_size(&other, BUFFER_BYTES)?;
    Ok((one, other))
}

/// Sends a message, and a descriptor with it.
pub fn send(socket: impl AsFd, message: &[u8], along: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send_with(socket, message, along, SendFlags::NOSIGNAL)
}

/// As [`send`], for a process that may not read: an error where it would have to wait for that.
pub fn send_now(socket: impl AsFd, message: &[u8], along: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send_with(socket, message, along, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(
    socket: impl AsFd,
    message: &[u8],
    along: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let along = along.as_slice();
    if !along.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(along));
    }
    let sent =
        rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(message)], &mut ancillary, flags))?;
    if sent == message.len() { Ok(()) } else { Err(io::Error::other("a message was cut")) }
}

/// Receives a message into `buffer`, and says how long it is: 0 if the other end is gone. A descriptor that
/// comes along is closed by the kernel before anyone sees it.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let received = rustix::io::retry_on_intr(|| {
        let buffer = &mut [IoSliceMut::new(buffer)];
        recvmsg(&socket, buffer, &mut RecvAncillaryBuffer::default(), RecvFlags::empty())
    })?;
    // Descriptors that were dropped show as another flag, and are no matter.
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    Ok(received.bytes)
}

/// As [`receive`], with the descriptor that came along.
pub fn receive_with(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let buffer = &mut [IoSliceMut::new(buffer)];
        recvmsg(&socket, buffer, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message is too long, or a descriptor lost",
        ));
    }
    let along = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received.bytes, along))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_message_brings_its_descriptor_or_leaves_it_behind() {
        let (one, other) = pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let mut buffer = [0; 8];
        send_now(&one, b"first", Some(writer.as_fd())).unwrap();
        let (length, along) = receive_with(&other, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], along.is_some()), (&b"first"[..], true));
        drop(along);
        // Of the second, nothing is left but this end.
        send_now(&one, b"second", Some(writer.as_fd())).unwrap();
        assert_eq!(receive(&other, &mut buffer).unwrap(), 6);
        drop(writer);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
        send_now(&one, b"more than 8 bytes", None).unwrap();
        assert_eq!(receive(&other, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert_eq!(receive(&other, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn whoever_does_not_read_holds_nobody_up() {
        let (one, _other) = pair().unwrap();
        let message = [0; super::super::wire::MESSAGE_BYTES];
        let error = (0..1000).find_map(|_| send_now(&one, &message, None).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
