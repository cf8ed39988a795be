//! Command lines of containers. Pure.

use serde_json::Value;

/// An element of a container's `command` or `args`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument<'a> {
    /// The list that contains it: `command` or `args`.
    pub list: &'static str,
    /// Index in that list.
    pub at: usize,
    /// Value of the element.
    pub text: &'a str,
}

impl Argument<'_> {
    /// Returns the field of the element, below the field `path` of the container.
    pub fn field(&self, path: &str) -> String {
        format!("{path}.{}[{}]", self.list, self.at)
    }
}

/// Returns the elements of a container's command and arguments.
pub fn arguments(container: &Value) -> Vec<Argument<'_>> {
    let of_list = |list: &'static str| {
        let elements = container[list].as_array().into_iter().flatten().enumerate();
        elements.filter_map(move |(at, element)| {
            let text = element.as_str()?;
            Some(Argument { list, at, text })
        })
    };
    ["command", "args"].into_iter().flat_map(of_list).collect()
}

/// Programs of Dask, as executables or as Python modules.
const PROGRAMS: [&str; 6] = [
    "dask",
    "dask-worker",
    "dask-cuda-worker",
    "dask-scheduler",
    "distributed.cli.dask_worker",
    "distributed.cli.dask_scheduler",
];

/// Returns the arguments of one of Dask's programs if the container starts it directly, without a shell or another program.
/// The first argument is the name of the program.
pub fn of_dask<'a, 'b>(arguments: &'b [Argument<'a>]) -> Option<&'b [Argument<'a>]> {
    let own = match arguments {
        [python, option, rest @ ..] if base(python.text).starts_with("python") && option.text == "-m" => rest,
        all => all,
    };
    is_of_dask(own.first()?.text).then_some(own)
}

/// Returns whether a program, given by name or by path, is one of Dask's.
pub fn is_of_dask(program: &str) -> bool {
    PROGRAMS.contains(&base(program))
}

/// Returns the last component of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns all words of a container's command and arguments. If one of Dask's programs is started directly, each element is
/// a word. Otherwise an element may be a shell script and is split at white space.
pub fn words(container: &Value) -> impl Iterator<Item = &str> {
    let arguments = arguments(container);
    let are_words = of_dask(&arguments).is_some();
    arguments.into_iter().flat_map(move |argument| match are_words {
        true => vec![argument.text],
        false => argument.text.split_whitespace().collect(),
    })
}

/// Returns the value of an option in the form `--name value` or `--name=value`. If there are several, the last one counts,
/// as in Dask.
pub fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    option_at(words, name).map(|(_, value)| value)
}

/// Returns the value of an option as [`option`] does, with the index of the word that contains it.
pub fn option_at<'a>(words: &[&'a str], name: &str) -> Option<(usize, &'a str)> {
    words
        .iter()
        .enumerate()
        .rev()
        .find_map(|(at, word)| match word.strip_prefix(name)? {
            "" => words.get(at + 1).map(|value| (at + 1, *value)),
            rest => rest.strip_prefix('=').map(|value| (at, value)),
        })
}

/// Formats a command line as the list in a manifest: `["dask", "worker"]`.
pub fn as_list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| Value::from(word).to_string())
        .collect();
    format!("[{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn splits_only_possible_scripts() {
        for (container, expected) in [
            (
                json!({"args": ["dask", "worker", "--name", "a b"]}),
                vec!["dask", "worker", "--name", "a b"],
            ),
            (
                json!({"command": ["/opt/bin/dask"], "args": ["scheduler", "--port 1"]}),
                vec!["/opt/bin/dask", "scheduler", "--port 1"],
            ),
            (
                json!({"args": ["python3.12", "-m", "distributed.cli.dask_worker", "a b"]}),
                vec!["python3.12", "-m", "distributed.cli.dask_worker", "a b"],
            ),
            (
                json!({"command": ["sh", "-c"], "args": ["exec dask worker"]}),
                vec!["sh", "-c", "exec", "dask", "worker"],
            ),
            (json!({"args": ["dask worker", "x"]}), vec!["dask", "worker", "x"]),
            (json!({"args": "dask worker"}), vec![]),
            (json!({}), vec![]),
        ] {
            let found: Vec<&str> = words(&container).collect();
            assert_eq!(found, expected, "{container}");
        }
    }

    #[test]
    fn the_last_of_several_options_counts() {
        let words = ["--port", "1", "--port=2", "--ports", "3"];
        assert_eq!(option(&words, "--port"), Some("2"));
        assert_eq!(option_at(&words, "--ports"), Some((4, "3")));
        assert_eq!(option(&words, "--host"), None);
        assert_eq!(option(&["--port"], "--port"), None);
    }

    #[test]
    fn elements_have_a_field() {
        let container = json!({"command": ["dask", 1], "args": ["worker"]});
        let fields: Vec<String> = arguments(&container)
            .iter()
            .map(|argument| argument.field("c"))
            .collect();
        assert_eq!(fields, ["c.command[0]", "c.args[0]"]);
        assert_eq!(as_list(["dask", "a\"b"]), "[\"dask\", \"a\\\"b\"]");
    }
}
