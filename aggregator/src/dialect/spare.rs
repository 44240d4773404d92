//! Rows that were written and are filled again: the memory of their texts need not be asked for anew.

use crate::event::Row;

/// Rows that are kept: a line makes a few.
const KEPT: usize = 16;

/// Rows of one table that nobody wants any more.
#[derive(Debug)]
pub struct Spare<R>(Vec<R>);

impl<R> Default for Spare<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R: Row + Default> Spare<R> {
    /// A row in which nothing is known.
    pub fn take(&mut self) -> R {
        let Some(mut row) = self.0.pop() else { return R::default() };
        row.reset();
        row
    }

    /// Gives back a row that was written.
    pub fn put(&mut self, row: R) {
        if self.0.len() < KEPT {
            self.0.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Delivery, DeliveryOutcome, EventId, Reception, Scores, Time};

    #[test]
    fn a_row_that_is_filled_again_knows_nothing_of_before() {
        let mut deliveries = Spare::default();
        deliveries.put(Delivery {
            tenant: "t".to_owned(),
            ts: Time(1),
            event_id: EventId(1),
            response: "250 Ok".to_owned(),
            mx_ip: "192.0.2.1".parse().ok(),
            outcome: DeliveryOutcome::Bounced,
            is_final: true,
            delay_total_ms: Some(1),
            ..Delivery::default()
        });
        let row = deliveries.take();
        assert!(row.response.capacity() > 0);
        assert_eq!(row, Delivery::default());
        assert_eq!(deliveries.take(), Delivery::default());

        let mut receptions = Spare::default();
        let symbols = Scores([("X".to_owned(), 1.0)].into());
        receptions.put(Reception { spam_symbols: symbols, spam_score: Some(1.0), ..Reception::default() });
        assert_eq!(receptions.take(), Reception::default());
    }
}
