//! Heads and samples, cut at every byte; what is no WAV file, and what is one but is not read here.

use super::samples::Samples;
use super::*;
use crate::tests::recording::wav;

/// The head and what follows it, of a body in pieces of this many bytes.
fn read(body: &[u8], piece: usize) -> Result<(Head, Vec<u8>), Problem> {
    let mut reader = HeadReader::new();
    let mut pieces = body.chunks(piece);
    while let Some(mut piece) = pieces.next() {
        if let Some(head) = reader.read(&mut piece)? {
            let rest = [piece, &pieces.flatten().copied().collect::<Vec<_>>()].concat();
            return Ok((head, rest));
        }
        assert!(piece.is_empty());
    }
    Err(reader.ended())
}

fn refused(body: &[u8]) -> (String, String) {
    let problem = read(body, 3).unwrap_err();
    assert_eq!(problem.status, 422);
    (problem.field.unwrap(), problem.detail)
}

/// A file with other chunks before the samples, one of them of an odd size, and one after them.
fn with_chunks() -> Vec<u8> {
    let plain = wav(1, 2, 44_100, 16, &[1, 2, 3, 4]);
    let mut file = plain[..12].to_vec();
    file.extend(b"LIST\x05\0\0\0INFO!\0");
    file.extend(&plain[12..36]);
    file.extend(b"fact\0\0\0\0");
    file.extend(&plain[36..]);
    file.extend(b"id3 \x02\0\0\0xx");
    file
}

#[test]
fn the_head_is_found_wherever_the_body_is_cut() {
    let body = with_chunks();
    for piece in 1..=body.len() {
        let (head, rest) = read(&body, piece).unwrap();
        let format = Format { encoding: Encoding::Pcm16, channels: 2, sample_rate: 44_100 };
        assert_eq!(head, Head { format, data_bytes: Some(4) });
        assert_eq!(rest, [&[1, 2, 3, 4], &b"id3 \x02\0\0\0xx"[..]].concat());
    }
}

#[test]
fn the_newer_form_of_the_format_is_the_same() {
    let plain = wav(3, 1, 8_000, 32, &[0; 4]);
    let mut file = plain[..16].to_vec();
    file.extend(40_u32.to_le_bytes());
    file.extend(0xfffe_u16.to_le_bytes());
    file.extend(&plain[22..36]);
    file.extend([22, 0, 32, 0, 4, 0, 0, 0, 3, 0]);
    file.extend(GUID_TAIL);
    file.extend(&plain[36..]);
    let (head, _) = read(&file, 11).unwrap();
    assert_eq!(head.format, Format { encoding: Encoding::Float32, channels: 1, sample_rate: 8_000 });
    // Of another family of identifiers.
    file[50] = 1;
    assert_eq!(refused(&file).0, "fmt.format");
}

#[test]
fn a_length_that_no_body_can_have_goes_on_to_the_end() {
    for size in [0, 0x7fff_f000, 0x8000_0000, 0xffff_ffff_u32] {
        let mut file = wav(1, 1, 16_000, 16, &[1, 2]);
        file[40..44].copy_from_slice(&size.to_le_bytes());
        assert_eq!(read(&file, 5).unwrap().0.data_bytes, None);
    }
}

#[test]
fn says_what_it_does_not_read() {
    let (field, detail) = refused(&wav(1, 1, 16_000, 24, &[]));
    let expected = "fmt.bits_per_sample: must be 16 for PCM, got 24";
    assert_eq!((field.as_str(), detail.as_str()), ("fmt.bits_per_sample", expected));
    assert_eq!(refused(&wav(3, 1, 16_000, 64, &[])).0, "fmt.bits_per_sample");
    assert_eq!(refused(&wav(85, 1, 44_100, 16, &[])).0, "fmt.format");
    assert_eq!(refused(&wav(1, 6, 48_000, 16, &[])).0, "fmt.channels");
    assert_eq!(refused(&wav(1, 0, 48_000, 16, &[])).0, "fmt.channels");
    assert_eq!(refused(&wav(1, 2, 16_000, 16, &[0; 6])).0, "data.size");
    let mut packed = wav(1, 2, 16_000, 16, &[]);
    packed[32] = 2;
    assert_eq!(refused(&packed).0, "fmt.block_align");
}

#[test]
fn says_what_is_missing() {
    let file = wav(1, 1, 16_000, 16, &[]);
    assert_eq!(refused(b"RIFX\0\0\0\0WAVE").0, "body");
    assert!(refused(&file[..11]).1.contains("12 bytes"));
    assert!(refused(&file[..30]).1.contains("`fmt ` chunk"));
    assert!(refused(&file[..40]).1.contains("`data` chunk"));
    assert!(refused(&[&file[..12], &file[36..]].concat()).1.contains("before `data`"));
    assert!(refused(&[&file[..36], &file[12..]].concat()).1.contains("a second one"));
    assert_eq!(refused(b"RIFF\0\0\0\0WAVEfmt \x0e\0\0\0").0, "fmt");
    // As large as a chunk can be, and not there.
    assert!(refused(b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff").1.contains("`fmt ` chunk"));
    assert!(refused(b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff....").1.contains("`fmt ` chunk"));
}

/// All samples of a body in pieces, and whether they were all there.
fn decoded(body: &[u8], piece: usize) -> (Vec<f32>, Result<(), Problem>) {
    let (head, rest) = read(body, piece).unwrap();
    let mut samples = Samples::new(head);
    let mut mono = Vec::new();
    for piece in rest.chunks(piece) {
        samples.decode(piece, &mut mono).unwrap();
    }
    (mono, samples.finish())
}

#[test]
fn samples_are_the_same_wherever_they_are_cut() {
    let pcm: Vec<u8> =
        [i16::MIN, i16::MIN, 16_384, 0, -8_192, 8_192].into_iter().flat_map(i16::to_le_bytes).collect();
    let floats: Vec<u8> = [0.5_f32, 1.5, -1.0, 0.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let mut followed = wav(1, 1, 16_000, 16, &[0, 0x40]);
    followed.extend(b"LIST\x04\0\0\0INFO");
    for piece in 1..=64 {
        assert_eq!(decoded(&wav(1, 2, 16_000, 16, &pcm), piece), (vec![-1.0, 0.25, 0.0], Ok(())));
        assert_eq!(decoded(&wav(3, 2, 16_000, 32, &floats), piece), (vec![1.0, -0.5], Ok(())));
        assert_eq!(decoded(&followed, piece), (vec![0.5], Ok(())));
    }
}

#[test]
fn a_body_that_ends_too_early_is_no_whole_one() {
    let file = wav(1, 2, 16_000, 16, &[0; 400]);
    let (mono, finished) = decoded(&file[..file.len() - 6], 50);
    assert_eq!((mono.len(), finished.unwrap_err().detail.contains("6 bytes")), (98, true));
    let mut endless = file;
    endless[40..44].copy_from_slice(&[0xff; 4]);
    assert_eq!(decoded(&endless, 50).1, Ok(()));
    endless.push(0);
    assert!(decoded(&endless, 50).1.unwrap_err().detail.contains("within a frame"));
}
