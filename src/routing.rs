//! Which route a job takes: its exact type, else the longest prefix; at each, its version before any version.

use foldhash::HashMap;

/// Finds the route of a job by type and version, in time that does not grow with the number of routes.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Versions>,
    /// By what stands before the `*`.
    prefixes: HashMap<Box<str>, Versions>,
    /// The lengths of all prefixes, longest first.
    lengths: Vec<usize>,
}

/// The routes of one type or prefix; the numbers are those of [`RouteTable::new`].
#[derive(Clone, Debug, Default)]
struct Versions {
    of: HashMap<Box<str>, usize>,
    any: Option<usize>,
}

/// Two routes that take the same jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    pub first: usize,
    pub second: usize,
}

impl RouteTable {
    /// A table of routes given as type (or a prefix of types with `*` at its end) and version, numbered from 0.
    ///
    /// # Errors
    /// Every pair of routes that nothing tells apart.
    pub fn new<'r>(routes: impl IntoIterator<Item = (&'r str, Option<&'r str>)>) -> Result<Self, Vec<Tie>> {
        let mut table = RouteTable::default();
        let mut ties = Vec::new();
        for (second, (kind, version)) in routes.into_iter().enumerate() {
            if let Some(first) = table.versions(kind).insert(version, second) {
                ties.push(Tie { first, second });
            }
        }
        table.lengths = table.prefixes.keys().map(|prefix| prefix.len()).collect();
        table.lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.lengths.dedup();
        if ties.is_empty() { Ok(table) } else { Err(ties) }
    }

    fn versions(&mut self, kind: &str) -> &mut Versions {
        match kind.strip_suffix('*') {
            Some(prefix) => self.prefixes.entry(prefix.into()).or_default(),
            None => self.exact.entry(kind.into()).or_default(),
        }
    }

    /// The number of the route that takes a job of this type and version.
    #[must_use]
    pub fn find(&self, kind: &str, version: Option<&str>) -> Option<usize> {
        let exact = self.exact.get(kind).and_then(|versions| versions.find(version));
        exact.or_else(|| self.lengths.iter().find_map(|length| self.prefixes.get(kind.get(..*length)?)?.find(version)))
    }
}

impl Versions {
    /// Answers the route that stood there before.
    fn insert(&mut self, version: Option<&str>, route: usize) -> Option<usize> {
        let before = version.map_or(self.any, |version| self.of.get(version).copied());
        if before.is_none() {
            match version {
                Some(version) => drop(self.of.insert(version.into(), route)),
                None => self.any = Some(route),
            }
        }
        before
    }

    fn find(&self, version: Option<&str>) -> Option<usize> {
        version.and_then(|version| self.of.get(version).copied()).or(self.any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(routes: &[(&'static str, Option<&'static str>)]) -> RouteTable {
        RouteTable::new(routes.iter().copied()).unwrap()
    }

    #[test]
    fn the_exact_type_wins_over_the_longest_prefix_and_that_over_shorter_ones() {
        let table = table(&[("*", None), ("image.*", None), ("image.re*", None), ("image.resize", None)]);
        assert_eq!(table.find("image.resize", None), Some(3));
        assert_eq!(table.find("image.rescale", None), Some(2));
        assert_eq!(table.find("image.crop.square", None), Some(1));
        assert_eq!(table.find("image", None), Some(0));
    }

    #[test]
    fn a_version_wins_over_none_at_the_same_type_only() {
        let table = table(&[("a", Some("2")), ("a*", None), ("a*", Some("1"))]);
        assert_eq!(table.find("a", Some("2")), Some(0));
        assert_eq!(table.find("a", Some("1")), Some(2));
        assert_eq!(table.find("a", Some("3")), Some(1));
        assert_eq!(table.find("a", None), Some(1));
        assert_eq!(table.find("b", Some("2")), None);
    }

    #[test]
    fn routes_that_nothing_tells_apart_are_ties() {
        let ties = RouteTable::new([("a", None), ("a", Some("1")), ("a", None), ("a", Some("1")), ("a*", None)]).unwrap_err();
        assert_eq!(ties, [Tie { first: 0, second: 2 }, Tie { first: 1, second: 3 }]);
    }

    #[test]
    fn a_prefix_that_ends_inside_a_character_of_the_type_is_passed_over() {
        assert_eq!(table(&[("aa*", None)]).find("aé", None), None);
    }

    /// The rule as the documents state it, one route at a time.
    fn by_the_rule(routes: &[(String, Option<String>)], kind: &str, version: Option<&str>) -> Option<usize> {
        let fits = |route: &(String, Option<String>)| {
            let kinds = match route.0.strip_suffix('*') {
                Some(prefix) => kind.starts_with(prefix),
                None => route.0 == kind,
            };
            kinds && route.1.as_deref().is_none_or(|wanted| Some(wanted) == version)
        };
        let rank = |route: &(String, Option<String>)| (!route.0.ends_with('*'), route.0.len(), route.1.is_some());
        (0..routes.len()).filter(|index| fits(&routes[*index])).max_by_key(|index| rank(&routes[*index]))
    }

    proptest! {
        #[test]
        fn the_table_finds_what_the_rule_says(
            routes in proptest::collection::hash_set(("[ab.é]{0,4}\\*?", proptest::option::of("[12]")), 0..12),
            jobs in proptest::collection::vec(("[ab.é]{0,5}", proptest::option::of("[123]")), 1..20),
        ) {
            let routes: Vec<(String, Option<String>)> = routes.into_iter().collect();
            let table = RouteTable::new(routes.iter().map(|(kind, version)| (kind.as_str(), version.as_deref()))).unwrap();
            for (kind, version) in jobs {
                prop_assert_eq!(table.find(&kind, version.as_deref()), by_the_rule(&routes, &kind, version.as_deref()));
            }
        }
    }
}
