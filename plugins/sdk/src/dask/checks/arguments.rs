//! Check for arguments of Dask's programs that contain several words, although no shell splits them.

use serde_json::Value;

use super::Checks;
use crate::dask::command;

/// Prefixes of image names whose entrypoint is known to run the arguments unchanged.
const KNOWN_IMAGES: [&str; 3] = ["ghcr.io/dask/", "daskdev/", "docker.io/daskdev/"];

/// Subcommands of `dask`.
const COMMANDS: [&str; 3] = ["worker", "scheduler", "cuda"];

/// Returns whether a container's arguments are run unchanged: the container has a command, or an image with a known
/// entrypoint. The entrypoint of any other image may start a shell.
pub(super) fn are_passed_on(container: &Value) -> bool {
    let image = container["image"].as_str().unwrap_or_default();
    command::arguments(container)
        .first()
        .is_some_and(|first| first.list == "command")
        || KNOWN_IMAGES.iter().any(|known| image.starts_with(known))
}

/// Checks the arguments of the container at `path`.
pub(super) fn check(checks: &mut Checks, container: &Value, path: &str) {
    let arguments = command::arguments(container);
    let mut report = |argument: &command::Argument<'_>, what: &str| {
        let words: Vec<&str> = argument.text.split_whitespace().collect();
        checks.mistake(
            argument.field(path),
            format!(
                "no shell takes this apart, so that it is one word for {what}: write each word as an element of its own, {}",
                command::as_list(words)
            ),
        );
    };
    let Some(own) = command::of_dask(&arguments) else {
        if let Some(first) = arguments.first()
            && are_passed_on(container)
            && let Some((program, _)) = first.text.split_once(char::is_whitespace)
            && command::is_of_dask(program)
        {
            report(first, "the name of a program");
        }
        return;
    };
    // A preloaded module may have its own arguments.
    if own.iter().any(|argument| argument.text.starts_with("--preload")) {
        return;
    }
    let [program, rest @ ..] = own else {
        return;
    };
    if let Some(first) = rest.first()
        && program.text.ends_with("dask")
        && let Some((command, _)) = first.text.split_once(char::is_whitespace)
        && COMMANDS.contains(&command)
    {
        report(first, "Dask");
    }
    for argument in rest.iter().take_while(|argument| argument.text != "--") {
        let Some((option, value)) = argument.text.split_once(char::is_whitespace) else {
            continue;
        };
        let is_option = option.strip_prefix("--").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_lowercase() || c == b'-')
        });
        if is_option && !value.trim().is_empty() {
            report(argument, "Dask");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{messages, summary};
    use super::*;

    fn found(container: &Value) -> Vec<String> {
        let mut checks = Checks::default();
        check(&mut checks, container, "c");
        summary(checks)
    }

    #[test]
    fn reports_several_words_in_one_element() {
        for (container, expected) in [
            (
                json!({"args": ["dask", "worker", "--name $(DASK_WORKER_NAME)", "--nthreads  2"]}),
                vec!["mistake c.args[2]", "mistake c.args[3]"],
            ),
            (
                json!({"command": ["dask-scheduler"], "args": ["--port 8786"]}),
                vec!["mistake c.args[0]"],
            ),
            (
                json!({"args": ["dask", "scheduler --port 9000"]}),
                vec!["mistake c.args[1]"],
            ),
            (
                json!({"command": ["dask worker --name x"]}),
                vec!["mistake c.command[0]"],
            ),
            (
                json!({"args": ["dask worker --name x"], "image": "ghcr.io/dask/dask:2026.8.0"}),
                vec!["mistake c.args[0]"],
            ),
        ] {
            assert_eq!(found(&container), expected, "{container}");
        }
    }

    #[test]
    fn accepts_spaces_in_values_and_scripts() {
        for container in [
            json!({"args": ["dask", "worker", "--name", "a b", "--resources", "GPU=2 MEMORY=1e9"]}),
            json!({"args": ["dask", "worker", "--name=a b", "two words", "-- x"]}),
            json!({"args": ["dask", "worker", "--preload", "mine.py", "--greeting hello"]}),
            json!({"args": ["dask", "worker", "--", "--greeting hello"]}),
            json!({"command": ["sh", "-c"], "args": ["dask worker --port 1"]}),
            json!({"command": ["start.sh"], "args": ["dask", "worker", "--port 1"]}),
            // The entrypoint of the image may start a shell.
            json!({"args": ["dask worker --name x"], "image": "mine:1"}),
            json!({"args": "dask worker --name x"}),
            json!({}),
        ] {
            assert_eq!(found(&container), [""; 0], "{container}");
        }
    }

    #[test]
    fn the_message_contains_the_remedy() {
        let mut checks = Checks::default();
        check(
            &mut checks,
            &json!({"args": ["dask", "scheduler", "--port 8786"]}),
            "c",
        );
        assert_eq!(
            messages(checks),
            [
                "no shell takes this apart, so that it is one word for Dask: write each word as an element of its own, \
                 [\"--port\", \"8786\"]"
            ]
        );
    }
}
