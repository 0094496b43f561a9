//! The bytes of a ledger entry: the wire format of Protocol Buffers (varints and length-delimited
//! fields, <https://protobuf.dev/programming-guides/encoding/>), so that any tool can decode it.
//!
//! A field that is 0 or empty is left out, a field that is not known is passed over: fields may be
//! added for ever without a new format version, and their numbers are never used again. Knows
//! nothing of files.

use jiff::Timestamp;
use modelet_types::{Code, FunctionName, InvocationId, RevisionNumber, TenantName};
use uuid::Uuid;

use super::record::{Outcome, UsageOpened, UsageRecord};

/// What a frame of the ledger holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Entry {
    /// A finished invocation, streamed or not.
    Record(UsageRecord),
    /// A stream began.
    Opened(UsageOpened),
    /// A stream that began in an earlier segment was still open when this segment began.
    StillOpen(UsageOpened),
}

mod kind {
    pub const RECORD: u64 = 1;
    pub const OPENED: u64 = 2;
    pub const STILL_OPEN: u64 = 3;
}

mod field {
    pub const KIND: u32 = 1;
    pub const INVOCATION: u32 = 2;
    pub const TENANT: u32 = 3;
    pub const FUNCTION: u32 = 4;
    pub const REVISION: u32 = 5;
    pub const STARTED_AT_US: u32 = 6;
    pub const WALL_TIME_US: u32 = 7;
    pub const QUEUE_TIME_US: u32 = 8;
    pub const WAKE_TIME_US: u32 = 9;
    pub const CPU_TIME_US: u32 = 10;
    pub const INFERENCE_CPU_TIME_US: u32 = 11;
    pub const PEAK_MEMORY_BYTES: u32 = 12;
    pub const REQUEST_BYTES: u32 = 13;
    pub const RESPONSE_BYTES: u32 = 14;
    pub const STATUS: u32 = 15;
    pub const OUTCOME: u32 = 16;
    pub const COLD: u32 = 17;
    /// The highest that this host knows.
    pub const LAST: u32 = COLD;
}

/// Fields are kept by their number, and number 0 is none.
const SLOTS: usize = field::LAST as usize + 1;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A growing buffer that an entry is written to.
pub(super) type Buffer = smallvec::SmallVec<[u8; 256]>;

fn put_varint(out: &mut Buffer, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Buffer, field: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(field) << 3 | VARINT);
        put_varint(out, value);
    }
}

fn put_bytes(out: &mut Buffer, field: u32, value: &[u8]) {
    put_varint(out, u64::from(field) << 3 | BYTES);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

struct Identity<'a>(InvocationId, &'a TenantName, &'a FunctionName, RevisionNumber, Timestamp);

fn put_identity(out: &mut Buffer, kind: u64, identity: Identity<'_>) {
    let Identity(invocation, tenant, function, revision, started_at) = identity;
    put_number(out, field::KIND, kind);
    put_bytes(out, field::INVOCATION, invocation.0.as_bytes());
    put_bytes(out, field::TENANT, tenant.as_str().as_bytes());
    put_bytes(out, field::FUNCTION, function.as_str().as_bytes());
    put_number(out, field::REVISION, revision.0);
    // Two's complement, as protobuf's int64 has it.
    put_number(out, field::STARTED_AT_US, started_at.as_microsecond() as u64);
}

/// Appends a finished invocation.
pub(super) fn put_record(out: &mut Buffer, record: &UsageRecord) {
    let r = record;
    let identity = Identity(r.invocation, &r.tenant, &r.function, r.revision, r.started_at);
    put_identity(out, kind::RECORD, identity);
    put_number(out, field::WALL_TIME_US, r.wall_time_us);
    put_number(out, field::QUEUE_TIME_US, r.queue_time_us);
    put_number(out, field::WAKE_TIME_US, r.wake_time_us);
    put_number(out, field::CPU_TIME_US, r.cpu_time_us);
    put_number(out, field::INFERENCE_CPU_TIME_US, r.inference_cpu_time_us);
    put_number(out, field::PEAK_MEMORY_BYTES, r.peak_memory_bytes);
    put_number(out, field::REQUEST_BYTES, r.request_bytes);
    put_number(out, field::RESPONSE_BYTES, r.response_bytes);
    put_number(out, field::STATUS, u64::from(r.status));
    put_bytes(out, field::OUTCOME, r.outcome.as_str().as_bytes());
    put_number(out, field::COLD, u64::from(r.cold));
}

/// Appends the start of a stream, or with `again` the reminder that it is still open.
pub(super) fn put_opened(out: &mut Buffer, opened: &UsageOpened, again: bool) {
    let o = opened;
    let kind = if again { kind::STILL_OPEN } else { kind::OPENED };
    put_identity(out, kind, Identity(o.invocation, &o.tenant, &o.function, o.revision, o.started_at));
    put_number(out, field::STATUS, u64::from(o.status));
    put_number(out, field::COLD, u64::from(o.cold));
}

/// Takes a varint off the front of `bytes`.
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Every field of an entry, before it is known what the entry is.
#[derive(Default)]
struct Fields<'a> {
    numbers: [u64; SLOTS],
    texts: [&'a [u8]; SLOTS],
}

impl<'a> Fields<'a> {
    fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes)?;
            let slot = usize::try_from(key >> 3).ok()?;
            match key & 7 {
                VARINT => {
                    let value = take_varint(&mut bytes)?;
                    if let Some(number) = fields.numbers.get_mut(slot) {
                        *number = value;
                    }
                }
                BYTES => {
                    let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                    let value;
                    (value, bytes) = bytes.split_at_checked(length)?;
                    if let Some(text) = fields.texts.get_mut(slot) {
                        *text = value;
                    }
                }
                FIXED64 => bytes = bytes.get(8..)?,
                FIXED32 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        Some(fields)
    }

    fn number(&self, field: u32) -> u64 {
        self.numbers.get(field as usize).copied().unwrap_or_default()
    }

    fn bytes(&self, field: u32) -> &'a [u8] {
        self.texts.get(field as usize).copied().unwrap_or_default()
    }

    fn text(&self, field: u32) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(field)).ok()
    }

    fn opened(&self) -> Option<UsageOpened> {
        Some(UsageOpened {
            invocation: InvocationId(Uuid::from_slice(self.bytes(field::INVOCATION)).ok()?),
            tenant: self.text(field::TENANT)?.parse().ok()?,
            function: self.text(field::FUNCTION)?.parse().ok()?,
            revision: RevisionNumber(self.number(field::REVISION)),
            started_at: Timestamp::from_microsecond(self.number(field::STARTED_AT_US) as i64).ok()?,
            status: u16::try_from(self.number(field::STATUS)).ok()?,
            cold: self.number(field::COLD) != 0,
        })
    }

    fn outcome(&self) -> Option<Outcome> {
        Some(match self.text(field::OUTCOME)? {
            "ok" => Outcome::Ok,
            "interrupted" => Outcome::Interrupted,
            text => {
                let code = Code::ALL.iter().find(|code| code.as_str() == text);
                Outcome::Failed(*code.unwrap_or(&Code::Internal))
            }
        })
    }
}

