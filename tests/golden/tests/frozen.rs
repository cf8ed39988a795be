//! The check that keeps released versions of the contract as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use dask_operator_golden_tests::files;

/// A checkout with a contract of version 1.0.0 that was released.
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

/// What the check complains about; empty where it is content.
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
fn this_checkout() {
    assert_eq!(check(&files::folder("../..")), "");
}

#[test]
fn what_was_released_stays() {
    type Change = fn(&Path);
    let cases: [(&str, Change, &str); 5] = [
        ("nothing", |_| (), ""),
        (
            "a frozen file",
            |root| write(root, "wit/frozen/1.0.0/types.wit", "package x;"),
            "frozen/1.0.0/types.wit was changed",
        ),
        (
            "a frozen file goes",
            |root| fs::remove_file(root.join("wit/frozen/1.0.0/types.wit")).expect("gone"),
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
    for (what, change, complaint) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        released(folder.path());
        change(folder.path());
        let before = check(folder.path());
        assert!(
            before.contains(complaint) && before.is_empty() == complaint.is_empty(),
            "{what}: {before:?}"
        );
        // It is no better once it is committed.
        write(folder.path(), "another", "");
        commit(folder.path());
        assert_eq!(check(folder.path()), before, "{what}");
    }
}
