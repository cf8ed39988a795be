//! Property tests: for any input, decoding ends with a value or an error, with memory in proportion to the input.
//!
//! A few cases run with every test run. To run many more:
//! `PROPTEST_CASES=3000000 cargo test --package dask-operator-scheduler --lib fuzz`.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::bounded::Items;
use crate::facts::{IdentityReply, RetireReply, retired};
use crate::message::{Number, PeerHandshake, Text, decode, decode_reply};
use crate::tls::TlsConfig;
use crate::wire::{WireError, read_message};

const LIMIT: u64 = 1 << 20;

/// Messages that real schedulers sent.
const RECORDED: [&[u8]; 10] = [
    include_bytes!("../tests/recorded/2022.8.1-handshake.bin"),
    include_bytes!("../tests/recorded/2022.8.1-identity.bin"),
    include_bytes!("../tests/recorded/2022.8.1-retire_workers.bin"),
    include_bytes!("../tests/recorded/2022.8.1-exception.bin"),
    include_bytes!("../tests/recorded/2024.8.2-identity.bin"),
    include_bytes!("../tests/recorded/2026.8.0-identity.bin"),
    include_bytes!("../tests/recorded/2026.8.0-exception.bin"),
    include_bytes!("../tests/recorded/2026.8.0-retire_workers.bin"),
    include_bytes!("../tests/recorded/2026.8.0-check_idle.bin"),
    include_bytes!("../tests/recorded/2026.8.0-workers_to_close.bin"),
];

/// Reads a message from bytes that are all available.
fn read(mut bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    match pin!(read_message(&mut bytes, LIMIT)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("waits for more bytes although the end was reached"),
    }
}

/// Decodes a frame as the reply to each call.
fn decode_as_every_reply(frame: &[u8]) {
    let _ = decode::<PeerHandshake>(frame);
    let _ = decode_reply::<Number>(frame);
    let _ = decode_reply::<Items<Text>>(frame);
    if let Ok(crate::message::Reply::Value(reply)) = decode_reply::<RetireReply>(frame) {
        retired(reply);
    }
    if let Ok(crate::message::Reply::Value(reply)) = decode_reply::<IdentityReply>(frame) {
        let _ = reply.into_identity();
    }
    // The same structure is sent as JSON over HTTP.
    let _ = serde_json::from_slice::<IdentityReply>(frame);
}

fn check(bytes: &[u8]) {
    if let Ok(frame) = read(bytes) {
        assert!(frame.len() <= bytes.len());
        assert!(
            frame.capacity() <= 2 * bytes.len() + 64,
            "{} bytes for {}",
            frame.capacity(),
            bytes.len()
        );
        decode_as_every_reply(&frame);
    }
}

#[test]
fn a_large_buffer_has_little_spare_capacity() {
    let frame = vec![0; 900_000];
    let read = read(&crate::wire::encode(&frame)).unwrap_or_else(|error| panic!("{error}"));
    let capacity = read.capacity();
    assert!(capacity <= frame.len() / 4 * 5 + (65 << 10), "{capacity} bytes");
}

/// A mutation of a message.
#[derive(Debug, Clone)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    Number(Index, u64),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let interesting = select(vec![
        0,
        1,
        7,
        8,
        15,
        16,
        17,
        255,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 63,
        u64::MAX,
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        // Heads of MessagePack arrays, maps, strings and extensions, with lengths of all sizes.
        (any::<Index>(), 0x80_u8..=0xdf).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 0..20)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Remove(from, to)),
        (any::<Index>(), interesting).prop_map(|(at, number)| Mutation::Number(at, number)),
        any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn apply(mutation: Mutation, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match mutation {
        Mutation::Set(at, byte) => bytes[at.index(length)] = byte,
        Mutation::Insert(at, new) => drop(bytes.splice(at.index(length)..at.index(length), new)),
        Mutation::Remove(from, to) => {
            let (from, to) = (from.index(length), to.index(length));
            bytes.drain(from.min(to)..from.max(to));
        }
        Mutation::Number(at, number) => {
            // Mostly in the head, which contains the numbers.
            let at = at.index(length.min(5)) * 8;
            for (byte, new) in bytes.iter_mut().skip(at).zip(number.to_le_bytes()) {
                *byte = new;
            }
        }
        Mutation::Cut(at) => bytes.truncate(at.index(length)),
    }
}

/// Uses PROPTEST_CASES if it is set, and otherwise as many cases as take a second.
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig {
            cases: 4096,
            ..default
        },
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn arbitrary_messages(bytes in vec(any::<u8>(), 0..600)) {
        check(&bytes);
    }

    #[test]
    fn arbitrary_frames(frame in vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(read(&crate::wire::encode(&frame)).ok(), Some(frame.clone()));
        decode_as_every_reply(&frame);
    }

    #[test]
    fn mutated_messages(recorded in select(&RECORDED[..]), mutations in vec(mutation(), 1..8)) {
        let mut bytes = recorded.to_vec();
        for mutation in mutations {
            apply(mutation, &mut bytes);
        }
        check(&bytes);
    }

    /// The head is valid, but the content of the frame is not.
    #[test]
    fn mutated_frames(recorded in select(&RECORDED[..]), mutations in vec(mutation(), 1..8)) {
        let mut frame = read(recorded).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for mutation in mutations {
            apply(mutation, &mut frame);
        }
        decode_as_every_reply(&frame);
    }

    /// Numbers of a head without the bytes that they announce: nothing may be allocated for an announcement.
    #[test]
    fn arbitrary_heads(numbers in vec(prop_oneof![0_u64..100, any::<u64>(), 1_u64 << 16..1 << 21], 0..6)) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        check(&bytes);
    }

    #[test]
    fn addresses_round_trip(text in "(tcp|tls|)(://|:|)[\\[\\]a-z0-9:./ é]{0,30}") {
        if let Ok(address) = text.parse::<crate::Address>() {
            prop_assert_eq!(address.to_string().parse::<crate::Address>(), Ok(address));
        }
    }

    #[test]
    fn invalid_certificates_are_rejected(text in "(-----BEGIN (CERTIFICATE|PRIVATE KEY|)-----\n[A-Za-z0-9+/=]{0,80}\n-----END CERTIFICATE-----\n)?") {
        prop_assert!(TlsConfig::from_pem(text.as_bytes(), text.as_bytes(), text.as_bytes()).is_err());
    }
}
