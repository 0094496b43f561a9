//! What the host and a worker process say to each other, byte by byte.
//!
//! Each message is one datagram: a byte that says what it is, then its fields, little-endian. The host
//! believes nothing of what comes: the process has read what a tenant wrote. What does not follow this is
//! refused, and ends the process.
//!
//! | on | from the host | from the process |
//! |---|---|---|
//! | the first socket | a lane, a cancellation, the end of a session | once, that it is ready |
//! | each lane | a load, a run, memory for a large answer: one at a time | the answer to it |
//!
//! Descriptors go from the host to the process only: a lane's socket, a model's file, shared memory.

use modelet_confinement::Layers;

use crate::InferenceError;
use crate::backend::BackendId;

/// What fits into a message is in it; what is larger is in shared memory. Copying more through a socket was
/// measured to take longer than making and mapping memory does.
pub const INLINE_BYTES: usize = 64 << 10;

/// The longest message, with what stands before a body.
pub const MESSAGE_BYTES: usize = INLINE_BYTES + 64;

/// The most of a text in a message.
const TEXT_BYTES: usize = 8 << 10;

/// How ONNX Runtime says that it gets no memory; it has no code for that.
const NO_MEMORY: [&str; 2] = ["Failed to allocate memory", "std::bad_alloc"];

const MAGIC: &[u8; 8] = b"MODELETM";
const VERSION: u16 = 1;
const LANDLOCK: u8 = 1;
const SECCOMP: u8 = 2;

/// Why what came is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub &'static str);

const SHORT: Broken = Broken("it ends in the middle");
const LONG: Broken = Broken("there is more than it should have");
const UNKNOWN: Broken = Broken("it has a value without a meaning");

/// Where the tensors of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// In the message.
    Inline(&'a [u8]),
    /// In shared memory of so many bytes.
    Shared(u64),
}

/// What is asked on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// To load the model whose file of so many bytes comes along, as a session of that number.
    Load { session: u64, bytes: u64, backend: BackendId, threads: u32, may_narrow: bool },
    /// To run a session. The run has a number, so that it can be cancelled.
    Run { session: u64, number: u64, body: Body<'a> },
    /// To write the answer that did not fit into the memory that comes along.
    Fill,
}

/// What is answered on a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The session is there, after so much CPU time.
    Loaded { cpu_nanos: u64 },
    /// The outputs, and the CPU time in nanoseconds. Those of [`Body::Shared`] are written once there is
    /// memory for them.
    Ran { cpu_nanos: u64, body: Body<'a> },
    /// They are written.
    Filled,
    /// There is no session, or no outputs.
    Failed(Failure),
}

/// Why a load or a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    InvalidInput(String),
    InvalidModel(String),
    Unavailable(String),
    Backend(String),
    /// The session is not there any more.
    Panicked(String),
    /// As little. ONNX Runtime's memory grows by twice what it was last asked for, so after a request that
    /// nobody could fulfil, it would take all that is left with the next one, however small.
    OutOfMemory(String),
    /// As the host wanted.
    Stopped,
    Host(String),
}

/// What is said on the first socket, and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A lane of that number, whose socket comes along.
    Lane(u32),
    /// The run of that number, on that lane, is to stop.
    Cancel { lane: u32, number: u64 },
    /// A session is not needed any more.
    Unload(u64),
}

/// What the process says of itself when it can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What confines it.
    pub layers: Layers,
}

impl<'a> Request<'a> {
    /// The message; a body of its own is appended by whoever sends it.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.clear();
        match self {
            Self::Load { session, bytes, backend, threads, may_narrow } => {
                to.push(1);
                to.extend(session.to_le_bytes());
                to.extend(bytes.to_le_bytes());
                to.push(backend_code(*backend));
                to.extend(threads.to_le_bytes());
                to.push(u8::from(*may_narrow));
            }
            Self::Run { session, number, body } => {
                to.push(2);
                to.extend(session.to_le_bytes());
                to.extend(number.to_le_bytes());
                body.write(to);
            }
            Self::Fill => to.push(3),
        }
    }

    pub fn read(message: &'a [u8]) -> Result<Self, Broken> {
        let mut reader = Reader(message);
        let request = match reader.u8()? {
            1 => {
                let (session, bytes) = (reader.u64()?, reader.u64()?);
                let code = reader.u8()?;
                let backend = BACKENDS.into_iter().find(|&known| backend_code(known) == code);
                let backend = backend.ok_or(UNKNOWN)?;
                let (threads, may_narrow) = (reader.u32()?, reader.flag()?);
                Self::Load { session, bytes, backend, threads, may_narrow }
            }
            2 => Self::Run { session: reader.u64()?, number: reader.u64()?, body: Body::read(&mut reader)? },
            3 => Self::Fill,
            _ => return Err(UNKNOWN),
        };
        reader.end().map(|()| request)
    }
}

