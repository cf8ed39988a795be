//! Search for the start of one of Dask's programs in a container's command line, with its arguments.
//!
//! The command line is parsed because other programs have options with the same names, and a script has its own syntax.

use serde_json::Value;

use super::command::{self, Argument};
use super::role::Role;

/// Programs that run another program and nothing else.
const WRAPPERS: [&str; 14] = [
    "tini",
    "dumb-init",
    "env",
    "nice",
    "nohup",
    "time",
    "python",
    "python3",
    "conda",
    "mamba",
    "micromamba",
    "pixi",
    "uv",
    "prepare.sh",
];

/// A word of a command line.
#[derive(Debug, Clone)]
pub(super) struct Word<'a> {
    /// The text without quotes.
    pub(super) text: String,
    /// The element of `command` or `args` that contains the word.
    pub(super) argument: Argument<'a>,
}

/// The start of one of Dask's programs.
#[derive(Debug)]
pub(super) struct Start<'a> {
    /// The program's arguments, up to `--` or the end of the command.
    pub(super) words: Vec<Word<'a>>,
    /// True if no shell and no other program processes the arguments first.
    pub(super) is_direct: bool,
    /// True if no other program runs at the same time, as far as is known.
    pub(super) is_alone: bool,
}

impl Start<'_> {
    /// Returns the texts of the words.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }
}

/// Returns the start of Dask's program for a role, or `None` if there is none. If there are several, returns the last.
pub(super) fn of(container: &Value, role: Role) -> Option<Start<'_>> {
    let arguments = command::arguments(container);
    let is_direct = command::of_dask(&arguments).is_some();
    let line = Line::of(arguments, is_direct);
    let mut starts = line.commands.iter().filter_map(|words| {
        let (at, command_length) =
            (0..words.len()).find_map(|at| Some((at, command_length(&words[at..], role)?)))?;
        Some((&words[..at], &words[at + command_length..]))
    });
    let (mut before, mut after) = starts.next()?;
    let mut number = 1;
    for (wrapper, words) in starts {
        (before, after) = (wrapper, words);
        number += 1;
    }
    let words = after.iter().take_while(|word| word.text != "--").cloned();
    Some(Start {
        words: words.collect(),
        is_direct,
        is_alone: number == 1 && !line.is_parallel && starts_nothing_else(before),
    })
}

/// Returns the number of words at the beginning that form one of Dask's commands for a role.
fn command_length(words: &[Word<'_>], role: Role) -> Option<usize> {
    role.commands().iter().find_map(|command| {
        let names: Vec<&str> = command.split(' ').collect();
        let matches = words.len() >= names.len()
            && names
                .iter()
                .zip(words)
                .all(|(name, word)| command::base(&word.text) == *name);
        matches.then_some(names.len())
    })
}

/// Returns whether the words before a program start nothing but that program.
fn starts_nothing_else(before: &[Word<'_>]) -> bool {
    let is_keyword_or_assignment =
        |text: &&str| ["exec", "then", "do", "else", "{"].contains(text) || text.contains('=');
    let mut texts = before.iter().map(|word| word.text.as_str());
    let program = texts.find(|text| !is_keyword_or_assignment(text));
    program.is_none_or(|program| {
        let program = command::base(program);
        WRAPPERS.contains(&program) || program.starts_with("python3.")
    })
}

/// A container's command line, parsed as by a shell where it may be a script.
struct Line<'a> {
    /// The commands, each as a list of words.
    commands: Vec<Vec<Word<'a>>>,
    /// True if some commands run at the same time.
    is_parallel: bool,
}

impl<'a> Line<'a> {
    fn of(arguments: Vec<Argument<'a>>, is_direct: bool) -> Self {
        let mut line = Self {
            commands: vec![Vec::new()],
            is_parallel: false,
        };
        // Elements after a separate program name are not processed by a shell.
        let mut is_read = !is_direct;
        let mut is_script = false;
        for argument in arguments {
            if is_read && (is_script || argument.text.contains(char::is_whitespace)) {
                if is_script {
                    line.end();
                }
                line.script(argument);
                if is_script {
                    line.end();
                }
                is_script = false;
                continue;
            }
            is_script = is_read && is_script_option(argument.text);
            is_read = is_read && !command::is_of_dask(argument.text);
            line.word(argument.text.to_owned(), argument);
        }
        line
    }

    /// Appends a word to the last command.
    fn word(&mut self, text: String, argument: Argument<'a>) {
        if let Some(command) = self.commands.last_mut() {
            command.push(Word { text, argument });
        }
    }

    /// Ends the last command.
    fn end(&mut self) {
        self.commands.push(Vec::new());
    }

    /// Appends a word of a script to the last command, unless it is part of a redirection.
    fn finish(&mut self, word: Option<String>, argument: Argument<'a>, is_target: &mut bool) {
        let Some(text) = word else {
            return;
        };
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '&');
        let is_redirection = rest.starts_with(['<', '>']);
        // The file can be a separate word.
        let is_of_redirection = is_redirection || *is_target;
        *is_target = is_redirection && rest.ends_with(['<', '>']);
        if !is_of_redirection {
            self.word(text, argument);
        }
    }

    /// Appends the commands of a script, without redirections.
    fn script(&mut self, argument: Argument<'a>) {
        let mut characters = argument.text.chars().peekable();
        let (mut word, mut quote, mut before) = (None::<String>, None::<char>, ' ');
        let mut is_target = false;
        while let Some(character) = characters.next() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (None | Some('"'), '\\') => match characters.next() {
                    // A backslash before a newline continues the line.
                    None | Some('\n') => {}
                    Some(escaped) => word.get_or_insert_default().push(escaped),
                },
                (Some(_), _) => word.get_or_insert_default().push(character),
                (None, '"' | '\'') => {
                    quote = Some(character);
                    word.get_or_insert_default();
                }
                (None, '#') if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
                (None, '&') if before == '>' || characters.peek() == Some(&'>') => {
                    word.get_or_insert_default().push(character);
                }
                (None, ';' | '\n' | '&' | '|') => {
                    self.finish(word.take(), argument, &mut is_target);
                    let is_double = characters.next_if(|next| *next == character).is_some();
                    self.is_parallel |= !is_double && ['&', '|'].contains(&character);
                    self.end();
                }
                (None, _) if character.is_whitespace() => self.finish(word.take(), argument, &mut is_target),
                (None, _) => word.get_or_insert_default().push(character),
            }
            before = character;
        }
        self.finish(word.take(), argument, &mut is_target);
    }
}

