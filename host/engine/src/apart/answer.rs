//! What the process that compiles says to the host, byte by byte.
//!
//! A head of fixed size, a body of the length that the head names, and the end of the stream. Numbers
//! are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `MODELETC` |
//! | 2 | the version of this format |
//! | 1 | what confines the process: 1 for Landlock, 2 for seccomp, or their sum |
//! | 1 | what the body is: 0 for a problem, 1 for code |
//! | 8 | the length of the body |
//!
//! A problem's body is the length of its code in 1 byte and the code, the same of its field, and its
//! detail. Whatever does not follow this is refused: the process has read what a tenant wrote.

use std::io::{self, Read, Write};

use modelet_confinement::Layers;
use modelet_types::{Code, Problem};

const MAGIC: &[u8; 8] = b"MODELETC";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 20;

const LANDLOCK: u8 = 1;
const SECCOMP: u8 = 2;

/// The most code of one component. The largest that is known is a tenth of it.
pub(super) const MAX_CODE_BYTES: u64 = 1 << 30;
/// The most bytes of a problem.
const MAX_PROBLEM_BYTES: u64 = 16 << 10;

/// What may be wrong with a component, and with the process itself.
const CODES: [Code; 2] = [Code::InvalidComponent, Code::Internal];

/// An answer. Either way the process says what confines it.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// The code was written where it belongs.
    Code(Layers),
    /// There is none.
    Problem(Layers, Problem),
}

/// Why what came is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("it ended in the middle")]
    Truncated,
    #[error("it does not begin as one")]
    Magic,
    #[error("it is of version {0}, and this host's is {VERSION}: the program is another one")]
    Version(u16),
    #[error("its head has values without a meaning")]
    Head,
    #[error("its problem is none: {0}")]
    Problem(&'static str),
    #[error("there are bytes after it")]
    Trailing,
    #[error("what it gives is not code of wasmtime's")]
    NoCode,
    #[error("the compiled code is larger than {MAX_CODE_BYTES} bytes")]
    TooMuchCode,
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("the code cannot be written")]
    Write(#[source] io::Error),
}

/// Reads an answer to the end of `from`, and writes its code, if it has some, to `code`. Memory does not
/// depend on what comes.
pub(super) fn read(from: &mut impl Read, code: &mut impl Write) -> Result<Answer, Broken> {
    let head: [u8; HEAD_BYTES] = read_array(from)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Broken::Magic);
    }
    let (version, rest) = rest.split_at(2);
    let version = u16::from_le_bytes(version.try_into().expect("it was split off as two bytes"));
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    let [layers, kind, length @ ..] = rest else { return Err(Broken::Head) };
    let length = u64::from_le_bytes(length.try_into().map_err(|_| Broken::Head)?);
    let layers = match *layers {
        bits if bits & !(LANDLOCK | SECCOMP) != 0 => return Err(Broken::Head),
        bits => Layers { landlock: bits & LANDLOCK != 0, seccomp: bits & SECCOMP != 0 },
    };
    let answer = match *kind {
        0 if length > MAX_PROBLEM_BYTES => return Err(Broken::Problem("it is too long")),
        0 => {
            let mut body = vec![0; usize::try_from(length).map_err(|_| Broken::Head)?];
            read_exact(from, &mut body)?;
            Answer::Problem(layers, problem(&body)?)
        }
        1 if length > MAX_CODE_BYTES => return Err(Broken::TooMuchCode),
        1 => {
            copy(from, code, length)?;
            Answer::Code(layers)
        }
        _ => return Err(Broken::Head),
    };
    match from.read(&mut [0]) {
        Ok(0) => Ok(answer),
        Ok(_) => Err(Broken::Trailing),
        Err(error) => Err(Broken::Read(error)),
    }
}

/// Writes the answer that `code` is.
pub(super) fn write_code(to: &mut impl Write, layers: Layers, code: &[u8]) -> io::Result<()> {
    write(to, layers, 1, code)
}

/// Writes the answer that `problem` is. Of a detail that is too long, the beginning.
pub(super) fn write_problem(to: &mut impl Write, layers: Layers, problem: &Problem) -> io::Result<()> {
    let (code, field) = (problem.code.as_str(), problem.field.as_deref().unwrap_or_default());
    let mut body = Vec::new();
    for text in [code, field] {
        body.push(u8::try_from(text.len()).map_err(io::Error::other)?);
        body.extend_from_slice(text.as_bytes());
    }
    let room = MAX_PROBLEM_BYTES as usize - body.len();
    let detail = &problem.detail[..problem.detail.floor_char_boundary(room)];
    body.extend_from_slice(detail.as_bytes());
    write(to, layers, 0, &body)
}

fn write(to: &mut impl Write, layers: Layers, kind: u8, body: &[u8]) -> io::Result<()> {
    let layers = u8::from(layers.landlock) * LANDLOCK + u8::from(layers.seccomp) * SECCOMP;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[layers, kind]);
    head.extend_from_slice(&(body.len() as u64).to_le_bytes());
    to.write_all(&head)?;
    to.write_all(body)
}

