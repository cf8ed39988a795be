//! Contents of the first frame of a message, encoded as MessagePack.

use std::fmt;
use std::marker::PhantomData;

use dask_operator_core::text;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::MAX_REMOTE_TEXT;

/// Maximum nesting depth of arrays and maps. Dask's own messages have a depth of at most six.
const MAX_DEPTH: usize = 64;

/// Maximum length of a text, such as a name or an address, in bytes.
pub(crate) const MAX_TEXT: usize = 512;

/// Handshake message, which each side sends first.
#[derive(Serialize)]
pub(crate) struct Handshake {
    /// Compression of the frames after the first. Frames are compressed only if both sides name the same algorithm.
    compression: Option<&'static str>,
    /// Version of the running Python. Schedulers do not use it.
    python: (u8, u8, u8),
    /// Newest supported pickle protocol. The lower one of both sides is used.
    #[serde(rename = "pickle-protocol")]
    pickle_protocol: u8,
}

impl Handshake {
    /// The client's handshake: no compression, so that the scheduler uses none
    /// either, and otherwise the values of a current Python.
    pub(crate) const OURS: Self = Self {
        compression: None,
        python: (3, 11, 0),
        pickle_protocol: 5,
    };
}

/// The scheduler's handshake. Every release since 2020 sends the pickle protocol.
#[derive(Deserialize)]
pub(crate) struct PeerHandshake {
    #[serde(rename = "pickle-protocol")]
    _pickle_protocol: IgnoredAny,
}

/// A call of the scheduler.
#[derive(Serialize)]
pub(crate) struct Request<A> {
    pub(crate) op: &'static str,
    pub(crate) reply: bool,
    #[serde(flatten)]
    pub(crate) arguments: A,
}

/// The arguments of a call that takes none.
#[derive(Serialize)]
pub(crate) struct NoArguments {}

/// The reply to a call.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply<T> {
    /// The value that the call returned.
    Value(T),
    /// `None`: the result of a call that returns no value, and the reply to a
    /// call that the scheduler does not have.
    Nothing,
    /// The text of the exception that the call raised.
    Exception(String),
}

/// A message that can't be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the message is no MessagePack of the expected form: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("the message can't be written as MessagePack: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Encodes a message as a frame.
///
/// # Errors
///
/// Returns an error if MessagePack can't represent the message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    Ok(rmp_serde::to_vec_named(message)?)
}

/// Decodes a frame, without panics for any input. The types of `T` limit the memory: [`Text`] for texts,
/// [`Entries`](crate::bounded::Entries) in place of maps and [`Items`](crate::bounded::Items) in place of lists.
///
/// # Errors
///
/// Returns an error if the frame is not a valid `T`.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, MessageError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(frame);
    deserializer.set_max_depth(MAX_DEPTH);
    Ok(T::deserialize(&mut deserializer)?)
}

/// Decodes the frame of a reply.
///
/// # Errors
///
/// Returns an error if the frame is neither `None`, nor an exception, nor a valid `T`.
pub(crate) fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<Reply<T>, MessageError> {
    const NIL: u8 = 0xc0;
    if frame == [NIL] {
        return Ok(Reply::Nothing);
    }
    // An exception is a map with these keys. No other reply has them.
    if let Ok(Failure {
        status,
        exception_text: Some(text),
        ..
    }) = decode::<Failure>(frame)
        && matches!(status.as_str(), "error" | "uncaught-error")
    {
        return Ok(Reply::Exception(text::line(&text, MAX_REMOTE_TEXT)));
    }
    Ok(Reply::Value(decode(frame)?))
}

#[derive(Deserialize)]
struct Failure {
    status: String,
    exception_text: Option<String>,
}

/// A number of any kind, or `None` for every other value. Some values are
/// integers in one release and floats in another.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) Option<f64>);

impl Number {
    /// Returns the number as a count without fraction, or `None` if it is negative, infinite or not a number.
    pub(crate) fn count(self) -> Option<u64> {
        // Casts from float to integer saturate.
        self.0
            .filter(|count| count.is_finite() && *count >= 0.0)
            .map(|count| count as u64)
    }

    /// Converts seconds since 1970 to milliseconds. `None` if the number is not finite.
    pub(crate) fn milliseconds(self) -> Option<i64> {
        self.0
            .filter(|seconds| seconds.is_finite())
            .map(|seconds| (seconds * 1000.0).round() as i64)
    }
}

/// A text, or a number as text. `None` for every other value, and for a text of
/// more than [`MAX_TEXT`] bytes. A worker's name is the value that it was started
/// with, which is an integer for the workers of a `LocalCluster`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Text(pub(crate) Option<String>);

/// A type that can be made from a scalar, and whose default stands for every other value.
trait Lenient: Default {
    fn number(value: f64) -> Self;
    fn integer(value: i128) -> Self;
    fn text(value: &str) -> Self;
}

impl Lenient for Number {
    fn number(value: f64) -> Self {
        Self(Some(value))
    }

    fn integer(value: i128) -> Self {
        Self(Some(value as f64))
    }

    fn text(_: &str) -> Self {
        Self(None)
    }
}

impl Lenient for Text {
    fn number(value: f64) -> Self {
        Self(Some(value.to_string()))
    }

    fn integer(value: i128) -> Self {
        Self(Some(value.to_string()))
    }

    fn text(value: &str) -> Self {
        Self((value.len() <= MAX_TEXT).then(|| value.to_owned()))
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: Lenient> Visitor<'de> for LenientVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E>(self, value: i64) -> Result<T, E> {
        Ok(T::integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<T, E> {
        Ok(T::integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<T, E> {
        Ok(T::number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<T, E> {
        Ok(T::text(value))
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_none<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<T, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(T::default())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData))
    }
}