/// Returns whether a word is a shell's option for a script, such as `-c` and `-ec`.
fn is_script_option(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|letters| {
        letters.len() <= 4 && letters.ends_with('c') && letters.bytes().all(|c| c.is_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_dasks_own_words() {
        let cases: [(&[&str], &[&str], bool); 21] = [
            (&["dask", "scheduler", "--port", "1"], &["--port", "1"], true),
            (
                &["bash", "-c", "jupyter lab --port 8888 & exec dask scheduler"],
                &[],
                false,
            ),
            (
                &["bash", "-c", "redis-server --port 6379 & dask scheduler"],
                &[],
                false,
            ),
            (
                &[
                    "sh",
                    "-c",
                    "pg_isready --host=127.0.0.1 --port=5432 && exec dask-scheduler",
                ],
                &[],
                true,
            ),
            (
                &["mpirun", "--host", "localhost", "-np", "1", "dask-scheduler"],
                &[],
                false,
            ),
            (
                &["gateway-agent", "--port", "4200", "--", "dask-scheduler"],
                &[],
                false,
            ),
            (
                &["kube-wrapper", "--protocol", "grpc", "--", "dask", "scheduler"],
                &[],
                false,
            ),
            (
                &["sh", "-c", "dask scheduler --protocol \"tcp\""],
                &["--protocol", "tcp"],
                true,
            ),
            (
                &["sh", "-c", "dask scheduler --protocol tcp; echo"],
                &["--protocol", "tcp"],
                true,
            ),
            (
                &[
                    "sh",
                    "-c",
                    "dask scheduler --host 127.0.0.1 --port 9786 & exec stunnel x",
                ],
                &["--host", "127.0.0.1", "--port", "9786"],
                false,
            ),
            (
                &["dask", "scheduler", "--preload", "x.py", "--", "--port", "1"],
                &["--preload", "x.py"],
                true,
            ),
            (
                &["tini", "-g", "--", "/opt/bin/dask", "scheduler", "--host", "a b"],
                &["--host", "a b"],
                true,
            ),
            (
                &[
                    "python3.12",
                    "-m",
                    "distributed.cli.dask_scheduler",
                    "--port",
                    "1",
                ],
                &["--port", "1"],
                true,
            ),
            (
                &[
                    "sh",
                    "-ec",
                    "A=1 exec dask scheduler \\\n  --port 1 2>&1 > /log\necho",
                ],
                &["--port", "1"],
                true,
            ),
            (
                &[
                    "sh",
                    "-c",
                    "exec \"$0\" \"$@\"",
                    "dask",
                    "scheduler",
                    "--port",
                    "1",
                ],
                &["--port", "1"],
                true,
            ),
            (&["sh", "-c", "dask scheduler", "--port", "1"], &[], true),
            (&["dask scheduler", "--port", "1"], &["--port", "1"], true),
            (
                &["sh", "-c", "# dask scheduler --port 2 &\ndask scheduler"],
                &[],
                true,
            ),
            (
                &["sh", "-c", "dask scheduler --port 1 || dask scheduler --port 2"],
                &["--port", "2"],
                false,
            ),
            (
                &["sh", "-c", "dask scheduler --port 1 | tee log"],
                &["--port", "1"],
                false,
            ),
            (
                &["sh", "-c", "dask scheduler --host 'it''s'"],
                &["--host", "its"],
                true,
            ),
        ];
        for (args, words, is_alone) in cases {
            let container = json!({"args": args});
            let found = of(&container, Role::Scheduler).map(|start| {
                let texts: Vec<String> = start.texts().into_iter().map(str::to_owned).collect();
                (texts, start.is_alone)
            });
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(found, Some((words, is_alone)), "{args:?}");
        }
    }

    #[test]
    fn ignores_other_programs() {
        for args in [
            &["start-scheduler", "--port", "1"][..],
            &["sh", "-c", "./start-dask-scheduler.sh --port 1"],
            &["sh", "-c", "echo 'dask scheduler' && ./start"],
            &["dask", "worker"],
            &["dask", "scheduler --port 1"],
            &[],
        ] {
            assert!(of(&json!({"args": args}), Role::Scheduler).is_none(), "{args:?}");
        }
        let container = json!({"command": ["dask", "cuda"], "args": ["worker", "tcp://c-scheduler:1"]});
        let start = of(&container, Role::Worker).expect("started");
        assert_eq!(start.texts(), ["tcp://c-scheduler:1"]);
        assert_eq!(start.words[0].argument.field("c"), "c.args[1]");
        assert!(start.is_direct);
    }
}
