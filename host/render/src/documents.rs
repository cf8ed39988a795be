//! Manifests: files, folders and standard input become objects that know where
//! they came from.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use crate::render::DASK_GROUP;
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
/// input (`-`). Lists are taken apart, empty documents skipped, and a file that several links
/// lead to is read once. Goes on after an error, so that one run names them all.
pub fn read(path: &Path, stdin: &mut dyn Read) -> (Vec<Document>, Vec<DocumentError>) {
    let mut reader = Reader {
        stdin,
        seen: HashSet::new(),
        documents: Vec::new(),
        errors: Vec::new(),
    };
    match reader.collect(path) {
        Ok(0) => reader.errors.push(DocumentError::Empty(path.to_owned())),
        Ok(_) => {}
        Err(error) => reader.errors.push(error),
    }
    (reader.documents, reader.errors)
}

/// What to say of a file in which there is no object.
#[must_use]
pub fn nothing(path: &Path) -> String {
    format!("{}: skipped: there is no object in it", name(path))
}

struct Reader<'a> {
    stdin: &'a mut dyn Read,
    /// Files and folders, wherever the links to them are.
    seen: HashSet<PathBuf>,
    documents: Vec<Document>,
    errors: Vec<DocumentError>,
}

impl Reader<'_> {
    /// Reads a file or folder. Gives how many manifests that are.
    fn collect(&mut self, path: &Path) -> Result<usize, DocumentError> {
        let io = |error| DocumentError::Io {
            path: path.to_owned(),
            error,
        };
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            self.stdin.read_to_end(&mut bytes).map_err(io)?;
            return self.parse(path, bytes);
        }
        // What is not there is said by whoever reads it.
        if let Ok(real) = path.canonicalize()
            && !self.seen.insert(real)
        {
            return Ok(usize::from(!path.is_dir()));
        }
        if !path.is_dir() {
            return self.parse(path, fs::read(path).map_err(io)?);
        }
        let mut entries = fs::read_dir(path)
            .map_err(io)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(io)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        // A mounted ConfigMap keeps its files in a folder whose name begins with two dots, and has links to them.
        entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".."));
        let mut manifests = 0;
        for entry in entries.iter().map(fs::DirEntry::path) {
            let manifest = entry
                .extension()
                .is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known));
            if manifest || entry.is_dir() {
                manifests += self.collect(&entry).unwrap_or_else(|error| {
                    self.errors.push(error);
                    1
                });
            }
        }
        Ok(manifests)
    }

    fn parse(&mut self, path: &Path, bytes: Vec<u8>) -> Result<usize, DocumentError> {
        let wrong = |message: String| DocumentError::Syntax {
            path: path.to_owned(),
            message,
        };
        let text = text(bytes).map_err(wrong)?;
        // JSON is YAML, but its own parser is faster and says better what is wrong.
        let json = text.trim_start().starts_with('{').then(|| yaml::json(&text));
        let is_json = path.extension().is_some_and(|end| end == "json");
        let documents = match json {
            Some(Ok(documents)) => documents,
            Some(Err(error)) if is_json => return Err(wrong(error.to_string())),
            _ => yaml::documents(&text).map_err(|error| wrong(error.to_string()))?,
        };
        let several = documents.len() > 1;
        for (i, object) in documents.into_iter().enumerate() {
            let source = Source {
                file: path.to_owned(),
                document: several.then_some(i + 1),
            };
            self.objects(&source, object);
        }
        Ok(1)
    }

    fn objects(&mut self, source: &Source, object: Value) {
        let what = match object {
            Value::Null => return,
            Value::Object(mut map) => {
                match listed(&mut map) {
                    Some(items) => items.into_iter().for_each(|item| self.objects(source, item)),
                    None => self.documents.push(Document {
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
        self.errors.push(DocumentError::NoObject(source.clone(), what));
    }
}

/// A file's text, without the mark that says that it is UTF-8.
fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16, as PowerShell writes it: save it as UTF-8".to_owned());
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line}: this is no UTF-8 text: save the file as UTF-8")
    })?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// The items of a list: of a `List`, or of one of a Dask resource, such as `DaskClusterList`. Those of the latter may
/// leave out what they are, as for kubectl.
fn listed(map: &mut Map<String, Value>) -> Option<Vec<Value>> {
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion").to_owned();
    let of = text("kind").strip_suffix("List")?.to_owned();
    if !of.is_empty() && !api_version.starts_with(DASK_GROUP) {
        return None;
    }
    let mut items = std::mem::take(map.get_mut("items")?.as_array_mut()?);
    if !of.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.entry("apiVersion")
                .or_insert_with(|| api_version.clone().into());
            item.entry("kind").or_insert_with(|| of.clone().into());
        }
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn from(text: &str) -> (Vec<Document>, Vec<DocumentError>) {
        read(Path::new("-"), &mut text.as_bytes())
    }

    #[rstest]
    #[case::one("kind: A", &["standard input"])]
    #[case::two("kind: A\n---\nkind: B", &["standard input, document 1", "standard input, document 2"])]
    #[case::empty_ones("---\nkind: A\n---\n", &["standard input"])]
    #[case::list("kind: List\nitems:\n- kind: A\n- kind: B", &["standard input", "standard input"])]
    #[case::json("{\"kind\": \"A\"}", &["standard input"])]
    #[case::two_of_json("{\"kind\": \"A\"}\n{\"kind\": \"B\"}", &["standard input, document 1", "standard input, document 2"])]
    #[case::of_yaml_like_json("{kind: A}", &["standard input"])]
    #[case::with_a_mark("\u{feff}{\"kind\": \"A\"}", &["standard input"])]
    #[case::comments("# nothing\n---\n", &[])]
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
    #[case::twice(
        "kind: A\nkind: B",
        "line 2, column 1: the key `kind` stands here twice: remove one of them"
    )]
    fn errors_say_where_and_what(#[case] text: &str, #[case] expected: &str) {
        let (_, errors) = from(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors.iter().all(|error| error.to_string().contains(expected)),
            "{errors:?}"
        );
    }

    #[rstest]
    #[case::of_ours("kubernetes.dask.org/v1", "DaskJobList", json!([
        {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob"}, {"apiVersion": "v1", "kind": "Pod"}]))]
    #[case::of_others("v1", "ConfigMapList", json!([{
        "apiVersion": "v1", "kind": "ConfigMapList", "items": [{}, {"apiVersion": "v1", "kind": "Pod"}]}]))]
    fn lists_of_our_kinds(#[case] api_version: &str, #[case] kind: &str, #[case] expected: Value) {
        let items = json!([{}, {"apiVersion": "v1", "kind": "Pod"}]);
        let (documents, errors) =
            from(&json!({"apiVersion": api_version, "kind": kind, "items": items}).to_string());
        assert!(errors.is_empty(), "{errors:?}");
        let objects: Vec<_> = documents.into_iter().map(|document| document.object).collect();
        assert_eq!(Value::from(objects), expected);
    }

    #[rstest]
    #[case::utf_16(&[0xff, 0xfe, b'a', 0], "standard input: it is UTF-16")]
    #[case::utf_16_backwards(&[0xfe, 0xff, 0, b'a'], "standard input: it is UTF-16")]
    #[case::latin_1(b"a: b\nc: gr\xfc", "standard input: line 2: this is no UTF-8 text")]
    fn other_encodings(#[case] bytes: &[u8], #[case] expected: &str) {
        let (_, errors) = read(Path::new("-"), &mut &*bytes);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?}");
    }

    #[cfg(unix)]
    #[test]
    fn what_several_links_lead_to_is_read_once() -> io::Result<()> {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        // As a ConfigMap is mounted, and a folder that is in itself.
        fs::create_dir(at("..2026_01_01"))?;
        fs::write(at("..2026_01_01/c.yaml"), "kind: C")?;
        symlink("..2026_01_01", at("..data"))?;
        symlink("..data/c.yaml", at("c.yaml"))?;
        symlink(".", at("again"))?;
        symlink(".", at("and-again"))?;
        symlink("c.yaml", at("d.yaml"))?;
        let (documents, errors) = read(folder.path(), &mut io::empty());
        assert!(errors.is_empty(), "{errors:?}");
        let files: Vec<_> = documents
            .iter()
            .map(|document| document.source.file.clone())
            .collect();
        assert_eq!(files, [at("c.yaml")]);
        Ok(())
    }

    #[test]
    fn a_folder_of_empty_manifests_has_some() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (_, errors) = read(folder.path(), &mut io::empty());
        assert!(
            matches!(errors.as_slice(), [DocumentError::Empty(_)]),
            "{errors:?}"
        );
        fs::write(folder.path().join("a.yaml"), "# nothing")?;
        let (documents, errors) = read(folder.path(), &mut io::empty());
        assert!(documents.is_empty() && errors.is_empty(), "{errors:?}");
        Ok(())
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