/// Reads one entry; `None` if the bytes are not one, or one of a kind that is not known.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry> {
    let fields = Fields::parse(bytes)?;
    let opened = fields.opened()?;
    match fields.number(field::KIND) {
        kind::OPENED => Some(Entry::Opened(opened)),
        kind::STILL_OPEN => Some(Entry::StillOpen(opened)),
        kind::RECORD => Some(Entry::Record(UsageRecord {
            wall_time_us: fields.number(field::WALL_TIME_US),
            queue_time_us: fields.number(field::QUEUE_TIME_US),
            wake_time_us: fields.number(field::WAKE_TIME_US),
            cpu_time_us: fields.number(field::CPU_TIME_US),
            inference_cpu_time_us: fields.number(field::INFERENCE_CPU_TIME_US),
            peak_memory_bytes: fields.number(field::PEAK_MEMORY_BYTES),
            request_bytes: fields.number(field::REQUEST_BYTES),
            response_bytes: fields.number(field::RESPONSE_BYTES),
            outcome: fields.outcome()?,
            ..UsageRecord::interrupted(opened)
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::samples;
    use super::*;

    fn encoded(record: &UsageRecord) -> Buffer {
        let mut bytes = Buffer::new();
        put_record(&mut bytes, record);
        bytes
    }

    #[test]
    fn every_field_survives() {
        let outcomes = Code::ALL.iter().copied().map(Outcome::Failed);
        for outcome in outcomes.chain([Outcome::Ok, Outcome::Interrupted]) {
            let record = UsageRecord { outcome, ..samples::record() };
            assert_eq!(decode(&encoded(&record)), Some(Entry::Record(record)));
        }
        let opened = samples::opened(&samples::record());
        let mut bytes = Buffer::new();
        put_opened(&mut bytes, &opened, false);
        assert_eq!(decode(&bytes), Some(Entry::Opened(opened.clone())));
        bytes.clear();
        put_opened(&mut bytes, &opened, true);
        assert_eq!(decode(&bytes), Some(Entry::StillOpen(opened)));
    }

    #[test]
    fn a_typical_record_stays_on_the_stack() {
        let bytes = encoded(&samples::record());
        assert!(!bytes.spilled() && bytes.len() < 100, "{}", bytes.len());
    }

    #[test]
    fn passes_over_what_a_newer_host_adds() {
        let record = samples::record();
        let mut bytes = encoded(&record);
        put_number(&mut bytes, field::LAST + 1, 5);
        put_bytes(&mut bytes, field::LAST + 1, b"of another type");
        put_bytes(&mut bytes, 4_000, b"later");
        put_number(&mut bytes, u32::MAX, 5);
        put_varint(&mut bytes, u64::from(field::LAST + 2) << 3 | FIXED64);
        bytes.extend_from_slice(&[0; 8]);
        put_varint(&mut bytes, u64::from(field::LAST + 3) << 3 | FIXED32);
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(decode(&bytes), Some(Entry::Record(record)));
    }

    #[test]
    fn cut_bytes_are_not_a_record() {
        let bytes = encoded(&samples::record());
        let whole = decode(&bytes);
        for end in 0..bytes.len() {
            assert_ne!(decode(&bytes[..end]), whole, "cut at {end}");
        }
    }
}
