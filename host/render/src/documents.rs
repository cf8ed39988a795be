//! Reading of manifests from files, folders and standard input. Each object is returned with its source.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use thiserror::Error;

use dask_operator_yaml as yaml;

/// API group of the Dask resources, with the slash that separates it from the version.
pub(crate) const DASK_GROUP: &str = "kubernetes.dask.org/";

/// An object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The source of the object.
    pub source: DocumentSource,
    /// The object.
    pub object: Value,
}

/// The file and document that contain an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSource {
    /// The file; `-` for standard input.
    pub file: PathBuf,
    /// The number of the document in the file, from 1; `None` if the file has a single document.
    pub document: Option<usize>,
}

impl fmt::Display for DocumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_name(&self.file))?;
        match self.document {
            Some(number) => write!(f, ", document {number}"),
            None => Ok(()),
        }
    }
}

/// Error of reading a manifest.
#[derive(Debug, Error)]
pub enum DocumentError {
    /// A file or folder can't be read.
    #[error("{}: {error}", display_name(path))]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
    /// A file contains invalid YAML or JSON.
    #[error("{}: {message}", display_name(path))]
    Syntax {
        /// The path of the file.
        path: PathBuf,
        /// The syntax error, with line and column.
        message: String,
    },
    /// A folder contains no manifests.
    #[error("{}: there is no *.yaml, *.yml or *.json in this folder", .0.display())]
    Empty(PathBuf),
    /// A document is not an object.
    #[error("{0}: a manifest is an object with apiVersion, kind and metadata; this is {1}")]
    NoObject(DocumentSource, &'static str),
}

/// Returns the name of a file for messages.
fn display_name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads all objects of a file, of a folder and its subfolders, or of standard input (`-`).
///
/// Lists are split into their items and empty documents are skipped. A file that several links point to is read once.
/// Reading continues after an error, so that one run reports all errors.
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

/// Returns the message for a file that contains no object.
#[must_use]
pub fn nothing(path: &Path) -> String {
    format!("{}: skipped: there is no object in it", display_name(path))
}

/// State of one call of [`read`].
struct Reader<'a> {
    stdin: &'a mut dyn Read,
    /// Canonical paths of the files and folders that have been read.
    seen: HashSet<PathBuf>,
    documents: Vec<Document>,
    errors: Vec<DocumentError>,
}

