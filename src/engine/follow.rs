//! Keyed jobs of a shut executor: they leave for its place one after another, and newer ones of a key follow until none of
//! its older ones is left there. A lane that waited in memory instead would fill the window and hold up other routes.

use std::sync::Arc;

use super::admitted::{Admitted, Work};
use super::breaker::Phase;
use super::guard::Guard;
use super::older::Keyed;
use super::order::Head;
use super::pool::{Feed, Pool};
use super::routes::{Route, Routes};
use super::settle::Held;
use crate::job::Job;
use crate::outcome::{Class, Failure, Verdict};

impl Pool {
    /// Why a job whose key keeps its order must go beside its queue; none when it waits for its turn here.
    pub(super) fn must_follow(&self, job: &Job, route: &Route, feed: &Feed) -> Option<Failure> {
        let guard = route.rules.guard.as_ref().filter(|guard| feed.leads_to_place_of(guard))?;
        let older = || self.parking.places.holds_older(&feed.name, &guard.name, job);
        guard.shut().or_else(|| {
            older().then(|| Failure::new(Class::Unavailable, "older jobs of its key wait beside the queue for the executor"))
        })
    }

    /// What is to be done with a job once it is its turn: the last one of its key may have left.
    pub(super) fn at_its_turn(&self, work: Work, feed: &Feed) -> Work {
        match work {
            Work::Run(job, route) if route.keeps_order(&job) => self.work_on(job, route, feed),
            work => work,
        }
    }

    /// A job has come out of a place: the lane of its key has it.
    pub(super) fn came_out(&self, feed: &Feed, work: &Work) {
        let (Some(beside), Work::Run(job, route) | Work::Park(job, route, _)) = (&feed.beside, work) else { return };
        if let Some(keyed) = route.keyed(job) {
            self.parking.places.taken(&feed.name, &beside.place, &keyed);
        }
    }

    /// Whether a head that its executor did not take must leave its lane.
    pub(super) fn must_leave(&self, verdict: &Verdict, head: &Head, feed: &Feed) -> bool {
        let Verdict::Park { reason: Class::Unavailable | Class::Misconfigured, .. } = verdict else { return false };
        let guard = head.route.rules.guard.as_ref();
        guard.is_some_and(|guard| guard.shut().is_some()) && feed.queue.capabilities().parks_in_order
    }

    /// Of a head whose executor is shut: it leaves its lane. One that came from there goes back to where it was.
    pub(super) async fn leave_lane(&self, verdict: &Verdict, head: &Head, held: Held) {
        let (Verdict::Park { life, .. }, Some(guard)) = (verdict, &head.route.rules.guard) else { return };
        if !held.feed.is_place_of(guard) {
            return self.settle(verdict, &head.job, Some(&head.route), held).await;
        }
        let mut life = life.clone();
        life.due = None;
        let Some(held) = self.rewrite(&life, head, held).await else { return };
        head.route.metrics.ended(verdict);
        self.goes_back(&head.job, Some(&head.route), &held.feed);
    }

    /// The jobs of an executor that is shut again go back to where they came from: newer ones of their keys would wait for
    /// them here.
    pub(super) fn send_back(&self, guard: &Guard) {
        let waits = |admitted: &Admitted| {
            matches!(&admitted.work, Work::Run(job, route) if route.keeps_order(job)) && admitted.feed.is_place_of(guard)
        };
        for admitted in self.window.take_out(waits) {
            if let Work::Run(job, route) = &admitted.work {
                self.goes_back(job, Some(route), &admitted.feed);
            }
        }
    }

    /// A job is given back to where it came from, or is there already: if that is a place, newer ones of its key follow again.
    pub(super) fn goes_back(&self, job: &Job, route: Option<&Route>, feed: &Feed) {
        if let (Some(beside), Some(keyed)) = (&feed.beside, route.and_then(|route| route.keyed(job))) {
            self.parking.places.returns(&feed.name, &beside.place, &keyed);
        }
    }

    /// The lease of a job was lost, so that it comes again; `beside` is the place that it came from.
    pub(super) fn comes_again(&self, job: &Job, route: Option<&Route>, beside: Option<&Feed>) {
        if let Some(feed) = beside {
            self.goes_back(job, route, feed);
        }
        self.yield_key(job, route);
    }

    /// Whether what came was asked for before things changed: by routes that a reload has replaced, so that older jobs are to
    /// be matched first, or for an executor that is shut again.
    pub(super) fn came_too_early(&self, feed: &Feed, asked_by: &Arc<Routes>) -> bool {
        let routes = self.routes.load_full();
        let guard = feed.beside.as_ref().and_then(|beside| beside.guard.as_ref());
        if guard.is_some_and(|guard| guard.phase() == Some(Phase::Open)) {
            return true;
        }
        !Arc::ptr_eq(asked_by, &routes) && feed.beside.is_none() && feed.keeps_order_beside(&routes)
    }

    /// Whether older jobs of a queue are being matched again, so that none may pass them where a route keeps an order: those
    /// that had no route, and those of an executor that is gone.
    pub(super) fn is_matched_again(&self, feed: &Feed, routes: &Routes) -> bool {
        feed.keeps_order_beside(routes) && self.parking.matches_again(&feed.name)
    }
}

impl Feed {
    /// Whether jobs that wait for this executor go from here into its place.
    fn leads_to_place_of(&self, guard: &Guard) -> bool {
        !self.is_place_of(guard) && self.queue.capabilities().parks_in_order
    }

    /// Whether some of its jobs must not pass older ones that lie beside it.
    fn keeps_order_beside(&self, routes: &Routes) -> bool {
        routes.iter().any(|route| route.rules.ordered) && self.queue.capabilities().parks_in_order
    }

    /// Whether it is where jobs of this executor wait.
    fn is_place_of(&self, guard: &Guard) -> bool {
        self.beside.as_ref().is_some_and(|beside| beside.place == guard.name)
    }
}

impl Route {
    /// None of a job that others may pass.
    pub(super) fn keyed(&self, job: &Job) -> Option<Keyed> {
        self.keeps_order(job).then(|| Keyed::new(job)).flatten()
    }
}