impl<'a> Answer<'a> {
    pub fn write(&self, to: &mut Vec<u8>) {
        to.clear();
        match self {
            Self::Loaded { cpu_nanos } => {
                to.push(1);
                to.extend(cpu_nanos.to_le_bytes());
            }
            Self::Ran { cpu_nanos, body } => {
                to.push(2);
                to.extend(cpu_nanos.to_le_bytes());
                body.write(to);
            }
            Self::Filled => to.push(3),
            Self::Failed(failure) => {
                let (code, text) = failure.parts();
                to.extend([4, code]);
                to.extend_from_slice(&text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES)]);
            }
        }
    }

    pub fn read(message: &'a [u8]) -> Result<Self, Broken> {
        let mut reader = Reader(message);
        let answer = match reader.u8()? {
            1 => Self::Loaded { cpu_nanos: reader.u64()? },
            2 => Self::Ran { cpu_nanos: reader.u64()?, body: Body::read(&mut reader)? },
            3 => Self::Filled,
            4 => Self::Failed(Failure::read(&mut reader)?),
            _ => return Err(UNKNOWN),
        };
        reader.end().map(|()| answer)
    }
}

impl<'a> Body<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Inline(bytes) => {
                to.push(0);
                to.extend_from_slice(bytes);
            }
            Self::Shared(length) => {
                to.push(1);
                to.extend(length.to_le_bytes());
            }
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, Broken> {
        match reader.u8()? {
            0 => Ok(Self::Inline(reader.rest())),
            1 => Ok(Self::Shared(reader.u64()?)),
            _ => Err(UNKNOWN),
        }
    }
}

impl Failure {
    /// Whether the session of the run is gone with it, and has to be loaded again.
    pub fn takes_the_session(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::OutOfMemory(_))
    }

    fn parts(&self) -> (u8, &str) {
        match self {
            Self::InvalidInput(text) => (0, text),
            Self::InvalidModel(text) => (1, text),
            Self::Unavailable(text) => (2, text),
            Self::Backend(text) => (3, text),
            Self::Panicked(text) => (4, text),
            Self::Stopped => (5, ""),
            Self::Host(text) => (6, text),
            Self::OutOfMemory(text) => (7, text),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Broken> {
        let code = reader.u8()?;
        let text = reader.rest();
        if text.len() > TEXT_BYTES {
            return Err(LONG);
        }
        let text = str::from_utf8(text).map_err(|_| Broken("a text in it is none"))?.to_owned();
        Ok(match code {
            0 => Self::InvalidInput(text),
            1 => Self::InvalidModel(text),
            2 => Self::Unavailable(text),
            3 => Self::Backend(text),
            4 => Self::Panicked(text),
            5 if text.is_empty() => Self::Stopped,
            6 => Self::Host(text),
            7 => Self::OutOfMemory(text),
            _ => return Err(UNKNOWN),
        })
    }
}

impl From<InferenceError> for Failure {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::InvalidInput(text) => Self::InvalidInput(text),
            InferenceError::InvalidModel(text) => Self::InvalidModel(text),
            InferenceError::BackendUnavailable { reason, .. } => Self::Unavailable(reason),
            InferenceError::Backend { reason, .. } if NO_MEMORY.iter().any(|sign| reason.contains(sign)) => {
                Self::OutOfMemory(reason)
            }
            InferenceError::Backend { reason, .. } => Self::Backend(reason),
            InferenceError::DeadlineExceeded | InferenceError::Cancelled => Self::Stopped,
            other => Self::Host(other.to_string()),
        }
    }
}

impl Note {
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Lane(lane) => [&[1][..], &lane.to_le_bytes()].concat(),
            Self::Cancel { lane, number } => [&[2][..], &lane.to_le_bytes(), &number.to_le_bytes()].concat(),
            Self::Unload(session) => [&[3][..], &session.to_le_bytes()].concat(),
        }
    }

    pub fn read(message: &[u8]) -> Result<Self, Broken> {
        let mut reader = Reader(message);
        let note = match reader.u8()? {
            1 => Self::Lane(reader.u32()?),
            2 => Self::Cancel { lane: reader.u32()?, number: reader.u64()? },
            3 => Self::Unload(reader.u64()?),
            _ => return Err(UNKNOWN),
        };
        reader.end().map(|()| note)
    }
}

impl Ready {
    pub fn to_bytes(self) -> Vec<u8> {
        let Layers { landlock, seccomp } = self.layers;
        let layers = u8::from(landlock) * LANDLOCK + u8::from(seccomp) * SECCOMP;
        [&MAGIC[..], &VERSION.to_le_bytes(), &[layers]].concat()
    }

