//! Advice for unknown fields: finds the object in which the field belongs.

use serde_json::{Map, Value};

use super::{Path, names, properties};
use crate::suggest::{MAX_WORD_LENGTH, closest};

/// Maximum number of levels below an object that are searched for a field.
const MAX_DEPTH: usize = 3;

/// Maximum number of candidates that one advice names. A longer list does not help.
const MAX_CANDIDATES: usize = 3;

/// Names that many objects have. For these, a field of a distant object is no candidate, nor is one with another spelling.
const GENERIC: [&str; 10] = [
    "apiVersion",
    "items",
    "key",
    "kind",
    "name",
    "options",
    "path",
    "port",
    "type",
    "value",
];

/// Abbreviations of field names, each with the full name.
const ABBREVIATIONS: [(&str, &str); 1] = [("pvc", "persistentVolumeClaim")];

/// An object of the manifest, with the objects that enclose it.
pub(super) struct Scope<'a> {
    pub(super) path: &'a Path<'a>,
    /// The schemas of its fields.
    pub(super) known: &'a Map<String, Value>,
    /// The fields that the manifest sets.
    pub(super) given: &'a Map<String, Value>,
    /// The object that contains this one; `None` for the outermost one.
    pub(super) enclosing: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Returns true if the object is an item of a list of this name.
    pub(super) fn is_item_of(&self, list: &str) -> bool {
        matches!(self.path, Path::Item(Path::Field(_, name), _) if *name == list)
    }

    fn is_item(&self) -> bool {
        matches!(self.path, Path::Item(..))
    }
}

/// A field that the author of an unknown field may have meant.
struct Candidate {
    path: String,
    /// Number of levels below the object of the unknown field.
    level: usize,
    /// True if the manifest sets the field already.
    is_set: bool,
}

/// An object in which a field is searched.
struct SearchedObject<'a> {
    path: String,
    /// The schemas of its fields.
    known: &'a Map<String, Value>,
    /// The fields that the manifest sets; `None` if the object is not in the manifest.
    given: Option<&'a Map<String, Value>>,
    /// Number of levels below the object at which the search starts.
    level: usize,
}

impl<'a> SearchedObject<'a> {
    /// Returns the object of `scope`, at which a search starts.
    fn of(scope: &Scope<'a>) -> Self {
        Self {
            path: scope.path.to_string(),
            known: scope.known,
            given: Some(scope.given),
            level: 0,
        }
    }

    /// Returns the object one level below with this schema and value; `None` if the schema is not that of an object.
    fn below(&self, path: String, schema: &'a Value, value: Option<&'a Value>) -> Option<Self> {
        Some(Self {
            path,
            known: properties(schema)?,
            given: value.and_then(Value::as_object),
            level: self.level + 1,
        })
    }

    /// Returns the value of a field that the manifest sets.
    fn value(&self, field: &str) -> Option<&'a Value> {
        self.given.and_then(|given| given.get(field))
    }

    /// Returns the field `name` with this schema as an object; `None` if it is not one.
    fn object(&self, name: &str, schema: &'a Value) -> Option<Self> {
        self.below(format!("{}.{name}", self.path), schema, self.value(name))
    }

    /// Returns the first container of a Pod.
    fn first_container(&self, name: &str, schema: &'a Value) -> Option<Self> {
        let value = self.value(name).and_then(|containers| containers.get(0));
        self.below(format!("{}.{name}[0]", self.path), &schema["items"], value)
    }

    /// Returns the fields that are objects, with their names.
    fn objects(&self) -> impl Iterator<Item = (&'a str, Self)> {
        let object =
            |(name, schema): (&'a String, &'a Value)| Some((name.as_str(), self.object(name, schema)?));
        self.known.iter().filter_map(object)
    }

    /// Returns the candidates of this name among the fields that the object can have.
    fn candidates(&self, name: &str) -> Vec<Candidate> {
        let is_meant =
            |field: &&str| *field == name || (!GENERIC.contains(&name) && is_same_name(name, field));
        // A Pod and its containers both have `resources`. Authors seldom mean those of the Pod.
        let is_of_pod = |field: &str| field == "resources" && self.known.contains_key("containers");
        names(self.known)
            .filter(is_meant)
            .filter(|field| !is_of_pod(field))
            .map(|field| Candidate {
                path: format!("{}.{field}", self.path),
                level: self.level,
                is_set: self.value(field).is_some(),
            })
            .collect()
    }

    /// Returns the candidates of this name in the objects below this one, and in the first container of a Pod. Other lists are
    /// not searched.
    fn candidates_below(&self, name: &str) -> Vec<Candidate> {
        let mut found = Vec::new();
        if self.level == MAX_DEPTH {
            return found;
        }
        for (field, schema) in self.known {
            let object = match field.as_str() {
                "containers" => self.first_container(field, schema),
                _ => self.object(field, schema),
            };
            if let Some(object) = object {
                found.extend(object.candidates(name));
                found.extend(object.candidates_below(name));
            }
        }
        found
    }
}

