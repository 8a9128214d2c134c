//! What an expression names and how deep it goes, found before it is ever evaluated.

use cel::Program;
use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::{JOB_KEYS, Scope, Uses, Wrong};

/// Brackets inside brackets, before the expression is read.
const DEEPEST_BRACKETS: usize = 32;
/// Operators and calls inside each other.
const DEEPEST: usize = 64;
/// The functions there are; operators are spelled with other characters than letters.
const FUNCTIONS: [&str; 14] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "at",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "type",
    "dyn",
];

/// Refuses brackets that are too deep to be read.
pub(super) fn nesting(source: &str) -> Result<(), Wrong> {
    let mut depth = 0usize;
    for (index, c) in source.chars().enumerate() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_BRACKETS {
            return Err(Wrong { column: index + 1, message: format!("more than {DEEPEST_BRACKETS} brackets inside each other") });
        }
    }
    Ok(())
}

/// What the program looks at.
///
/// # Errors
/// A name that there is not, a macro inside a macro (its cost would be the square of the data's size), too much nesting.
pub(super) fn uses(program: &Program, scope: Scope) -> Result<Uses, Wrong> {
    let mut walk = Walk { program, scope, uses: Uses::default(), local: Vec::new(), looping: false };
    walk.visit(program.expression(), 0)?;
    Ok(walk.uses)
}

struct Walk<'p> {
    program: &'p Program,
    scope: Scope,
    uses: Uses,
    /// The variables of the macro around.
    local: Vec<String>,
    looping: bool,
}

impl Walk<'_> {
    fn wrong(&self, at: &IdedExpr, message: impl Into<String>) -> Wrong {
        let info = self.program.source_info();
        let start = info.offset_for(at.id).map_or(0, |(start, _)| start as usize);
        Wrong { column: start + 1, message: message.into() }
    }

    fn visit(&mut self, at: &IdedExpr, depth: usize) -> Result<(), Wrong> {
        if depth > DEEPEST {
            return Err(self.wrong(at, format!("more than {DEEPEST} operators inside each other")));
        }
        let deeper = depth + 1;
        match &at.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(at, name, true),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if name == "job" && !self.local.contains(name) => self.job_key(at, &select.field),
                _ => self.visit(&select.operand, deeper),
            },
            Expr::Call(call) => {
                let word = call.func_name.chars().all(char::is_alphanumeric);
                if word && !FUNCTIONS.contains(&&*call.func_name) {
                    let message = format!("there is no function {:?}; there are: {}", call.func_name, FUNCTIONS.join(", "));
                    return Err(self.wrong(at, message));
                }
                call.target.iter().try_for_each(|target| self.visit(target, deeper))?;
                call.args.iter().try_for_each(|argument| self.visit(argument, deeper))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, deeper)),
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr), deeper),
            Expr::Struct(_) => Err(self.wrong(at, "there are no types to make values of")),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range, deeper)?;
                if std::mem::replace(&mut self.looping, true) {
                    return Err(self.wrong(at, "all, exists, map and filter cannot stand inside each other"));
                }
                self.uses.macros = true;
                let own = [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref(), Some(&comprehension.accu_var)];
                self.local = own.into_iter().flatten().cloned().collect();
                let parts = [&comprehension.accu_init, &comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
                parts.into_iter().try_for_each(|part| self.visit(part, deeper))?;
                self.looping = false;
                self.local.clear();
                Ok(())
            }
        }
    }

    fn entries<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>, depth: usize) -> Result<(), Wrong> {
        for entry in entries {
            match entry {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth)?;
                    self.visit(&entry.value, depth)?;
                }
                EntryExpr::StructField(field) => self.visit(&field.value, depth)?,
            }
        }
        Ok(())
    }

    fn variable(&mut self, at: &IdedExpr, name: &str, whole: bool) -> Result<(), Wrong> {
        match name {
            _ if name.starts_with('@') || self.local.iter().any(|local| local == name) => {}
            "data" => self.uses.data = true,
            "job" => self.uses.whole_job |= whole,
            "result" if self.scope == Scope::Result => self.uses.result = true,
            // names of types, as type(…) answers them
            "string" | "int" | "uint" | "double" | "bool" | "bytes" | "list" | "map" | "null_type" | "type" => {}
            _ => {
                let there = if self.scope == Scope::Result { "job, data and result" } else { "job and data" };
                return Err(self.wrong(at, format!("there is no variable {name:?}; there are {there}")));
            }
        }
        Ok(())
    }

    fn job_key(&mut self, at: &IdedExpr, key: &str) -> Result<(), Wrong> {
        if !JOB_KEYS.contains(&key) {
            return Err(self.wrong(at, format!("a job has no key {key:?}; it has: {}", JOB_KEYS.join(", "))));
        }
        self.uses.job.push(key.to_owned());
        Ok(())
    }
}
