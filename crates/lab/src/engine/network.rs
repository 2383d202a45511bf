use crate::{Engine, Error, name};

/// A network of an engine. Dropping it removes it; containers on it must be gone by then, so
/// make it before them.
#[derive(Debug)]
pub struct DockerNetwork {
    engine: Engine,
    name: String,
    id: String,
}

impl DockerNetwork {
    /// Makes a network whose name ends with `name`; `options` are `docker network create`'s.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] with what docker said.
    pub fn create(engine: &Engine, name: &str, options: &[&str]) -> Result<Self, Error> {
        let name = format!("{}-{name}", name::unique());
        let finished = engine
            .docker()
            .args(["network", "create", "--label", &Engine::own_label()])
            .args(options)
            .arg(&name)
            .run()?;
        let id = finished.stdout_text().trim().to_owned();
        Ok(Self { engine: engine.clone(), name, id })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for DockerNetwork {
    fn drop(&mut self) {
        // What stays is swept by a later run.
        let _ = self.engine.docker().args(["network", "rm", &self.id]).run();
    }
}