    pub fn read(message: &[u8]) -> Result<Self, Broken> {
        let rest = message.strip_prefix(MAGIC).ok_or(Broken("it does not begin as one"))?;
        let rest = rest
            .strip_prefix(&VERSION.to_le_bytes())
            .ok_or(Broken("it is of another version: the program is another one"))?;
        match *rest {
            [layers] if layers & !(LANDLOCK | SECCOMP) == 0 => Ok(Self {
                layers: Layers { landlock: layers & LANDLOCK != 0, seccomp: layers & SECCOMP != 0 },
            }),
            _ => Err(UNKNOWN),
        }
    }
}

const BACKENDS: [BackendId; 2] = [BackendId::Rten, BackendId::Onnxruntime];

fn backend_code(backend: BackendId) -> u8 {
    match backend {
        BackendId::Rten => 0,
        BackendId::Onnxruntime => 1,
    }
}

/// Takes fields off the front of a message.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn u8(&mut self) -> Result<u8, Broken> {
        self.array().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Result<u32, Broken> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Broken> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, Broken> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(UNKNOWN),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*array)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(LONG) }
    }
}

/// Reads `bytes`, and panics if they are an answer that is written differently, or one whose tensors are; see
/// `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(bytes: &[u8]) {
    let Ok(answer) = Answer::read(bytes) else { return };
    let mut written = Vec::new();
    answer.write(&mut written);
    assert_eq!(written, bytes, "{answer:?}");
    if let Answer::Ran { body: Body::Inline(body), .. } = answer {
        super::tensors::check(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_they_were_made() {
        let mut bytes = Vec::new();
        for request in [
            Request::Load {
                session: 7,
                bytes: 1 << 40,
                backend: BackendId::Onnxruntime,
                threads: 3,
                may_narrow: true,
            },
            Request::Run { session: 1, number: u64::MAX, body: Body::Inline(b"tensors") },
            Request::Run { session: 1, number: 2, body: Body::Shared(1 << 40) },
            Request::Fill,
        ] {
            request.write(&mut bytes);
            assert_eq!(Request::read(&bytes), Ok(request));
        }
        for note in [Note::Lane(9), Note::Cancel { lane: 1, number: 2 }, Note::Unload(3)] {
            let bytes = note.to_bytes();
            assert_eq!(Note::read(&bytes), Ok(note));
            assert_eq!(Note::read(&bytes[..bytes.len() - 1]), Err(SHORT));
        }
    }

    #[test]
    fn answers_arrive_as_they_were_made_and_no_other_way() {
        let mut bytes = Vec::new();
        for answer in [
            Answer::Loaded { cpu_nanos: 3 },
            Answer::Ran { cpu_nanos: 5, body: Body::Inline(b"") },
            Answer::Ran { cpu_nanos: 5, body: Body::Shared(9) },
            Answer::Filled,
            Answer::Failed(Failure::InvalidInput("no".into())),
            Answer::Failed(Failure::InvalidModel("no".into())),
            Answer::Failed(Failure::Unavailable("no".into())),
            Answer::Failed(Failure::Backend("no".into())),
            Answer::Failed(Failure::Panicked("no".into())),
            Answer::Failed(Failure::OutOfMemory("no".into())),
            Answer::Failed(Failure::Stopped),
            Answer::Failed(Failure::Host("no".into())),
        ] {
            answer.write(&mut bytes);
            assert_eq!(Answer::read(&bytes), Ok(answer));
        }
        for lie in
            [&b""[..], &[0], &[5], &[1, 0], &[2, 0, 0], &[3, 3], &[4], &[4, 8], &[4, 5, b'x'], &[4, 0, 0xff]]
        {
            assert!(Answer::read(lie).is_err(), "{lie:?}");
        }
        Answer::Ran { cpu_nanos: 0, body: Body::Shared(1) }.write(&mut bytes);
        bytes.push(0);
        assert_eq!(Answer::read(&bytes), Err(LONG));
    }

    #[test]
    fn a_text_without_end_is_cut() {
        let mut bytes = Vec::new();
        Answer::Failed(Failure::Backend("ü".repeat(1 << 20))).write(&mut bytes);
        assert!(bytes.len() < MESSAGE_BYTES);
        assert!(matches!(Answer::read(&bytes), Ok(Answer::Failed(Failure::Backend(_)))));
        bytes.extend([b'x'; TEXT_BYTES]);
        assert_eq!(Answer::read(&bytes), Err(LONG));
    }

    #[test]
    fn a_program_that_is_another_one_is_found_out() {
        let layers = Layers { landlock: true, seccomp: false };
        let ready = Ready { layers }.to_bytes();
        assert_eq!(Ready::read(&ready), Ok(Ready { layers }));
        for at in [0, 8, 10] {
            let mut other = ready.clone();
            other[at] = 9;
            assert!(Ready::read(&other).is_err(), "{at}");
        }
        assert!(Ready::read(&ready[..10]).is_err());
    }
}
