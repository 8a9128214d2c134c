//! Config files as users have them: the examples may be run, and a file full of mistakes is told all of them.

use std::fs;
use std::path::{Path, PathBuf};

use windlass::config::check::check;
use windlass::config::load;

/// Puts what an example names beside a copy of it.
#[expect(clippy::unwrap_used, reason = "a test helper: what fails here fails the test")]
fn furnish(folder: &Path, example: &Path) -> PathBuf {
    let file = folder.join("windlass.yaml");
    fs::copy(example, &file).unwrap();
    for place in ["plugins", "secrets"] {
        fs::create_dir(folder.join(place)).unwrap();
    }
    for secret in ["token", "payments"] {
        fs::write(folder.join("secrets").join(secret), "s3cret\n").unwrap();
    }
    for plugin in ["thumbnails.py", "reports.py", "mail.py", "intake.py"] {
        fs::write(folder.join("plugins").join(plugin), "").unwrap();
    }
    for program in ["convert.sh", "pay"] {
        // any file that may be executed
        fs::copy("/bin/true", folder.join("plugins").join(program)).unwrap();
    }
    file
}

#[test]
fn every_example_may_be_run_and_nothing_in_it_is_doubtful() {
    let mut seen = 0;
    for entry in fs::read_dir("config/examples").unwrap() {
        let example = entry.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        let loaded =
            load(Some(&furnish(folder.path(), &example))).unwrap_or_else(|refused| panic!("{}:\n{refused}", example.display()));
        assert_eq!(loaded.warnings, [], "{}", example.display());
        assert!(loaded.explain().unwrap().lines().count() > 30);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once() {
    // relative, so that the lines break the same on every machine
    let mistakes = Path::new("tests/config/mistakes.yaml");
    let checked = check(Some(mistakes));
    assert!(!checked.passed());
    let text = checked.render();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);
    assert_eq!(load(Some(mistakes)).unwrap_err().problems, checked.problems);
}
