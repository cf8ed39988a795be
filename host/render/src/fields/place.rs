//! Where a field belongs that its object does not have.

use serde_json::{Map, Value};

use super::{LONGEST, Path, alike, names, properties};

/// How many levels below an object a field is looked for.
const DEPTH: usize = 3;

/// How many places are named for one field. More of them say nothing.
const PLACES: usize = 3;

/// Names that so many objects have that one far away is no place for a field, nor is one that is spelt in another way.
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

/// Names that people give fields, and what these are called.
const SHORT: [(&str, &str); 1] = [("pvc", "persistentVolumeClaim")];

/// An object on the way down, and those that it is in.
pub(super) struct Scope<'a> {
    pub(super) path: &'a Path<'a>,
    /// The schemas of its fields.
    pub(super) known: &'a Map<String, Value>,
    /// What stands in it.
    pub(super) given: &'a Map<String, Value>,
    pub(super) around: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// Whether the object is an item of a list of this name.
    pub(super) fn is_item_of(&self, list: &str) -> bool {
        matches!(self.path, Path::Item(Path::Field(_, name), _) if *name == list)
    }

    fn is_item(&self) -> bool {
        matches!(self.path, Path::Item(..))
    }
}

/// A place for a field.
struct Found {
    path: String,
    /// How many levels below the object it is.
    level: usize,
    /// Whether something stands there already.
    is_taken: bool,
}

/// Returns what to do about a field that is unknown in `scope`, as `did you mean …?`; none where nothing is like it.
pub(super) fn advice(name: &str, scope: &Scope<'_>) -> Option<String> {
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
    let is_taken = |other: &str| scope.given.contains_key(other);
    if let Some(other) = other.filter(|other| !is_taken(other)) {
        return Some(format!("did you mean `{other}`?"));
    }
    let places = [
        of_resources(name, scope),
        within(name, scope),
        joined(name, scope),
        further_up(name, scope),
        nearest(below(name, scope)),
        beside(name, scope),
    ];
    let is_free = |places: &&Vec<Found>| places.iter().any(|place| !place.is_taken);
    if let Some(places) = places.iter().find(is_free) {
        let places = places.iter().filter(|place| !place.is_taken);
        let places: Vec<String> = places.map(|place| format!("`{}`", place.path)).collect();
        return Some(format!("did you mean {}?", places.join(" or ")));
    }
    let already = |place: &str| format!("did you mean `{place}`, which is there already?");
    if let Some(other) = other {
        return Some(already(other));
    }
    if let Some(place) = places.iter().flatten().next() {
        return Some(already(&place.path));
    }
    let free = names(scope.known).filter(|other| !is_taken(other));
    match alike(name, free) {
        Some(other) => Some(format!("did you mean `{other}`?")),
        None => alike(name, names(scope.known)).map(already),
    }
}

/// Returns the field of an object at `path` that `name` is another name of.
pub(super) fn renamed<'a>(name: &str, path: &Path<'_>, known: &'a Map<String, Value>) -> Option<&'a str> {
    let short = SHORT.iter().find(|(short, _)| *short == name);
    let spelt = short.map_or(name, |(_, long)| *long);
    if let Some(other) = names(known).find(|other| same(spelt, other)) {
        return Some(other);
    }
    // `name` where it is called `claimName`, and the other way round.
    if name == "name" {
        let mut others = names(known).filter(|other| other.ends_with("Name"));
        return others.next().filter(|_| others.next().is_none());
    }
    let own = match path {
        Path::Field(_, own) | Path::Item(Path::Field(_, own), _) => *own,
        _ => return None,
    };
    // `secretName` in a `secretRef`.
    if let Some(stem) = name.strip_suffix("Name")
        && own.starts_with(stem)
        && known.contains_key("name")
    {
        return names(known).find(|other| *other == "name");
    }
    // `serviceType` in a `service`.
    let rest = rest(name, own)?;
    names(known).find(|other| same(&rest, other))
}

/// Whether two names are one, but for case, underscores and a plural.
fn same(one: &str, other: &str) -> bool {
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
    one == other || (one.len() <= LONGEST && plain(one) == plain(other))
}

/// What `name` says after the word `first`, as a name of its own: `type` of `serviceType`.
fn rest(name: &str, first: &str) -> Option<String> {
    let rest = name.strip_prefix(first)?;
    let mut letters = rest.chars();
    let capital = letters.next().filter(char::is_ascii_uppercase)?;
    Some(format!("{}{}", capital.to_ascii_lowercase(), letters.as_str()))
}

