//! Every input a fuzzer found worth keeping, and every one that once failed, as plain tests (`fuzz/README.md`).

use std::path::{Path, PathBuf};

#[path = "../fuzz/drive/mod.rs"]
mod drive;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("a folder of the corpus")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let inputs = names(&folder).into_iter();
    inputs
        .map(|name| std::fs::read(folder.join(name)).expect("an input"))
        .collect()
}

#[test]
fn every_target_has_a_corpus_and_survives_it() {
    let targets = names(&fuzz().join("fuzz_targets"));
    assert!(!targets.is_empty());
    for target in targets.iter().map(|file| file.trim_end_matches(".rs")) {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "no corpus for {target}");
        for input in &inputs {
            drive::run(target, input);
        }
        println!("{target}: {} inputs", inputs.len());
    }
}