/// Returns the advice for a field that is unknown in `scope`, such as `did you mean …?`; `None` if no field resembles it.
pub(super) fn for_field(name: &str, scope: &Scope<'_>) -> Option<String> {
    if name == "template" {
        if scope.known.contains_key("containers") {
            return Some("write what stands in its `spec` here".to_owned());
        }
        if scope.known.contains_key("spec") {
            return Some("write its `spec` here".to_owned());
        }
    }
    if name == "volumeClaimTemplates" && scope.known.contains_key("volumes") {
        let volumes = format!("{}.volumes", scope.path);
        return Some(format!(
            "a volume has it: write it as `{volumes}[].ephemeral.volumeClaimTemplate`"
        ));
    }
    let other = renamed(name, scope.path, scope.known);
    let is_set = |other: &str| scope.given.contains_key(other);
    if let Some(other) = other.filter(|other| !is_set(other)) {
        return Some(format!("did you mean `{other}`?"));
    }
    let searches = [
        in_resources(name, scope),
        in_given_objects(name, scope),
        without_prefix(name, scope),
        in_enclosing(name, scope),
        nearest(below(name, scope)),
        below_enclosing(name, scope),
    ];
    let has_unset = |candidates: &&Vec<Candidate>| candidates.iter().any(|candidate| !candidate.is_set);
    if let Some(candidates) = searches.iter().find(has_unset) {
        let unset = candidates.iter().filter(|candidate| !candidate.is_set);
        let paths: Vec<String> = unset.map(|candidate| format!("`{}`", candidate.path)).collect();
        return Some(format!("did you mean {}?", paths.join(" or ")));
    }
    let already = |path: &str| format!("did you mean `{path}`, which is there already?");
    if let Some(other) = other {
        return Some(already(other));
    }
    if let Some(candidate) = searches.iter().flatten().next() {
        return Some(already(&candidate.path));
    }
    let unset = names(scope.known).filter(|other| !is_set(other));
    match closest(name, unset) {
        Some(other) => Some(format!("did you mean `{other}`?")),
        None => closest(name, names(scope.known)).map(already),
    }
}

/// Returns the field of the object at `path` that `name` is another name for; `None` if there is none.
pub(super) fn renamed<'a>(name: &str, path: &Path<'_>, known: &'a Map<String, Value>) -> Option<&'a str> {
    let abbreviation = ABBREVIATIONS.iter().find(|(short, _)| *short == name);
    let full = abbreviation.map_or(name, |(_, long)| *long);
    if let Some(other) = names(known).find(|other| is_same_name(full, other)) {
        return Some(other);
    }
    // `name` in place of a field such as `claimName`.
    if name == "name" {
        let mut others = names(known).filter(|other| other.ends_with("Name"));
        return others.next().filter(|_| others.next().is_none());
    }
    let own = match path {
        Path::Field(_, own) | Path::Item(Path::Field(_, own), _) => *own,
        _ => return None,
    };
    // `secretName` in place of the `name` of a `secretRef`.
    if let Some(stem) = name.strip_suffix("Name")
        && own.starts_with(stem)
        && known.contains_key("name")
    {
        return names(known).find(|other| *other == "name");
    }
    // `serviceType` in place of the `type` of a `service`.
    let rest = strip_word(name, own)?;
    names(known).find(|other| is_same_name(&rest, other))
}