impl Reader<'_> {
    /// Reads a file or folder. Returns the number of manifests in it.
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
        // If the path does not exist, reading it below fails with a message.
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
        // A mounted ConfigMap stores its files in a folder whose name begins with two dots, and contains links to them.
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

    /// Parses the content of a file and adds its objects. Returns the number of manifests, which is 1.
    fn parse(&mut self, path: &Path, bytes: Vec<u8>) -> Result<usize, DocumentError> {
        let invalid = |message: String| DocumentError::Syntax {
            path: path.to_owned(),
            message,
        };
        let text = decode(bytes).map_err(invalid)?;
        // JSON is YAML, but the JSON parser is faster and has better error messages.
        let json = text.trim_start().starts_with('{').then(|| yaml::json(&text));
        let is_json = path.extension().is_some_and(|end| end == "json");
        let documents = match json {
            Some(Ok(documents)) => documents,
            Some(Err(error)) if is_json => return Err(invalid(error.to_string())),
            _ => yaml::documents(&text).map_err(|error| invalid(error.to_string()))?,
        };
        let several = documents.len() > 1;
        for (i, object) in documents.into_iter().enumerate() {
            let source = DocumentSource {
                file: path.to_owned(),
                document: several.then_some(i + 1),
            };
            self.add(&source, object);
        }
        Ok(1)
    }

    /// Adds an object, or the items of a list.
    fn add(&mut self, source: &DocumentSource, object: Value) {
        let found = match object {
            Value::Null => return,
            Value::Object(mut map) => {
                match list_items(&mut map) {
                    Some(items) => items.into_iter().for_each(|item| self.add(source, item)),
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
        self.errors.push(DocumentError::NoObject(source.clone(), found));
    }
}

/// Decodes the content of a file as UTF-8 and removes the byte order mark.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
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

/// Returns the items of a `List` or of a list of a Dask kind, such as `DaskClusterList`; `None` for other objects. Items of the
/// latter may leave out `apiVersion` and `kind`, as with kubectl.
fn list_items(map: &mut Map<String, Value>) -> Option<Vec<Value>> {
    let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
    let api_version = text("apiVersion").to_owned();
    let item_kind = text("kind").strip_suffix("List")?.to_owned();
    if !item_kind.is_empty() && !api_version.starts_with(DASK_GROUP) {
        return None;
    }
    let mut items = std::mem::take(map.get_mut("items")?.as_array_mut()?);
    if !item_kind.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.entry("apiVersion")
                .or_insert_with(|| api_version.clone().into());
            item.entry("kind").or_insert_with(|| item_kind.clone().into());
        }
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> (Vec<Document>, Vec<DocumentError>) {
        read(Path::new("-"), &mut text.as_bytes())
    }

    #[rstest]
    #[case::one("kind: A", &["standard input"])]
    #[case::two("kind: A\n---\nkind: B", &["standard input, document 1", "standard input, document 2"])]
    #[case::empty_ones("---\nkind: A\n---\n", &["standard input"])]
    #[case::list("kind: List\nitems:\n- kind: A\n- kind: B", &["standard input", "standard input"])]
    #[case::json("{\"kind\": \"A\"}", &["standard input"])]
    #[case::two_json_documents("{\"kind\": \"A\"}\n{\"kind\": \"B\"}", &["standard input, document 1", "standard input, document 2"])]
    #[case::yaml_like_json("{kind: A}", &["standard input"])]
    #[case::byte_order_mark("\u{feff}{\"kind\": \"A\"}", &["standard input"])]
    #[case::comments("# nothing\n---\n", &[])]
    fn objects_have_the_source_that_they_come_from(#[case] text: &str, #[case] expected: &[&str]) {
        let (documents, errors) = read_text(text);
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
    #[case::duplicate_key(
        "kind: A\nkind: B",
        "line 2, column 1: the key `kind` stands here twice: remove one of them"
    )]
    fn errors_contain_the_line_and_the_problem(#[case] text: &str, #[case] expected: &str) {
        let (_, errors) = read_text(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors.iter().all(|error| error.to_string().contains(expected)),
            "{errors:?}"
        );
    }

    #[rstest]
    #[case::dask_kind("kubernetes.dask.org/v1", "DaskJobList", json!([
        {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob"}, {"apiVersion": "v1", "kind": "Pod"}]))]
    #[case::other_kind("v1", "ConfigMapList", json!([{
        "apiVersion": "v1", "kind": "ConfigMapList", "items": [{}, {"apiVersion": "v1", "kind": "Pod"}]}]))]
    fn lists_of_dask_kinds_are_split(#[case] api_version: &str, #[case] kind: &str, #[case] expected: Value) {
        let items = json!([{}, {"apiVersion": "v1", "kind": "Pod"}]);
        let (documents, errors) =
            read_text(&json!({"apiVersion": api_version, "kind": kind, "items": items}).to_string());
        assert!(errors.is_empty(), "{errors:?}");
        let objects: Vec<_> = documents.into_iter().map(|document| document.object).collect();
        assert_eq!(Value::from(objects), expected);
    }

    #[rstest]
    #[case::utf_16(&[0xff, 0xfe, b'a', 0], "standard input: it is UTF-16")]
    #[case::utf_16_big_endian(&[0xfe, 0xff, 0, b'a'], "standard input: it is UTF-16")]
    #[case::latin_1(b"a: b\nc: gr\xfc", "standard input: line 2: this is no UTF-8 text")]
    fn rejects_other_encodings(#[case] bytes: &[u8], #[case] expected: &str) {
        let (_, errors) = read(Path::new("-"), &mut &*bytes);
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            messages.len() == 1 && messages[0].starts_with(expected),
            "{messages:?}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_several_links_is_read_once() -> io::Result<()> {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        // The layout of a mounted ConfigMap, and a folder that contains links to itself.
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
    fn a_folder_with_an_empty_manifest_is_no_error() -> io::Result<()> {
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
    fn folders_are_read_in_order_and_reading_continues_after_an_error() -> io::Result<()> {
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
    fn an_error_names_the_missing_file() {
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
