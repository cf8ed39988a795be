//! Advice for misspelled words.

/// Minimum similarity, from 0 to 1, at which one word counts as a misspelling of the other.
const MIN_SIMILARITY: f64 = 0.6;

/// Maximum length of a word that is compared with field names, in bytes. Longer words resemble no field and take long to
/// compare.
pub(crate) const MAX_WORD_LENGTH: usize = 100;

/// Returns the known word that `word` is most likely a misspelling of; `None` if no word is similar enough.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD_LENGTH {
        return None;
    }
    let similarity = |other: &str| {
        strsim::normalized_damerau_levenshtein(&word.to_ascii_lowercase(), &other.to_ascii_lowercase())
    };
    let known = known.into_iter().map(|other| (similarity(other), other));
    let similar = known.filter(|(similarity, _)| *similarity >= MIN_SIMILARITY);
    similar
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| other)
}

/// Returns the advice for an unknown word: the most similar known word, or the list of all known words.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.into_iter().collect();
    match closest(word, known.iter().copied()) {
        Some(other) => format!("did you mean `{other}`?"),
        None => format!("there are {}", known.join(", ")),
    }
}
