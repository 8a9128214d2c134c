//! Dead letters counted by what they have in common, each group with a sample of its failure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use clap::ValueEnum;
use jiff::Timestamp;

use crate::admin::dead_letters::{Group, Groups};
use crate::cli::filter::FilterArgs;
use crate::cli::looked::LookedAt;
use crate::cli::screen::{Colour, Screen, WIDTH, cut};
use crate::cli::session::{Ask, Session};
use crate::cli::words::{grouped, since};
use crate::cli::{Exit, Failure};

/// What they are grouped by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum By {
    Reason,
    Class,
    Type,
    Route,
    Tenant,
    Queue,
    Message,
}

/// Asks page by page and adds the parts of each group up; the largest comes first.
pub(super) async fn list(session: &Session, by: By, filter: &FilterArgs, screen: &mut Screen) -> Result<Exit, Failure> {
    let key = by.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let ask = filter.narrow(Ask::get("/dead-letters/groups")).with("by", &key);
    let (mut sums, mut after): (BTreeMap<String, Group>, _) = (BTreeMap::new(), None);
    let mut looked = LookedAt::default();
    loop {
        let part: Groups = session.ask(ask.clone().with_any("after", after.as_deref())).await?;
        for group in part.groups {
            match sums.get_mut(&group.value) {
                Some(known) => known.add(group),
                None => drop(sums.insert(group.value.clone(), group)),
            }
        }
        looked.note(part.looked);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    let mut groups: Vec<Group> = sums.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.count));
    show(&groups, screen)?;
    looked.tell(true);
    Ok(Exit::Done)
}

fn show(groups: &[Group], screen: &mut Screen) -> Result<(), Failure> {
    if screen.json {
        return Ok(groups.iter().try_for_each(|group| screen.document(group))?);
    }
    if groups.is_empty() {
        eprintln!("nothing matches");
    }
    let now = Timestamp::now();
    for group in groups {
        let (oldest, newest) = (since(group.oldest, now), since(group.newest, now));
        let ages = if oldest == newest { format!("{newest} ago") } else { format!("{oldest} to {newest} ago") };
        let count = screen.paint(Colour::Bold, &format!("{:>8}", grouped(group.count)));
        let room = WIDTH - 8 - 4 - ages.len();
        screen.line(&format!("{count}  {}  {ages}", cut(&group.value, room)))?;
        let sample = &group.sample;
        let text = cut(&format!("such as {}: {}", sample.id, sample.message), WIDTH - 10);
        screen.line(&format!("{:10}{}", "", screen.paint(Colour::Dim, &text)))?;
    }
    Ok(())
}
