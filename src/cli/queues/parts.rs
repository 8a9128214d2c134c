//! `windlass queues create` and `check`: what queues of brokers need, the plan first.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::app::{Remote, brokers, places};
use crate::cli::screen::Screen;
use crate::cli::session::Target;
use crate::cli::{Exit, Failure};
use crate::config::order::{Unkept, unkept};
use crate::ports::{Found, Part};

/// A queue with its parts.
struct Needs {
    remote: Remote,
    /// Of one that is taken from: the places beside it.
    places: Option<Vec<Arc<str>>>,
    parts: Vec<Part>,
}

pub(super) async fn create(target: &Target, yes: bool, screen: &mut Screen) -> Result<Exit, Failure> {
    let needs = needs(target).await?;
    let missing = needs.iter().flat_map(|needs| &needs.parts).filter(|part| part.found == Found::Missing).count();
    tell(&needs, screen)?;
    if missing == 0 || !yes {
        let sentence = match missing {
            0 => "nothing is missing".to_owned(),
            missing => format!("{missing} would be made: --yes makes them"),
        };
        screen.answer(&json!({ "missing": missing, "made": 0 }), &sentence)?;
        return Ok(Exit::Done);
    }
    for Needs { remote: Remote { key, queue, .. }, places, .. } in &needs {
        queue.create(places.as_deref()).await.map_err(|error| Failure::unavailable(format!("{key}: {error}")))?;
    }
    screen.answer(&json!({ "missing": missing, "made": missing }), &format!("{missing} made"))?;
    Ok(Exit::Done)
}

pub(super) async fn check(target: &Target, screen: &mut Screen) -> Result<Exit, Failure> {
    let needs = needs(target).await?;
    tell(&needs, screen)?;
    let mut wrong = needs.iter().flat_map(|needs| &needs.parts).filter(|part| part.found != Found::AsWanted).count();
    // a queue that was looked at may keep less order than its block promises
    let order = |name: &str| Some(needs.iter().find(|needs| needs.remote.name == name)?.remote.queue.capabilities().order);
    for Unkept { route, message, fix } in unkept(&target.config, order) {
        wrong += 1;
        let document = json!({ "route": route, "wrong": message, "fix": fix });
        screen.answer(&document, &format!("routes[{route}].order_by: {message}: {fix}"))?;
    }
    let sentence = if wrong == 0 { "all is there".to_owned() } else { format!("{wrong} are missing or otherwise") };
    screen.answer(&json!({ "wrong": wrong }), &sentence)?;
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failed })
}

async fn needs(target: &Target) -> Result<Vec<Needs>, Failure> {
    let remotes = brokers(&target.config, &target.base).map_err(|error| Failure::usage(error.to_string()))?;
    if remotes.is_empty() {
        return Err(Failure::usage("nothing of this config lies on a broker: the rest needs nothing made"));
    }
    let (mut needs, mut seen) = (Vec::new(), BTreeSet::new());
    for remote in remotes {
        let places = remote.taken.then(|| places(&target.config));
        let parts = remote.queue.parts(places.as_deref()).await;
        let mut parts = parts.map_err(|error| Failure::unavailable(format!("{}: {error}", remote.key)))?;
        parts.retain(|part| seen.insert(part.name.clone())); // queues share some
        needs.push(Needs { remote, places, parts });
    }
    Ok(needs)
}

fn tell(needs: &[Needs], screen: &mut Screen) -> Result<(), Failure> {
    for Needs { remote: Remote { name, .. }, parts, .. } in needs {
        for part in parts {
            let found = match &part.found {
                Found::AsWanted => "there".to_owned(),
                Found::Missing => "missing".to_owned(),
                Found::Differs(why) => format!("otherwise: {why}"),
            };
            let document = json!({ "queue": name, "name": part.name, "what": part.what, "found": part.found });
            screen.answer(&document, &format!("{name}: {} ({}): {found}", part.name, part.what))?;
        }
    }
    Ok(())
}
