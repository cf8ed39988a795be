//! Manifests: files, folders and standard input become objects that know where
//! they came from.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::yaml;

/// An object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Where it stands.
    pub source: Source,
    /// The object.
    pub object: Value,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file; `-` for standard input.
    pub file: PathBuf,
    /// Which of the file's documents, from 1; none where there is one only.
    pub document: Option<usize>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.file))?;
        match self.document {
            Some(number) => write!(f, ", document {number}"),
            None => Ok(()),
        }
    }
}

/// Why a manifest can't be read.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// The file or folder.
    #[error("{}: {error}", name(path))]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// What is in it.
    #[error("{}: {message}", name(path))]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A folder without manifests.
    #[error("{}: there is no *.yaml, *.yml or *.json in this folder", .0.display())]
    Empty(PathBuf),
    /// A document that is no object.
    #[error("{0}: a manifest is an object with apiVersion, kind and metadata; this is {1}")]
    NoObject(Source, &'static str),
}

/// What a file is called in messages.
fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads all objects of a file, of a folder and those below it, or of standard
/// input (`-`). Lists (`kind: List`) are taken apart, empty documents skipped.
/// Goes on after an error, so that one run names them all.
pub fn read(path: &Path, stdin: &mut dyn Read) -> (Vec<Document>, Vec<DocumentError>) {
    let mut found = (Vec::new(), Vec::new());
    if let Err(error) = collect(path, stdin, &mut found) {
        found.1.push(error);
    }
    found
}

type Found = (Vec<Document>, Vec<DocumentError>);

fn collect(path: &Path, stdin: &mut dyn Read, found: &mut Found) -> Result<(), DocumentError> {
    let io = |error| DocumentError::Io {
        path: path.to_owned(),
        error,
    };
    if path == Path::new("-") {
        let mut text = String::new();
        stdin.read_to_string(&mut text).map_err(io)?;
        return parse(path, &text, found);
    }
    if !path.is_dir() {
        return parse(path, &fs::read_to_string(path).map_err(io)?, found);
    }
    let mut entries = fs::read_dir(path)
        .map_err(io)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(io)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let before = found.0.len() + found.1.len();
    for entry in entries.iter().map(fs::DirEntry::path) {
        let manifest = entry
            .extension()
            .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
        if manifest || entry.is_dir() {
            match collect(&entry, stdin, found) {
                // A folder further down may well hold something else.
                Ok(()) | Err(DocumentError::Empty(_)) => {}
                Err(error) => found.1.push(error),
            }
        }
    }
    if found.0.len() + found.1.len() == before {
        Err(DocumentError::Empty(path.to_owned()))
    } else {
        Ok(())
    }
}

fn parse(path: &Path, text: &str, found: &mut Found) -> Result<(), DocumentError> {
    // JSON is YAML, but its own parser is faster and says better what is wrong.
    let documents: Vec<Value> = if path.extension().is_some_and(|end| end == "json") {
        let parsed = serde_json::from_str(text).map(|object| vec![object]);
        parsed.map_err(|error| DocumentError::Syntax {
            path: path.to_owned(),
            message: error.to_string(),
        })?
    } else {
        yaml::documents(text).map_err(|error| syntax(path, &error))?
    };
    let several = documents.len() > 1;
    for (i, object) in documents.into_iter().enumerate() {
        let source = Source {
            file: path.to_owned(),
            document: several.then_some(i + 1),
        };
        objects(&source, object, found);
    }
    Ok(())
}

/// The error in a sentence: the library's own message spans lines and shows the text.
fn syntax(path: &Path, error: &serde_saphyr::Error) -> DocumentError {
    let message = error.to_string();
    let first = message
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    let message = match error.location() {
        Some(place) if !first.contains("line ") => {
            format!("line {}, column {}: {first}", place.line(), place.column())
        }
        _ => first,
    };
    DocumentError::Syntax {
        path: path.to_owned(),
        message,
    }
}

fn objects(source: &Source, object: Value, found: &mut Found) {
    let what = match object {
        Value::Null => return,
        Value::Object(mut map) => {
            let is_list = map.get("kind").is_some_and(|kind| kind == "List");
            match map.get_mut("items") {
                Some(Value::Array(items)) if is_list => {
                    std::mem::take(items)
                        .into_iter()
                        .for_each(|item| objects(source, item, found));
                }
                _ => found.0.push(Document {
                    source: source.clone(),
                    object: Value::Object(map),
                }),
            }
            return;
        }
        Value::Array(_) => "a list: write `kind: List` with `items`, or documents separated by `---`",
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
    };
    found.1.push(DocumentError::NoObject(source.clone(), what));
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn from(text: &str) -> Found {
        read(Path::new("-"), &mut text.as_bytes())
    }

    #[rstest]
    #[case::one("kind: A", &["standard input"])]
    #[case::two("kind: A\n---\nkind: B", &["standard input, document 1", "standard input, document 2"])]
    #[case::empty_ones("---\nkind: A\n---\n", &["standard input"])]
    #[case::list("kind: List\nitems:\n- kind: A\n- kind: B", &["standard input", "standard input"])]
    #[case::json("{\"kind\": \"A\"}", &["standard input"])]
    fn objects_know_where_they_came_from(#[case] text: &str, #[case] expected: &[&str]) {
        let (documents, errors) = from(text);
        assert!(errors.is_empty(), "{errors:?}");
        let sources: Vec<_> = documents
            .iter()
            .map(|document| document.source.to_string())
            .collect();
        assert_eq!(sources.len(), expected.len());
        for (source, expected) in sources.iter().zip(expected) {
            assert!(source.starts_with(expected), "{source} is not {expected}");
        }
    }

    #[rstest]
    #[case::syntax("kind: A\n  b: c", "line 2")]
    #[case::text("just words", "this is a text")]
    #[case::list("- kind: A", "`kind: List`")]
    fn errors_say_where_and_what(#[case] text: &str, #[case] expected: &str) {
        let (_, errors) = from(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors.iter().all(|error| error.to_string().contains(expected)),
            "{errors:?}"
        );
    }

    #[test]
    fn folders_are_read_in_order_and_errors_do_not_stop_it() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        fs::create_dir(folder.path().join("sub"))?;
        for (name, text) in [
            ("b.yaml", "kind: B"),
            ("a.json", "{"),
            ("sub/c.yml", "kind: C"),
            ("d.txt", "{"),
        ] {
            fs::write(folder.path().join(name), text)?;
        }
        let (documents, errors) = read(folder.path(), &mut io::empty());
        let kinds: Vec<_> = documents
            .iter()
            .map(|document| document.object["kind"].clone())
            .collect();
        assert_eq!(kinds, ["B", "C"]);
        assert_eq!(errors.len(), 1);
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (_, errors) = read(Path::new("no/such/file.yaml"), &mut io::empty());
        assert!(
            errors
                .iter()
                .all(|error| error.to_string().starts_with("no/such/file.yaml: ")),
            "{errors:?}"
        );
        assert_eq!(errors.len(), 1);
    }
}
