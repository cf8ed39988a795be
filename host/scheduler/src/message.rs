//! What the first frame of a message says, as MessagePack.

use std::fmt;
use std::marker::PhantomData;

use dask_operator_core::text;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::WORDS;

/// How deep arrays and maps may be nested: Dask's own are at most six deep.
const MAX_DEPTH: usize = 64;

/// How long a name, an address or another word may be, in bytes.
pub(crate) const MAX_TEXT: usize = 512;

/// What each side sends first.
#[derive(Serialize)]
pub(crate) struct Greeting {
    /// How frames after the first are compressed: not at all, unless both name the same.
    compression: Option<&'static str>,
    /// The version of the Python that is running; of no importance to the scheduler.
    python: (u8, u8, u8),
    /// The newest protocol for pickled objects; the lower one of both counts.
    #[serde(rename = "pickle-protocol")]
    pickle_protocol: u8,
}

impl Greeting {
    /// Ours: no compression, which makes the scheduler use none, and what a
    /// current Python would say otherwise.
    pub(crate) const OURS: Self = Self {
        compression: None,
        python: (3, 11, 0),
        pickle_protocol: 5,
    };
}

/// The scheduler's greeting. Every release has sent this number since 2020.
#[derive(Deserialize)]
pub(crate) struct TheirGreeting {
    #[serde(rename = "pickle-protocol")]
    _pickle_protocol: IgnoredAny,
}

/// A call.
#[derive(Serialize)]
pub(crate) struct Request<A> {
    pub(crate) op: &'static str,
    pub(crate) reply: bool,
    #[serde(flatten)]
    pub(crate) arguments: A,
}

/// A call without arguments.
#[derive(Serialize)]
pub(crate) struct NoArguments {}

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply<T> {
    /// What the call returned.
    Value(T),
    /// `None`: what a call returns that has nothing to say, and what a
    /// scheduler answers that does not know the call.
    Nothing,
    /// The text of the exception that the call raised.
    Exception(String),
}

/// What is not what was expected, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    #[error("the message is no MessagePack of the expected form: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    #[error("the message can't be written as MessagePack: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// A message as the first frame.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    Ok(rmp_serde::to_vec_named(message)?)
}

/// Decodes a frame. No input makes it panic. What `T` holds of it is bounded by its types: [`Text`], and
/// [`Entries`](crate::bounded::Entries) and [`Items`](crate::bounded::Items) in place of maps and lists.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, MessageError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(frame);
    deserializer.set_max_depth(MAX_DEPTH);
    Ok(T::deserialize(&mut deserializer)?)
}

/// Decodes an answer.
pub(crate) fn decode_reply<T: DeserializeOwned>(frame: &[u8]) -> Result<Reply<T>, MessageError> {
    const NIL: u8 = 0xc0;
    if frame == [NIL] {
        return Ok(Reply::Nothing);
    }
    // An exception is a map with these keys, which no answer has.
    if let Ok(Failure {
        status,
        exception_text: Some(text),
        ..
    }) = decode::<Failure>(frame)
        && matches!(status.as_str(), "error" | "uncaught-error")
    {
        return Ok(Reply::Exception(text::line(&text, WORDS)));
    }
    Ok(Reply::Value(decode(frame)?))
}

#[derive(Deserialize)]
struct Failure {
    status: String,
    exception_text: Option<String>,
}

/// A number of any kind; none for everything else. The same value has been an
/// integer in one release and a float in another.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub(crate) Option<f64>);

impl Number {
    /// As a count, without fraction; none for what counts nothing: negative, infinite, or no number.
    pub(crate) fn count(self) -> Option<u64> {
        // A cast from float to integer ends at the integer's bounds.
        self.0
            .filter(|count| count.is_finite() && *count >= 0.0)
            .map(|count| count as u64)
    }

    /// Seconds since 1970 as milliseconds.
    pub(crate) fn milliseconds(self) -> Option<i64> {
        self.0
            .filter(|seconds| seconds.is_finite())
            .map(|seconds| (seconds * 1000.0).round() as i64)
    }
}

/// A text; numbers are texts too, everything else is none, and so is a text of
/// more than [`MAX_TEXT`] bytes. A worker's name is what it was started with, an
/// integer for those of a `LocalCluster`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Text(pub(crate) Option<String>);

/// Something that can be made of a scalar, and is empty when there is none.
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
