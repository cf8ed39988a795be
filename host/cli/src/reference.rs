//! The page about the command line in `docs/reference`.

use clap::Command;

const HEAD: &str = "\
<!-- Generated from the arguments of the subcommands by `make generate`. -->
# Command line

Each section is the output of `--help`.
";

/// Maximum number of characters in a line of help.
const WIDTH: usize = 110;

/// Returns the page: the help of the command and of its subcommands.
pub(crate) fn page(command: Command) -> String {
    let mut command = without_values(command);
    command.build();
    let mut page = HEAD.to_owned();
    section(&command, &mut page);
    page
}

/// Hides the values of environment variables, so that the page does not depend on the environment.
fn without_values(command: Command) -> Command {
    command
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(without_values)
}

/// Appends the section of a command, and those of its subcommands.
fn section(command: &Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let help = command.clone().render_long_help().to_string();
    let lines: Vec<_> = help.trim_end().lines().map(wrapped).collect();
    page.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n")));
    for subcommand in command.get_subcommands() {
        if !subcommand.is_hide_set() && subcommand.get_name() != "help" {
            section(subcommand, page);
        }
    }
}

/// Wraps a line. The rest has the same indentation.
fn wrapped(line: &str) -> String {
    let indentation = line.len() - line.trim_start().len();
    let (mut text, mut width) = (" ".repeat(indentation), indentation);
    for word in line.trim().split(' ') {
        let length = word.chars().count();
        if width + length > WIDTH && width > indentation {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(&" ".repeat(indentation));
            width = indentation;
        }
        text.push_str(word);
        text.push(' ');
        width += length + 1;
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::{WIDTH, page, wrapped};

    #[test]
    fn the_page_has_all_commands_except_hidden_ones() {
        let hidden = Command::new("hidden").hide(true);
        let inner = Command::new("inner").arg(Arg::new("home").long("home").env("PATH"));
        let outer = Command::new("outer").subcommand(inner);
        let page = page(Command::new("tool").subcommands([outer, hidden]));
        let headings: Vec<_> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            headings,
            ["## `tool`", "## `tool outer`", "## `tool outer inner`"]
        );
        assert!(page.contains("[env: PATH]"), "{page}");
    }

    #[test]
    fn long_lines_are_wrapped_and_keep_their_indentation() {
        let line = format!("  {}", "word ".repeat(30));
        let text = wrapped(&line);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("  word") && line.len() <= WIDTH),
            "{text}"
        );
        assert_eq!(wrapped("  run      Runs  "), "  run      Runs");
        assert_eq!(wrapped(""), "");
    }
}
