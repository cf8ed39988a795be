//! Tests of the check that released versions of the contract are not changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use dask_operator_golden_tests::files;

/// Creates a checkout with a released version 1.0.0 of the contract.
fn released(root: &Path) {
    let contract = "package dask:operator@1.0.0;\n\ninterface types {}\n";
    for file in ["wit/types.wit", "wit/frozen/1.0.0/types.wit"] {
        write(root, file, contract);
    }
    git(root, &["init", "--quiet"]);
    commit(root);
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

fn commit(root: &Path) {
    git(root, &["add", "--all"]);
    let author = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@example.com",
        "-c",
        "commit.gpgsign=false",
    ];
    git(
        root,
        &[&author[..], &["commit", "--quiet", "--message", "x"]].concat(),
    );
}

fn git(root: &Path, arguments: &[&str]) {
    let status = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .status()
        .expect("git");
    assert!(status.success(), "git {arguments:?}");
}

/// Runs the check and returns its complaints. Empty if it passes.
fn check(root: &Path) -> String {
    let output = Command::new(files::folder("../../wit/check-frozen"))
        .arg(root)
        .output()
        .expect("the check");
    let complaints = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.success(), complaints.is_empty(), "{complaints}");
    complaints
}

#[test]
fn this_checkout_passes() {
    assert_eq!(check(&files::folder("../..")), "");
}

#[test]
fn rejects_changes_of_released_versions() {
    type Change = fn(&Path);
    let cases: [(&str, Change, &str); 5] = [
        ("nothing", |_| (), ""),
        (
            "a frozen file",
            |root| write(root, "wit/frozen/1.0.0/types.wit", "package x;"),
            "frozen/1.0.0/types.wit was changed",
        ),
        (
            "a frozen file is removed",
            |root| fs::remove_file(root.join("wit/frozen/1.0.0/types.wit")).expect("the file is removed"),
            "types.wit is gone",
        ),
        (
            "the contract under the same version",
            |root| write(root, "wit/types.wit", "package dask:operator@1.0.0;\n"),
            "wit/types.wit differs from the released 1.0.0",
        ),
        (
            "the contract under a new version",
            |root| write(root, "wit/types.wit", "package dask:operator@1.1.0;\n"),
            "",
        ),
    ];
    for (description, change, complaint) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        released(folder.path());
        change(folder.path());
        let before = check(folder.path());
        assert!(
            before.contains(complaint) && before.is_empty() == complaint.is_empty(),
            "{description}: {before:?}"
        );
        // The result is the same after a commit.
        write(folder.path(), "another", "");
        commit(folder.path());
        assert_eq!(check(folder.path()), before, "{description}");
    }
}
