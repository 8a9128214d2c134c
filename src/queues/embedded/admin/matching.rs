//! Which jobs a filter names.

use jiff::Timestamp;

use super::super::endings::Kept;
use super::super::store::Shared;
use super::entry::{Listed, event_names, named, time};
use crate::clock::between;
use crate::job::FailureDocument;
use crate::outcome::Class;
use crate::ports::{Filter, State};

/// Whether a job that stands in the file is meant; its queue and state are known to fit.
pub(super) fn matches(filter: &Filter, listed: &Listed, now: Timestamp) -> bool {
    let failure = listed.failure();
    let fails = |wanted: &Option<String>, of: fn(&FailureDocument) -> Option<&str>| {
        wanted.as_ref().is_none_or(|wanted| failure.as_ref().and_then(of) == Some(wanted))
    };
    fails(&filter.reason, |failure| Some(failure.reason.as_str()))
        && fails(&filter.route, |failure| failure.route.as_deref())
        && has_class(filter, listed, failure.as_ref())
        && in_time(filter, listed.since(failure.as_ref()), now)
        && is_named(filter, || match &failure {
            Some(FailureDocument { kind: Some(kind), tenant, .. }) => (Some(kind.clone()), tenant.clone()),
            _ => named(&listed.job.message),
        })
        && filter.text.as_ref().is_none_or(|text| {
            let said = failure.as_ref().is_some_and(|failure| failure.message.contains(text));
            said || contains(&listed.job.message.body, text.as_bytes())
        })
}

/// Whether a job that has ended is meant; its state is known to fit.
pub(super) fn matches_ended(shared: &Shared, filter: &Filter, kept: &Kept, now: Timestamp) -> bool {
    let home = || shared.registry.numbered(kept.home);
    filter.queue.as_ref().is_none_or(|queue| home().is_some_and(|home| *home.name == **queue))
        && filter.reason.as_ref().is_none_or(|reason| *kept.note == **reason)
        && filter.class.is_none()
        && filter.route.is_none()
        && in_time(filter, time(kept.submitted), now)
        && is_named(filter, || {
            let names = event_names(kept);
            (names.jobtype, names.tenant)
        })
        && filter.text.as_ref().is_none_or(|text| contains(kept.event.as_deref().unwrap_or_default(), text.as_bytes()))
}

/// The class of a dead letter, or of why a job is parked or was tried before.
fn has_class(filter: &Filter, listed: &Listed, failure: Option<&FailureDocument>) -> bool {
    let Some(wanted) = &filter.class else { return true };
    let class = failure.map(|failure| failure.class).or_else(|| {
        let life = &listed.life;
        let parked = life.park.as_ref().map(|park| park.reason).filter(|_| listed.state == State::Parked);
        parked.or(life.last.as_ref().map(|last| last.class))
    });
    class.map(Class::as_str) == Some(wanted)
}

fn in_time(filter: &Filter, since: Timestamp, now: Timestamp) -> bool {
    let age = between(since, now);
    filter.older_than.is_none_or(|least| age >= least.0) && filter.newer_than.is_none_or(|most| age <= most.0)
}

type Text = Option<std::sync::Arc<str>>;

fn is_named(filter: &Filter, names: impl FnOnce() -> (Text, Text)) -> bool {
    if filter.kind.is_none() && filter.tenant.is_none() {
        return true;
    }
    let (kind, tenant) = names();
    let kind_fits = filter.kind.as_ref().is_none_or(|glob| kind.is_some_and(|kind| fits(glob, &kind)));
    kind_fits && filter.tenant.as_ref().is_none_or(|wanted| tenant.is_some_and(|tenant| *tenant == **wanted))
}

/// Whether text fits a glob, in which `*` stands for any characters.
fn fits(glob: &str, text: &str) -> bool {
    let Some((start, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_fits_what_it_leaves_open_and_nothing_else() {
        for (glob, text) in [("image.*", "image.resize"), ("*", ""), ("a*c*e", "abcde"), ("a*a", "aa"), ("same", "same")] {
            assert!(fits(glob, text), "{glob} {text}");
        }
        for (glob, text) in [("image.*", "imagery"), ("a*a", "a"), ("a*b*c", "acb"), ("same", "same.not")] {
            assert!(!fits(glob, text), "{glob} {text}");
        }
    }
}
