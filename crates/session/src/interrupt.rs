//! Waiting that ends when somebody wants the end.

use std::{future::Future, time::Duration};

use sys::signals::Signals;

use crate::Error;

/// Between two looks whether a signal has arrived. The runtime takes no descriptor of somebody else's
/// into its set without unsafe code.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What some work comes to, unless a signal asks for the end before: that one is still there to be
/// taken, and the work is given up. Without `signals` they have their default action anyway.
pub(crate) async fn unless_interrupted<T>(
    signals: Option<&Signals>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(signals) = signals else { return work.await };
    let interrupted = async {
        while !signals.asks_for_end() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = interrupted => Err(Error::Interrupted),
    }
}