fn problem(body: &[u8]) -> Result<Problem, Broken> {
    let (code, rest) = text(body)?;
    let (field, detail) = text(rest)?;
    let code = CODES.into_iter().find(|known| known.as_str() == code);
    let code = code.ok_or(Broken::Problem("a compiler does not have its code"))?;
    let detail = str::from_utf8(detail).map_err(|_| NOT_TEXT)?;
    let problem = Problem::new(code, detail.to_owned());
    Ok(if field.is_empty() { problem } else { problem.at(field) })
}

const NOT_TEXT: Broken = Broken::Problem("it is not text");

/// Splits off a text that is preceded by its length.
fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Broken> {
    let (length, rest) = bytes.split_first().ok_or(Broken::Problem("it is too short"))?;
    let (text, rest) =
        rest.split_at_checked(usize::from(*length)).ok_or(Broken::Problem("it is too short"))?;
    Ok((str::from_utf8(text).map_err(|_| NOT_TEXT)?, rest))
}

fn copy(from: &mut impl Read, to: &mut impl Write, mut left: u64) -> Result<(), Broken> {
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(Broken::Truncated),
            Ok(count) => count,
            Err(error) => return Err(Broken::Read(error)),
        };
        to.write_all(&buffer[..count]).map_err(Broken::Write)?;
        left -= count as u64;
    }
    Ok(())
}

fn read_array<const N: usize>(from: &mut impl Read) -> Result<[u8; N], Broken> {
    let mut bytes = [0; N];
    read_exact(from, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), Broken> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Truncated,
        _ => Broken::Read(error),
    })
}

/// Reads `bytes`, and panics if they are an answer that is written differently; see `crate::fuzzing`.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(bytes: &[u8]) {
    let (mut rest, mut code) = (bytes, Vec::new());
    let answer = read(&mut rest, &mut code);
    assert!(code.len() <= bytes.len());
    let mut written = Vec::new();
    match &answer {
        Ok(Answer::Code(layers)) => write_code(&mut written, *layers, &code),
        Ok(Answer::Problem(layers, problem)) => write_problem(&mut written, *layers, problem),
        Err(_) => return,
    }
    .expect("memory can be written");
    assert_eq!(written, bytes, "{answer:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Layers = Layers { landlock: true, seccomp: false };

    fn reads(mut bytes: &[u8]) -> Result<(Answer, Vec<u8>), Broken> {
        let mut code = Vec::new();
        let answer = read(&mut bytes, &mut code)?;
        Ok((answer, code))
    }

    fn of_code(code: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_code(&mut bytes, LAYERS, code).unwrap();
        bytes
    }

    fn of_problem(problem: &Problem) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_problem(&mut bytes, LAYERS, problem).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(reads(&of_code(b"code")).unwrap(), (Answer::Code(LAYERS), b"code".to_vec()));
        for problem in [
            Problem::new(Code::InvalidComponent, "no good").at("component"),
            Problem::new(Code::Internal, ""),
        ] {
            let read = reads(&of_problem(&problem)).unwrap();
            assert_eq!(read, (Answer::Problem(LAYERS, problem), vec![]));
        }
    }

    #[test]
    fn a_detail_without_end_is_cut() {
        let problem = Problem::new(Code::InvalidComponent, "ü".repeat(1 << 20));
        let Answer::Problem(_, cut) = reads(&of_problem(&problem)).unwrap().0 else { panic!("no problem") };
        assert!(cut.detail.len() as u64 <= MAX_PROBLEM_BYTES && problem.detail.starts_with(&*cut.detail));
    }

    #[test]
    fn every_truncation_is_one() {
        let problem = Problem::new(Code::InvalidComponent, "no good").at("component");
        for answer in [of_code(b"code"), of_problem(&problem)] {
            for length in 0..answer.len() {
                assert!(matches!(reads(&answer[..length]), Err(Broken::Truncated)), "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut answer = of_code(b"code");
            answer[at] = byte;
            reads(&answer).unwrap_err()
        };
        assert!(matches!(with(0, b'm'), Broken::Magic));
        assert!(matches!(with(8, 2), Broken::Version(2)));
        assert!(matches!(with(10, 4), Broken::Head));
        assert!(matches!(with(11, 2), Broken::Head));
        assert!(matches!(with(12, 3), Broken::Trailing));
        assert!(matches!(with(12, 5), Broken::Truncated));
        assert!(matches!(with(19, 255), Broken::TooMuchCode));
    }

    #[test]
    fn a_problem_that_a_compiler_does_not_have_is_refused() {
        let refused = |body: &[u8]| {
            let mut answer = Vec::new();
            write(&mut answer, LAYERS, 0, body).unwrap();
            assert!(matches!(reads(&answer), Err(Broken::Problem(_))), "{body:?}");
        };
        refused(b"");
        refused(b"\x09not_found\0no such thing");
        refused(b"\x08internal");
        refused(b"\x08internal\xffshort");
        refused(b"\x08internal\0\xff");
        refused(b"\x02\xff\xff\0");
        refused(&vec![0; MAX_PROBLEM_BYTES as usize + 1]);
    }
}
