//! Maps and lists in a reply that are counted while they are decoded.
//!
//! A few bytes of a message can take several hundred bytes once decoded. The memory for a reply is therefore limited by the
//! number of workers in it and by the length of their texts, not by the size of the message.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::message::Text;

/// Maximum number of workers in a reply: several in each of the 20,000 pods that a group can have.
pub const MAX_WORKERS: usize = 100_000;

/// Entries of a map, sorted by key, without entries whose key is not a [`Text`]. Decoding fails at the first entry after
/// [`MAX_WORKERS`].
#[derive(Debug)]
pub(crate) struct Entries<V>(pub(crate) Vec<(String, V)>);

/// Items of a list. Decoding fails at the first item after [`MAX_WORKERS`].
#[derive(Debug)]
pub(crate) struct Items<V>(pub(crate) Vec<V>);

fn too_many<E: Error>() -> E {
    E::custom(format_args!(
        "it tells of more than {MAX_WORKERS} workers, which are the most that are taken in: start fewer workers in each pod, or \
         divide the work among several clusters"
    ))
}

struct EntriesVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
    type Value = Entries<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a map of at most {MAX_WORKERS} workers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
        let mut entries = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if entries.len() == MAX_WORKERS {
                return Err(too_many());
            }
            entries.push((key, map.next_value()?));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Ok(Entries(entries))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct ItemsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for ItemsVisitor<V> {
    type Value = Items<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of at most {MAX_WORKERS} workers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Items<V>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == MAX_WORKERS {
                return Err(too_many());
            }
            items.push(item);
        }
        Ok(Items(items))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Items<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;
    use crate::message::{MAX_TEXT, Number, decode};

    /// Returns true if all items were decoded, and false if decoding stopped at the limit.
    fn is_accepted(count: usize, outcome: Result<usize, impl ToString>) -> bool {
        match outcome {
            Ok(taken) => taken == count,
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("more than 100000 workers"), "{error}");
                false
            }
        }
    }

    #[rstest]
    #[case(MAX_WORKERS, true)]
    #[case(MAX_WORKERS + 1, false)]
    fn rejects_more_than_the_maximum_number_of_workers(
        #[case] count: usize,
        #[case] fits: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let map: BTreeMap<String, u8> = (0..count).map(|number| (number.to_string(), 0)).collect();
        let list: Vec<_> = map.keys().collect();
        let entries = decode::<Entries<Number>>(&rmp_serde::to_vec(&map)?);
        assert_eq!(is_accepted(count, entries.map(|entries| entries.0.len())), fits);
        let items = decode::<Items<Text>>(&rmp_serde::to_vec(&list)?);
        assert_eq!(is_accepted(count, items.map(|items| items.0.len())), fits);
        let entries = serde_json::from_str::<Entries<Number>>(&serde_json::to_string(&map)?);
        assert_eq!(is_accepted(count, entries.map(|entries| entries.0.len())), fits);
        let items = serde_json::from_str::<Items<Text>>(&serde_json::to_string(&list)?);
        assert_eq!(is_accepted(count, items.map(|items| items.0.len())), fits);
        Ok(())
    }

    #[test]
    fn entries_are_sorted_and_unique() -> Result<(), Box<dyn std::error::Error>> {
        let entries: Entries<Number> = serde_json::from_str(r#"{"b": 1, "a": 2, "b": 3}"#)?;
        let keys: Vec<_> = entries.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        Ok(())
    }

    /// A worker with an oversized name does not affect the other workers.
    #[rstest]
    #[case(MAX_TEXT, true)]
    #[case(MAX_TEXT + 1, false)]
    fn oversized_texts_are_dropped(
        #[case] length: usize,
        #[case] fits: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let text = "t".repeat(length);
        assert_eq!(
            decode::<Text>(&rmp_serde::to_vec(&text)?)?,
            Text(fits.then(|| text.clone()))
        );
        let Items(texts) = decode::<Items<Text>>(&rmp_serde::to_vec(&[text.as_str(), "u"])?)?;
        assert_eq!(texts[1], Text(Some("u".to_owned())));
        let map = BTreeMap::from([(text.as_str(), 1), ("u", 2)]);
        for entries in [
            decode::<Entries<Number>>(&rmp_serde::to_vec(&map)?)?,
            serde_json::from_str(&serde_json::to_string(&map)?)?,
        ] {
            let keys: Vec<_> = entries.0.iter().map(|(key, _)| key.as_str()).collect();
            let expected = if fits { vec![text.as_str(), "u"] } else { vec!["u"] };
            assert_eq!(keys, expected);
        }
        Ok(())
    }
}
