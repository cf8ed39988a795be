//! Program that writes the components of `plugins/hostile` into a folder, for tests that install
//! them. Usage: `hostile FOLDER`.
#![allow(missing_docs, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("a folder"));
    fs::create_dir_all(&folder).expect("the folder");
    for entry in fs::read_dir(common::repository("plugins/hostile")).expect("plugins/hostile") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let file = folder.join(format!("{name}.wasm"));
            fs::write(file, common::bytes(&name)).expect("written");
        }
    }
}
