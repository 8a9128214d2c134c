//! Where a job stands, in one integer: the primary key that makes the next job to run the first row of a range.

use crate::job::DEFAULT_PRIORITY;
use crate::ports::End;

/// Of a queue in its file.
pub(super) type QueueNumber = u16;

/// The lanes of a queue: ready ones by descending priority, then those that wait for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lane(pub u8);

impl Lane {
    /// As many as there are priorities.
    pub const READY: usize = 10;
    pub const DELAYED: Lane = Lane(10);
    pub const PARKED: Lane = Lane(11);
    /// Dead letters stand in one lane, in the order of their deaths.
    pub const DEAD: Lane = Lane(9 - DEFAULT_PRIORITY);
    /// Of the jobs in a place beside their queue, in the order in which they were parked. A due time is when they go
    /// back to the queue.
    pub const BESIDE: Lane = Lane::DEAD;

    pub fn of_priority(priority: u8) -> Self {
        Lane(9 - priority.min(9))
    }

    pub fn is_ready(self) -> bool {
        usize::from(self.0) < Lane::READY
    }
}

const QUEUE_BITS: u32 = 14;
const LANE_BITS: u32 = 4;
const SEQUENCE_BITS: u32 = 45;

/// Queue (14 bits), lane (4 bits), sequence (45 bits), from the highest bit down. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(pub i64);

impl Place {
    /// Before every place.
    pub const NONE: Place = Place(0);
    pub fn new(queue: QueueNumber, lane: Lane, sequence: i64) -> Self {
        debug_assert!(queue >> QUEUE_BITS == 0 && sequence >> SEQUENCE_BITS == 0);
        Place((i64::from(queue) << (SEQUENCE_BITS + LANE_BITS)) | (i64::from(lane.0) << SEQUENCE_BITS) | sequence)
    }

    pub fn queue(self) -> QueueNumber {
        (self.0 >> (SEQUENCE_BITS + LANE_BITS)) as QueueNumber
    }

    pub fn lane(self) -> Lane {
        Lane(((self.0 >> SEQUENCE_BITS) & ((1 << LANE_BITS) - 1)) as u8)
    }

    pub fn sequence(self) -> i64 {
        self.0 & ((1 << SEQUENCE_BITS) - 1)
    }

    /// The first and the last place of a lane.
    pub fn lane_bounds(queue: QueueNumber, lane: Lane) -> (Place, Place) {
        (Place::new(queue, lane, 0), Place::new(queue, lane, (1 << SEQUENCE_BITS) - 1))
    }
}

/// How a job ended, in the three bits that fit beside the number of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndKind {
    Completed = 1,
    Discarded = 2,
    Moved = 3,
    /// Dead, and its dead letter is kept by another system.
    DeadElsewhere = 4,
}

impl EndKind {
    pub fn of(end: &End) -> Self {
        match end {
            End::Completed => EndKind::Completed,
            End::DeadLettered(_) => EndKind::DeadElsewhere,
            End::Discarded { .. } => EndKind::Discarded,
            End::Moved => EndKind::Moved,
        }
    }

    /// The kind of a number that was written as one.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => EndKind::Completed,
            2 => EndKind::Discarded,
            3 => EndKind::Moved,
            _ => EndKind::DeadElsewhere,
        }
    }
}

/// What is known of a job: where it stands, or how and as which one it ended. Both fit into one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    At(Place),
    Ended(EndKind, i64),
}

const END_BITS: u32 = 48;

impl Standing {
    pub fn to_column(self) -> i64 {
        match self {
            Standing::At(place) => place.0,
            Standing::Ended(kind, number) => -(((kind as i64) << END_BITS) | number),
        }
    }

    pub fn from_column(column: i64) -> Self {
        if column >= 0 {
            return Standing::At(Place(column));
        }
        Standing::Ended(EndKind::from_number(-column >> END_BITS), -column & ((1 << END_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_gives_back_what_it_was_made_of() {
        let place = Place::new(16_383, Lane::PARKED, (1 << 45) - 1);
        assert!(place.0 > 0);
        assert_eq!((place.queue(), place.lane()), (16_383, Lane::PARKED));
    }

    #[test]
    fn within_a_queue_higher_priorities_come_first_and_then_earlier_arrivals() {
        let order = [
            Place::new(3, Lane::of_priority(9), 80),
            Place::new(3, Lane::of_priority(4), 7),
            Place::new(3, Lane::of_priority(4), 8),
            Place::new(3, Lane::of_priority(0), 1),
            Place::new(3, Lane::DELAYED, 1),
            Place::new(4, Lane::of_priority(9), 1),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn a_standing_is_read_back_from_its_column() {
        for standing in [
            Standing::At(Place::new(1, Lane::DEAD, 5)),
            Standing::Ended(EndKind::Completed, 0),
            Standing::Ended(EndKind::DeadElsewhere, (1 << 45) - 1),
        ] {
            assert_eq!(Standing::from_column(standing.to_column()), standing);
        }
    }
}