/// Returns true if two names are equal apart from case, underscores, dashes and a plural `s`.
fn is_same_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let mut plain: String = name
            .chars()
            .filter(|c| !matches!(c, '_' | '-'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if plain.ends_with('s') {
            plain.pop();
        }
        plain
    };
    one == other || (one.len() <= MAX_WORD_LENGTH && plain(one) == plain(other))
}

/// Returns the part of `name` after the word `first` as a field name, such as `type` for `serviceType`; `None` if `name` does
/// not begin with that word.
fn strip_word(name: &str, first: &str) -> Option<String> {
    let rest = name.strip_prefix(first)?;
    let mut letters = rest.chars();
    let capital = letters.next().filter(char::is_ascii_uppercase)?;
    Some(format!("{}{}", capital.to_ascii_lowercase(), letters.as_str()))
}

/// Returns candidates for a resource such as `cpu` that was written next to `limits` and `requests`.
fn in_resources(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    let is_resource = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.contains('/');
    if !is_resource {
        return Vec::new();
    }
    let maps = ["limits", "requests"].into_iter();
    let maps = maps.filter(|map| scope.known.contains_key(*map));
    let candidate = |map: &str| Candidate {
        path: format!("{}.{map}.{name}", scope.path),
        level: 1,
        is_set: scope.given.get(map).is_some_and(|map| map.get(name).is_some()),
    };
    maps.map(candidate).collect()
}

/// Returns candidates of this name in the objects that the manifest sets in `scope`.
fn in_given_objects(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    let object = SearchedObject::of(scope);
    let given = object.objects().filter(|(_, object)| object.given.is_some());
    limited(given.flat_map(|(_, object)| object.candidates(name)).collect())
}

/// Returns candidates for a name that begins with the name of an object: `service.type` for `serviceType`, and
/// `secret.secretName` for `secretName`.
fn without_prefix(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (part, object) in SearchedObject::of(scope).objects() {
        if let Some(rest) = strip_word(name, part) {
            found.extend(object.candidates(&rest));
            found.extend(object.candidates(name));
        }
    }
    limited(found)
}

/// Returns the field of this name in the nearest enclosing object in which it is not set yet. If it is set in all of them, it
/// returns all of these fields.
fn in_enclosing(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut in_list = scope.is_item();
    let mut enclosing = scope.enclosing;
    while let Some(outer) = enclosing {
        if !(in_list && GENERIC.contains(&name)) {
            let here = SearchedObject::of(outer).candidates(name);
            if here.iter().any(|candidate| !candidate.is_set) {
                return here;
            }
            found.extend(here);
        }
        in_list |= outer.is_item();
        enclosing = outer.enclosing;
    }
    found
}

/// Returns candidates of this name below the nearest enclosing object that has any. The outermost object is left out, because
/// too many fields are below it.
fn below_enclosing(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    if GENERIC.contains(&name) {
        return Vec::new();
    }
    let mut enclosing = scope.enclosing;
    while let Some(outer) = enclosing.filter(|outer| outer.enclosing.is_some()) {
        let found = nearest(below(name, outer));
        if !found.is_empty() {
            return found;
        }
        enclosing = outer.enclosing;
    }
    Vec::new()
}

/// Returns all candidates of this name below an object. For a generic name, it returns those on the first level only.
fn below(name: &str, scope: &Scope<'_>) -> Vec<Candidate> {
    let mut found = SearchedObject::of(scope).candidates_below(name);
    if GENERIC.contains(&name) {
        found.retain(|candidate| candidate.level == 1);
    }
    found
}

/// Returns the candidates on the level nearest to the object; none if there are too many.
fn nearest(mut found: Vec<Candidate>) -> Vec<Candidate> {
    let level = found.iter().map(|candidate| candidate.level).min();
    found.retain(|candidate| Some(candidate.level) == level);
    limited(found)
}

/// Returns the candidates; none if there are too many.
fn limited(found: Vec<Candidate>) -> Vec<Candidate> {
    if found.len() > MAX_CANDIDATES {
        Vec::new()
    } else {
        found
    }
}