/// Kinds of resources beside the maps that they stand in.
fn of_resources(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    let is_kind = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.contains('/');
    if !is_kind {
        return Vec::new();
    }
    let maps = ["limits", "requests"].into_iter();
    let maps = maps.filter(|map| scope.known.contains_key(*map));
    let found = |map: &str| Found {
        path: format!("{}.{map}.{name}", scope.path),
        level: 1,
        is_taken: scope.given.get(map).is_some_and(|map| map.get(name).is_some()),
    };
    maps.map(found).collect()
}

/// A field of an object that is given beside it.
fn within(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (part, schema) in scope.known {
        if let (Some(known), Some(Value::Object(given))) = (properties(schema), scope.given.get(part)) {
            let path = format!("{}.{part}", scope.path);
            fields(name, known, Some(given), &path, 1, &mut found);
        }
    }
    limited(found)
}

/// A name that begins with the one of an object: `service.type` for `serviceType`, `secret.secretName` for `secretName`.
fn joined(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (part, schema) in scope.known {
        let (Some(rest), Some(known)) = (rest(name, part), properties(schema)) else {
            continue;
        };
        let given = scope.given.get(part).and_then(Value::as_object);
        let path = format!("{}.{part}", scope.path);
        fields(&rest, known, given, &path, 1, &mut found);
        fields(name, known, given, &path, 1, &mut found);
    }
    limited(found)
}

/// The field of this name in the nearest object around this one that does not have it yet.
fn further_up(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut in_list = scope.is_item();
    let mut around = scope.around;
    while let Some(outer) = around {
        if !(in_list && GENERIC.contains(&name)) {
            let path = outer.path.to_string();
            let mut here = Vec::new();
            fields(name, outer.known, Some(outer.given), &path, 0, &mut here);
            if here.iter().any(|place| !place.is_taken) {
                return here;
            }
            found.extend(here);
        }
        in_list |= outer.is_item();
        around = outer.around;
    }
    found
}

/// The field of this name below the nearest object around this one. What is the whole resource's has too much below it.
fn beside(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    if GENERIC.contains(&name) {
        return Vec::new();
    }
    let mut around = scope.around;
    while let Some(outer) = around.filter(|outer| outer.around.is_some()) {
        let found = nearest(below(name, outer));
        if !found.is_empty() {
            return found;
        }
        around = outer.around;
    }
    Vec::new()
}

/// All fields of this name below an object; those directly below it where many have such a field.
fn below(name: &str, scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    descend(
        name,
        scope.known,
        Some(scope.given),
        &scope.path.to_string(),
        1,
        &mut found,
    );
    if GENERIC.contains(&name) {
        found.retain(|place| place.level == 1);
    }
    found
}

/// Looks into the objects that an object can have, and into the first of a pod's containers, but into no other list.
fn descend(
    name: &str,
    known: &Map<String, Value>,
    given: Option<&Map<String, Value>>,
    path: &str,
    level: usize,
    found: &mut Vec<Found>,
) {
    if level > DEPTH {
        return;
    }
    for (part, schema) in known {
        let value = given.and_then(|given| given.get(part));
        let (schema, value, path) = match part.as_str() {
            "containers" => (
                &schema["items"],
                value.and_then(|containers| containers.get(0)),
                format!("{path}.{part}[0]"),
            ),
            _ => (schema, value, format!("{path}.{part}")),
        };
        if let Some(known) = properties(schema) {
            let given = value.and_then(Value::as_object);
            fields(name, known, given, &path, level, found);
            descend(name, known, given, &path, level + 1, found);
        }
    }
}

/// Adds the fields of this name that an object has.
fn fields(
    name: &str,
    known: &Map<String, Value>,
    given: Option<&Map<String, Value>>,
    path: &str,
    level: usize,
    found: &mut Vec<Found>,
) {
    let is_meant = |field: &&str| *field == name || (!GENERIC.contains(&name) && same(name, field));
    for field in names(known).filter(is_meant) {
        // Those of the pod are seldom meant where a container has them, too.
        if field == "resources" && known.contains_key("containers") {
            continue;
        }
        found.push(Found {
            path: format!("{path}.{field}"),
            level,
            is_taken: given.is_some_and(|given| given.contains_key(field)),
        });
    }
}

/// Those of the places that are nearest; none where there are too many to choose from.
fn nearest(mut found: Vec<Found>) -> Vec<Found> {
    let level = found.iter().map(|place| place.level).min();
    found.retain(|place| Some(place.level) == level);
    limited(found)
}

/// The places; none where there are too many to choose from.
fn limited(found: Vec<Found>) -> Vec<Found> {
    if found.len() > PLACES { Vec::new() } else { found }
}
