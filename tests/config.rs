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

#[test]
fn docker_compose_offers_the_servers_of_the_tests_on_loopback_only() {
    let compose: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string("docker-compose.yml").unwrap()).unwrap();
    let services = compose["services"].as_object().expect("services");
    for script in fs::read_dir("servers").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
        let offered = script.contains('.') || services.contains_key(&script);
        assert!(offered, "servers/{script} has no counterpart");
    }
    for (name, service) in services {
        let image = service["image"].as_str().expect("an image");
        assert!(image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest"), "{name}: {image} is another one tomorrow");
        let ports = service["ports"].as_array().expect("ports");
        assert!(ports.iter().all(|port| port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:"))), "{name}: {ports:?}");
    }
}
