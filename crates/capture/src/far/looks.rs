use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use wire::{Look, Order, Place, Refused, Seen};

use super::link::{ANSWERS_WITHIN, Link};
use crate::Error;

/// What is in a namespace, or why that is not told.
type Answer = Result<Seen, Refused>;

impl Link {
    /// Looks into namespaces over there. All are asked for at once, so the way there and back is made
    /// once; the answers stand in the order of the places.
    ///
    /// # Errors
    ///
    /// Of each: [`Error::FarUnseen`]; [`Error::FarGone`].
    pub fn look_all(&self, places: Vec<Place>) -> Vec<Result<Seen, Error>> {
        let asked: Vec<_> = places.into_iter().map(|place| self.ask_to_look(place)).collect();
        // Whoever has said nothing once is not waited for again.
        let mut patience = ANSWERS_WITHIN;
        asked
            .into_iter()
            .map(|(number, answer)| match answer.recv_timeout(patience) {
                Ok(answer) => answer.map_err(|refused| Error::FarUnseen { refused }),
                Err(_) => {
                    patience = Duration::ZERO;
                    self.looks().remove(&number);
                    Err(self.shared.why_gone())
                }
            })
            .collect()
    }

    fn ask_to_look(&self, place: Place) -> (u32, Receiver<Answer>) {
        let number = self.next_number();
        let (answer, asked) = bounded(1);
        self.looks().insert(number, answer);
        self.shared.order(Order::Look(Look { number, place }));
        if self.shared.is_gone() {
            // Its thread may have cleared away before this was there.
            self.looks().remove(&number);
        }
        (number, asked)
    }

    /// Who waits.
    fn looks(&self) -> MutexGuard<'_, HashMap<u32, Sender<Answer>>> {
        self.shared.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
