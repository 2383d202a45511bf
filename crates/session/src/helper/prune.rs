//! Taking away what helpers have left at an engine.

use docker::{Endpoint, Engine};

use super::{reaper::remove_left_over, runtime};
use crate::Error;

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids of containers whose clients are gone.
    pub containers: Vec<String>,
    /// Names of images.
    pub images: Vec<String>,
    /// What could not be removed: an image that is in use, for one.
    pub failed: Vec<docker::Error>,
}

/// Removes helper containers and those of `exec --image` whose clients are gone, and the images of helper containers, which are
/// kept otherwise because the next helper needs them.
///
/// # Errors
/// When the engine does not answer. What could not be removed is told in [`Pruned::failed`].
///
/// # Privileges
/// Access to the engine's socket.
pub fn prune(endpoint: &Endpoint) -> Result<Pruned, Error> {
    let runtime = runtime()?;
    let pruned = runtime.block_on(async {
        let engine = Engine::connect(endpoint).await?;
        let mut pruned = Pruned::default();
        for left in engine.left_containers().await? {
            match remove_left_over(&engine, &left).await {
                Ok(true) => pruned.containers.push(left.id),
                Ok(false) => {}
                Err(error) => pruned.failed.push(error),
            }
        }
        let (images, failed) = engine.prune_helper_images().await?;
        pruned.images = images;
        pruned.failed.extend(failed);
        Ok(pruned)
    });
    // Not waiting for a look-up of the engine's own name.
    runtime.shutdown_background();
    pruned
}
