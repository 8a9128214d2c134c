//! `${NAME}` and `${NAME:-default}` inside values, filled in as data after the file was parsed: what a variable holds
//! can never become structure.

use super::node::{Node, Scalar, Template};
use super::problem::Problem;

/// Looks a variable of the environment up.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Fills in every value of the tree. A value that cannot be filled in is taken out of view.
pub fn interpolate(root: &mut Node, environment: &Environment<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    root.each_scalar(&mut Vec::new(), &mut |key, mark, scalar| {
        let Err(Unfilled { message, fix }) = fill(scalar, environment) else { return true };
        problems.push(Problem::at(Some(mark), key, message).fix(fix));
        false
    });
    problems
}

struct Unfilled {
    message: String,
    fix: String,
}

fn fill(scalar: &mut Scalar, environment: &Environment<'_>) -> Result<(), Unfilled> {
    if !scalar.text.contains("${") {
        return Ok(());
    }
    let written = std::mem::take(&mut scalar.text);
    let mut variables = Vec::new();
    let mut rest = written.as_str();
    let mut failed = None;
    while let Some(start) = rest.find("${") {
        if let Some(before) = rest[..start].strip_suffix('$') {
            scalar.text.push_str(before);
            scalar.text.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        scalar.text.push_str(&rest[..start]);
        let Some((inside, after)) = rest[start + 2..].split_once('}') else {
            failed = Some(unclosed(&rest[start..]));
            break;
        };
        match look_up(inside, environment) {
            Ok((name, value)) => {
                scalar.text.push_str(&value);
                variables.push(name.to_owned());
            }
            Err(unfilled) => failed = failed.or(Some(unfilled)),
        }
        rest = after;
    }
    scalar.text.push_str(rest);
    if !variables.is_empty() || failed.is_some() {
        scalar.template = Some(Template { written, variables });
    }
    failed.map_or(Ok(()), Err)
}

fn look_up<'t>(inside: &'t str, environment: &Environment<'_>) -> Result<(&'t str, String), Unfilled> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(Unfilled {
            message: format!("{name:?} is not the name of an environment variable"),
            fix: "write ${NAME} or ${NAME:-default}; a literal ${ is written $${".into(),
        });
    }
    match (environment(name), default) {
        (Some(value), None) => Ok((name, value)),
        // as a shell reads `:-`, an empty variable is an unset one
        (Some(value), Some(_)) if !value.is_empty() => Ok((name, value)),
        (_, Some(default)) => Ok((name, default.to_owned())),
        (None, None) => Err(Unfilled {
            message: format!("the environment variable {name} is not set"),
            fix: format!("set {name}, or write a default: ${{{name}:-default}}"),
        }),
    }
}

fn unclosed(text: &str) -> Unfilled {
    let start: String = text.chars().take(20).collect();
    Unfilled { message: format!("{start:?} has no closing brace"), fix: "write ${NAME}; a literal ${ is written $${".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Value;
    use crate::config::yaml::parse;

    fn filled(yaml: &str) -> (Node, Vec<Problem>) {
        let mut root = parse(yaml).unwrap().root;
        let environment = |name: &str| match name {
            "HOST" => Some("example.org".to_owned()),
            "EVIL" => Some("x, y: [1]\n- {a: b}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let problems = interpolate(&mut root, &environment);
        (root, problems)
    }

    fn text(yaml: &str) -> String {
        let (root, problems) = filled(&format!("key: {yaml}"));
        assert_eq!(problems, []);
        root.at(&["key"]).unwrap().scalar().unwrap().text.clone()
    }

    #[test]
    fn variables_defaults_and_escapes_are_filled_in() {
        assert_eq!(text("amqp://${HOST}:${PORT:-5672}/"), "amqp://example.org:5672/");
        assert_eq!(text("\"$${HOST} costs $5\""), "${HOST} costs $5");
        assert_eq!(text("${EMPTY:-full}"), "full");
        assert_eq!(text("\"${EMPTY}\""), "");
        assert_eq!(text("\"${MISSING:-}\""), "");
    }

    #[test]
    fn what_a_variable_holds_never_becomes_structure() {
        let (root, _) = filled("key: ${EVIL}\nlist: [\"${EVIL}\"]");
        assert_eq!(root.at(&["key"]).unwrap().scalar().unwrap().text, "x, y: [1]\n- {a: b}");
        assert!(matches!(&root.at(&["list"]).unwrap().value, Value::List(items) if items.len() == 1));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_key_and_place() {
        let (_, problems) = filled("a: 1\nb:\n  - c: ${NOWHERE}\n  - ${HOST\n  - ${1X}\n");
        let seen: Vec<(usize, &str)> = problems.iter().map(|at| (at.place.unwrap().line, at.key.as_str())).collect();
        assert_eq!(seen, [(3, "b[0].c"), (4, "b[1]"), (5, "b[2]")]);
        assert!(problems[0].message.contains("NOWHERE") && problems[0].fix.contains("${NOWHERE:-default}"));
        assert!(problems[1].message.contains("closing brace"));
        assert!(problems[2].message.contains("1X"));
    }
}
